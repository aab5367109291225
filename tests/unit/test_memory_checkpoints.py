"""States held in RAM, and the trees they are made of."""

from __future__ import annotations

import pytest
import torch

from runner.memory_checkpoints import MemoryCheckpoints
from runner.packing import pack, unpack
from runner.state import StateInfo, TrainState, is_finite, seed_step, tensors_of

CPU = torch.device("cpu")


def info(step: int) -> StateInfo:
    return StateInfo(step=step, generation=0, position=step, world_size=1, seed=0)


def state() -> TrainState:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    return TrainState(model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True))


def advance(live: TrainState) -> None:
    live.optimizer.zero_grad()
    live.model(torch.randn(5, 3)).square().sum().backward()
    live.optimizer.step()


def values(live: TrainState) -> list[torch.Tensor]:
    return [t.clone() for t in tensors_of(live.tree())]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_restored_state_is_bitwise_the_saved_one_and_goes_on_alike() -> None:
    live, ring = state(), MemoryCheckpoints(2, CPU)
    advance(live)
    ring.save(live, info(1))
    saved = values(live)
    torch.manual_seed(5)
    advance(live)
    first = values(live)
    held = ring.get(1)
    assert held is not None
    live.load(held.tree)
    assert same(values(live), saved)
    torch.manual_seed(5)
    advance(live)
    assert same(values(live), first)
    live.load(held.tree)
    assert same(values(live), saved), "training on must not change what is held"


def test_the_untrained_state_can_be_restored_too() -> None:
    live, ring = state(), MemoryCheckpoints(2, CPU)
    ring.save(live, info(0))
    fresh = values(live)
    advance(live)
    held = ring.get(0)
    assert held is not None
    live.load(held.tree)
    assert same(values(live), fresh)


def test_the_ring_keeps_the_newest_and_reuses_its_buffers() -> None:
    live, ring = state(), MemoryCheckpoints(2, CPU)
    advance(live)
    for step in (1, 2, 3):
        ring.save(live, info(step))
    assert ring.steps() == (2, 3)
    second = ring.get(2)
    assert second is not None
    oldest = {t.data_ptr() for t in tensors_of(second.tree)}
    newest = ring.save(live, info(4))
    assert {t.data_ptr() for t in tensors_of(newest.tree)} == oldest


def test_a_state_in_use_is_not_overwritten() -> None:
    live, ring = state(), MemoryCheckpoints(1, CPU)
    advance(live)
    held = ring.save(live, info(1))
    held.users = 1
    before = [t.clone() for t in tensors_of(held.tree)]
    for step in (2, 3, 4):
        advance(live)
        ring.save(live, info(step))
    assert same([*tensors_of(held.tree)], before)


def test_superseded_steps_are_forgotten() -> None:
    live, ring = state(), MemoryCheckpoints(4, CPU)
    for step in (1, 2, 3):
        ring.save(live, info(step))
    ring.drop_after(1)
    assert ring.steps() == (1,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_number_anywhere_is_seen(bad: float) -> None:
    live = state()
    advance(live)
    assert bool(is_finite(live.tree()))
    next(iter(live.optimizer.state.values()))["exp_avg"][0, 0] = bad
    assert not bool(is_finite(live.tree()))


def test_packing_round_trips_every_dtype_and_copies() -> None:
    tree = {
        "a": torch.randn(2, 3, dtype=torch.bfloat16),
        "b": [torch.tensor(4), torch.tensor(True), torch.zeros(0)],
        "c": {"lr": 0.1, "betas": (0.9, 0.99)},
    }
    payload = pack(tree, info(3))
    back, at = unpack(payload)
    assert at == info(3)
    assert torch.equal(back["a"], tree["a"])  # type: ignore[arg-type]
    assert back["b"][0].item() == 4
    assert back["b"][2].shape == (0,)
    assert back["c"] == tree["c"]
    back["a"].zero_()
    assert not torch.equal(back["a"], tree["a"])  # type: ignore[arg-type]


def test_seeding_is_a_function_of_seed_step_and_rank() -> None:
    draws = {}
    for key in [(0, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 0)]:
        seed_step(*key)
        draws[key] = torch.rand(3).tolist()
    seed_step(0, 1, 0)
    assert torch.rand(3).tolist() == draws[(0, 1, 0)]
    assert len({tuple(d) for d in draws.values()}) == 4


def large_state() -> TrainState:
    """More than a megabyte, so that a thread copies it, with a batch norm for the forward pass."""
    torch.manual_seed(0)
    layers = (torch.nn.Linear(3, 400), torch.nn.BatchNorm1d(400), torch.nn.Linear(400, 400))
    model = torch.nn.Sequential(*layers)
    return TrainState(model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True))


def test_a_copy_beside_the_next_forward_pass_is_of_the_moment_it_was_asked_for() -> None:
    live, ring = large_state(), MemoryCheckpoints(2, CPU)
    for step in range(1, 6):
        advance(live)
        before = values(live)
        held = ring.save(live, info(step))
        assert held.copied is not None, "small enough to be copied at once: the test shows nothing"
        live.model(torch.randn(50, 3))  # moves the running statistics of the batch norm
        ring.fence()
        advance(live)
        assert held.is_ready()
        assert same([*tensors_of(held.tree)], before)
    ring.close()


def test_a_bad_number_is_seen_in_a_copy_made_by_a_thread() -> None:
    live, ring = large_state(), MemoryCheckpoints(2, CPU)
    advance(live)
    assert ring.save(live, info(1)).is_finite()
    bias = live.model.get_parameter("2.bias")
    with torch.no_grad():
        bias[7] = float("inf")
    assert not ring.save(live, info(2)).is_finite()
    with torch.no_grad():
        bias[7] = 0.0
    live.model.get_buffer("1.running_mean")[0] = float("nan")
    assert not ring.save(live, info(3)).is_finite(), "what is set aside first is checked as well"
    ring.close()


def test_the_size_is_known_before_the_first_step() -> None:
    live = state()
    foreseen = live.size_bytes()
    advance(live)
    counters = 4 * len(live.optimizer.state)
    assert (
        foreseen + counters
        == live.size_bytes()
        == MemoryCheckpoints(1, CPU).save(live, info(1)).size_bytes()
    )
