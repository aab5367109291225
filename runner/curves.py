"""Rollback-true curves: the one clean curve of a run, and the branches that were superseded.

A generation starts at the step it was restored to, and supersedes what earlier generations did
beyond it. So each step of the clean curve is there once, whatever was rolled back or restarted. The
loss of a step is the mean over ranks; NaN is a value and stays one.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from watchdog.records import AttemptStarted, EvalReport, Record, RollbackDone, StepReport


@dataclass(frozen=True, slots=True)
class Point:
    """One step as one generation made it. `loss` is the mean over ranks; None is unknown."""

    step: int
    generation: int
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    is_finite: bool = True


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One validation; `val_metric` is higher-is-better; None is unknown."""

    step: int
    generation: int
    val_loss: float | None = None
    val_metric: float | None = None


@dataclass(frozen=True, slots=True)
class Jump:
    """A return from `step` to `restored_step`, in place or by a new attempt."""

    generation: int
    step: int
    restored_step: int
    is_in_place: bool


@dataclass(frozen=True, slots=True)
class Curves:
    """What there is to draw; points and evaluations are in the order of their steps.

    `branches` are runs of superseded points, one tuple a generation that was cut.
    """

    clean: tuple[Point, ...] = ()
    branches: tuple[tuple[Point, ...], ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    superseded_evaluations: tuple[Evaluation, ...] = ()
    jumps: tuple[Jump, ...] = ()


#: Above this a rank's number is taken for a mistake and its record is left out.
_MAX_RANK = 100_000


class _Step:
    """One step of one generation, while its ranks come in."""

    __slots__ = ("grad_norm", "is_finite", "loss_sum", "losses", "lr", "seen")

    def __init__(self) -> None:
        self.seen = 0  # one bit a rank, so that a record told twice counts once
        self.loss_sum = 0.0
        self.losses = 0
        self.lr: float | None = None
        self.grad_norm: float | None = None
        self.is_finite = True

    def add(self, report: StepReport) -> None:
        bit = 1 << report.rank
        if self.seen & bit:
            return
        self.seen |= bit
        if report.loss is not None:
            self.loss_sum += report.loss
            self.losses += 1
        self.lr = report.lr if self.lr is None else self.lr
        self.grad_norm = report.grad_norm if self.grad_norm is None else self.grad_norm
        self.is_finite = self.is_finite and report.is_finite

    def point(self, step: int, generation: int) -> Point:
        loss = self.loss_sum / self.losses if self.losses else None
        return Point(step, generation, loss, self.lr, self.grad_norm, self.is_finite)


class CurveBuilder:
    """Takes the records of a trace one by one, in any order, and draws nothing before the end."""

    def __init__(self) -> None:
        self._steps: dict[int, dict[int, _Step]] = {}
        self._evaluations: dict[tuple[int, int], Evaluation] = {}
        self._starts: dict[int, int] = {}
        self._jumps: list[Jump] = []

    def observe(self, record: Record) -> None:
        """Take one record in; those that are not about curves are passed over."""
        match record:
            case StepReport() if 0 <= record.rank <= _MAX_RANK:
                steps = self._steps.setdefault(record.generation, {})
                steps.setdefault(record.step, _Step()).add(record)
            case EvalReport():
                key = (record.generation, record.step)
                self._evaluations[key] = Evaluation(
                    record.step, record.generation, record.val_loss, record.val_metric
                )
            case RollbackDone():
                self._start(record.generation, record.restored_step, record.step, True)
            case AttemptStarted():
                last_step = self._last_step_before(record.generation)
                self._start(record.generation, record.restored_step, last_step, False)
            case _:
                pass

    def curves(self) -> Curves:
        """Return the curves of everything observed so far."""
        clean: list[Point] = []
        branches: list[tuple[Point, ...]] = []
        evaluations: list[Evaluation] = []
        superseded: list[Evaluation] = []
        ceiling = math.inf  # the newest step that no later generation has superseded
        for generation in sorted({*self._steps, *self._starts, *self._evaluated()}, reverse=True):
            points = self._points(generation)
            clean.extend(p for p in points if p.step <= ceiling)
            if branch := tuple(p for p in points if p.step > ceiling):
                branches.append(branch)
            for found in self._evaluations_of(generation):
                (evaluations if found.step <= ceiling else superseded).append(found)
            ceiling = min(ceiling, self._restored_step(generation, points))
        return Curves(
            clean=tuple(sorted(clean, key=lambda p: p.step)),
            branches=tuple(reversed(branches)),
            evaluations=tuple(_one_a_step(evaluations)),
            superseded_evaluations=tuple(sorted(superseded, key=lambda e: e.step)),
            jumps=tuple(self._jumps),
        )

    def _start(self, generation: int, restored_step: int, step: int, is_in_place: bool) -> None:
        if generation in self._starts:
            return
        self._starts[generation] = restored_step
        if step > 0:
            self._jumps.append(Jump(generation, step, restored_step, is_in_place))

    def _last_step_before(self, generation: int) -> int:
        """Return the last step of the generation before; first steps of this one may have come."""
        earlier = [number for number in self._steps if number < generation]
        return next(reversed(self._steps[max(earlier)])) if earlier else 0

    def _points(self, generation: int) -> list[Point]:
        steps = self._steps.get(generation, {})
        return [steps[step].point(step, generation) for step in sorted(steps)]

    def _evaluated(self) -> set[int]:
        return {generation for generation, _ in self._evaluations}

    def _evaluations_of(self, generation: int) -> list[Evaluation]:
        return [e for (owner, _), e in self._evaluations.items() if owner == generation]

    def _restored_step(self, generation: int, points: Sequence[Point]) -> float:
        """Return the step the generation began after, told or seen, whichever is older."""
        told = self._starts.get(generation, math.inf)
        seen = points[0].step - 1 if points else math.inf
        return min(told, seen)


def _one_a_step(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Return one evaluation a step, the one of the newest generation; they come newest first."""
    newest: dict[int, Evaluation] = {}
    for evaluation in evaluations:
        newest.setdefault(evaluation.step, evaluation)
    return [newest[step] for step in sorted(newest)]


def build_curves(records: Iterable[Record]) -> Curves:
    """Return the curves of a whole trace."""
    builder = CurveBuilder()
    for record in records:
        builder.observe(record)
    return builder.curves()


def thin(
    points: Sequence[Point], limit: int, keep_steps: Collection[int] = ()
) -> tuple[Point, ...]:
    """Return at most about `limit` of the points, plus those of `keep_steps`.

    The points are cut into stretches of equal length, and of each the first, the least and the
    greatest loss, the greatest gradient norm and the first non-finite step stay: what the eye would
    see is still there.
    """
    if len(points) <= limit:
        return tuple(points)
    size = math.ceil(len(points) / max(1, limit // 5))
    kept = {0, len(points) - 1}
    for first in range(0, len(points), size):
        kept.update(_extremes(points, range(first, min(first + size, len(points)))))
    wanted = frozenset(keep_steps)
    kept.update(i for i, point in enumerate(points) if point.step in wanted)
    return tuple(points[i] for i in sorted(kept))


def _extremes(points: Sequence[Point], stretch: range) -> set[int]:
    found = {stretch[0]}
    losses = [(loss, i) for i in stretch if _is_number(loss := points[i].loss)]
    norms = [(norm, i) for i in stretch if _is_number(norm := points[i].grad_norm)]
    found.update(pick(pairs)[1] for pick, pairs in ((min, losses), (max, losses)) if pairs)
    found.update([max(norms)[1]] if norms else [])
    found.update([i for i in stretch if not points[i].is_finite][:1])
    return found


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
