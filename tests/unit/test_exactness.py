"""An interrupted run goes on as if nothing had been; each sample is seen exactly once an epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.recovery import AttemptPlan, RestorePoint
from runner.sampler import SampleOrder
from tests.e2e.gloo_pair import ScriptedChannel, digest, spec
from tests.unit.test_session import run
from watchdog.records import Storage

#: What makes a resume hard: batches on their way, accumulation, averaged weights, all of them.
HARD: dict[str, dict[str, Any]] = {
    "prefetching": {"data": {"loader_workers": 1, "prefetch": 3}},
    "accumulating": {"train": {"micro_batch_size": 2}},
    "all": {
        "data": {"loader_workers": 1},
        "train": {"micro_batch_size": 4, "ema_decay": 0.9, "clip_norm": 0.1},
    },
}


@pytest.fixture(autouse=True)
def _prompt_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.telemetry._SEND_S", 0.0)
    monkeypatch.setattr("runner.telemetry._LOOK_S", 0.0005)


@pytest.mark.parametrize("name", HARD)
def test_a_run_interrupted_in_the_middle_of_an_epoch_ends_bitwise_like_an_untouched_one(
    tmp_path: Path, name: str
) -> None:
    def hard(max_steps: int) -> Any:
        plain = spec(max_steps)
        changes = {
            section: getattr(plain, section).model_copy(update=update)
            for section, update in HARD[name].items()
        }
        train = changes.get("train", plain.train)  # a cosine would tell a run that ends at 13
        changes["train"] = train.model_copy(update={"schedule": "constant"})
        return plain.model_copy(update=changes)

    whole = run(tmp_path / "whole", ScriptedChannel(None), run_spec=hard(30))
    run(tmp_path / "parts", ScriptedChannel(None), run_spec=hard(13))
    plan = AttemptPlan(
        attempt=1, generation=1, restore=(RestorePoint(13, Storage.DURABLE), RestorePoint(0, None))
    )
    resumed = run(tmp_path / "parts", ScriptedChannel(None), run_spec=hard(30), plan=plan)
    assert resumed.step == whole.step == 30
    assert digest(resumed.bare_model) == digest(whole.bare_model)
    assert _averages(resumed) == _averages(whole)


def _averages(session: Any) -> list[list[float]]:
    average = session._learner.average
    return [] if average is None else [t.flatten().tolist() for t in average.weights().values()]


@given(
    size=st.integers(1, 40),
    batch_size=st.integers(1, 17),
    seed=st.integers(0, 5),
    lives=st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=6
    ),
    skip=st.frozensets(st.integers(0, 79), max_size=10),
)
def test_each_sample_is_seen_exactly_once_an_epoch_whatever_the_ranks(
    size: int,
    batch_size: int,
    seed: int,
    lives: list[tuple[int, int, int]],
    skip: frozenset[int],
) -> None:
    """Each life of the run takes some steps with so many ranks, then loses the newest of them."""
    if len(skip) >= size:  # a data set without a sample left has no order
        skip = frozenset()
    done: list[tuple[tuple[int, ...], int]] = []
    for ranks, steps, lost in lives:
        position = done[-1][1] if done else 0
        order = SampleOrder(
            size=size, batch_size=batch_size, seed=seed, position=position, skip=skip
        )
        for _ in range(steps):
            batch = order.next_batch()
            shares = [batch.share(rank, ranks) for rank in range(ranks)]
            done.append((tuple(o for share in shares for o in share), batch.position))
        del done[len(done) - min(lost, len(done)) :]
    seen = Counter(ordinal for ordinals, _ in done for ordinal in ordinals)
    assert set(seen.values()) <= {1}
    epochs = (done[-1][1] if done else 0) // size
    whole = {o for o in seen if o // size < epochs}
    assert whole == set(range(epochs * size)) - skip
