"""Real logs beside the checkout: what each taught once must stay learned."""

from pathlib import Path

import pytest

from watchdog.config import WatchdogConfig
from watchdog.replay import Event, Replay

#: Runs that call for an act, and the causes that name it.
ACTED_ON = {
    "pinn_em_v14": {"nonfinite"},
    "wlm_relu_nan": {"nonfinite"},
    "pinn_em_v0": {"spike"},
    "seg_city_new": {"spike", "divergence"},
    "hf_whisper_braj": {"divergence"},  # five training losses, twenty validations
    "bigscience_ds3d": {"divergence"},  # falls from 48 to 11.65, and rises again
    "wlm_tanh1_div": {"divergence"},  # from 12 to 17, until its own schedule helped
    "wlm_tanh2_div": {"plateau", "divergence"},  # above chance from the first record on
    "peptide_wae": {"divergence"},  # a slow rise over half of the run
    "painn_dynamo": {"divergence", "plateau"},
    "painn_setup0": {"dead_loss"},
    "painn_setup3": {"dead_loss"},
    "grok_collapse": {"divergence", "plateau"},
    "slm_v7": {"plateau"},
    "crypto_bilstm": {"plateau"},  # 46 epochs
    "hf_token_compressor": {"plateau"},  # with a rate that anneals meanwhile
    "iss_yoloworld_dead": {"dead_loss"},  # gradients of exactly zero, five records
}

#: Runs that must not be acted on, and why one might.
LEFT_ALONE = [
    "painn_cafa2",  # 0.02 to 1e12 and back within forty epochs
    "noprop_mnist_1",
    "noprop_mnist_2",  # comes back with a slow tail
    "noprop_mnist_3",
    "grok_ok",  # spikes of a million times, and an accuracy that rises late
    "grok_slingshot",
    "pendulum_pinn_v18",  # a single record of 2500 times
    "yolo_anpr_infval",  # validation is infinite in every epoch
    "leaf_disease_keras",  # overfits
    "wind_seq2seq_b",  # a metric that falls, and a very long tail
    "wind_lazy",
    "emotion_tcn",  # converged to the digits of its log
    "liveness_mnv2",  # noise at the floor
    "wrn_cifar",  # the loss rises by a third between two drops of the rate
    "histogene",  # forty noisy records
    "hf_mistral_translator",  # stairs
    "stylegan3_phyto",
    "s21_gpt2_final",  # a hole in the steps
    "gpt2_lora_task3",
]


def events(shared: Path | None, name: str) -> list[Event]:
    path = shared / "traces" / "runs" / f"{name}.jsonl.gz" if shared is not None else None
    if path is None or not path.is_file():
        pytest.skip("the real logs are not beside this checkout")
    return list(Replay(path, "auto", WatchdogConfig()))


@pytest.mark.parametrize("name", ACTED_ON)
def test_run_that_goes_wrong_is_acted_on(shared: Path | None, name: str) -> None:
    causes = {event.cause for event in events(shared, name) if event.level == "incident"}
    assert causes & ACTED_ON[name]


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_run_that_heals_or_is_well_is_left_alone(shared: Path | None, name: str) -> None:
    assert [event for event in events(shared, name) if event.level == "incident"] == []


@pytest.mark.parametrize("name", ["nano_014", "nano_042", "nano_063"])
def test_healthy_pretraining_is_never_acted_on(shared: Path | None, name: str) -> None:
    """Every step of a language model: the touchstone for false alarms."""
    assert {event.level for event in events(shared, name)} <= {"suspect", "recovered"}
