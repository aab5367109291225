"""The configuration review: rules on hyper-parameters, each with its source and a suggestion.

They are drawn from the seed projects (training runs that failed and were repaired) and from the
field. A rule warns and never refuses: there are good reasons to break each of them.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from runner.job_facts import LossTerm
from runner.schedule import scheduled_lr
from runner.spec import Config, RunSpec


@dataclass(frozen=True, slots=True)
class Settings:
    """What the rules look at; `dataset_size` is None where it is not known."""

    spec: RunSpec
    task: BaseModel
    dataset_size: int | None = None

    @property
    def validations(self) -> int:
        """Return the number of validations of the run."""
        return -(-self.spec.train.max_steps // self.spec.train.eval_every_steps)

    @property
    def loss_terms(self) -> tuple[LossTerm, ...]:
        """Return the terms that the job states, those of weight 0 left out."""
        stated = self.task.loss_formula() if isinstance(self.task, Config) else ()
        return tuple(term for term in stated if term.weight > 0)

    def values(self) -> Mapping[str, Any]:
        """Return the settings of loop and task by their dotted names, as SET takes them."""
        train, task = self.spec.train.model_dump(), self.task.model_dump()
        return dict(_flat({"train": train, "task": task}, ""))


@dataclass(frozen=True, slots=True)
class Remark:
    """What a rule has to say."""

    rule: str
    text: str
    suggestion: str
    source: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: where it comes from, and a function to (text, suggestion), or None."""

    name: str
    source: str
    look: Callable[[Settings], tuple[str, str] | None]


def review(settings: Settings) -> tuple[Remark, ...]:
    """Return the remarks of all rules, in the order of the table."""
    remarks = []
    for rule in RULES:
        said = rule.look(settings)
        if said is not None:
            remarks.append(Remark(rule.name, *said, rule.source))
    return tuple(remarks)


# -- the learning rate -----------------------------------------------------------------------

#: Adam moves a weight by about the rate at each step, whatever the gradient. Chosen: a tenth of a
#: weight of 0.1, once warmed up, is the most that anyone of the field reports.
_HIGHEST_RATE = 0.02
#: Adam's own default, and the most that is common without a warm-up.
_UNWARMED_RATE = 3e-4
_LOWEST_RATE = 1e-6
#: Below this an Adam step does not change a weight of 0.1 in fp32 (0.1 x 2^-24 = 6e-9).
_DEAD_RATE = 6e-9


def _rate(s: Settings) -> tuple[str, str] | None:
    lr = s.spec.train.lr
    if lr > _HIGHEST_RATE:
        return (
            f"train.lr={lr:g} is high for Adam, which moves every weight by about that much a step",
            "start from 1e-3",
        )
    if lr < _LOWEST_RATE:
        return f"train.lr={lr:g} is low for training from scratch", "start from 1e-4"
    return None


def _warmup(s: Settings) -> tuple[str, str] | None:
    train = s.spec.train
    if train.warmup_steps == 0 and train.lr > _UNWARMED_RATE and train.max_steps > 50:
        wanted = max(10, min(2000, train.max_steps // 20))
        return (
            f"no warm-up at train.lr={train.lr:g}: the first steps divide by variances that Adam "
            "does not know yet",
            f"train.warmup_steps={wanted}",
        )
    if train.warmup_steps > 0.5 * train.max_steps:
        return (
            f"train.warmup_steps={train.warmup_steps} takes more than half of the "
            f"{train.max_steps} steps",
            f"train.warmup_steps={max(1, train.max_steps // 20)}",
        )
    return None


def _dead_schedule(s: Settings) -> tuple[str, str] | None:
    train = s.spec.train
    places = range(1, train.max_steps + 1, max(1, train.max_steps // 1000))
    after_warmup = [step for step in places if step > train.warmup_steps]
    dead = [step for step in after_warmup if scheduled_lr(step, train) < _DEAD_RATE]
    if len(dead) <= 0.02 * len(places):
        return None
    last = scheduled_lr(train.max_steps, train)
    return (
        f"the schedule has no floor: from step {dead[0]} of {train.max_steps} on the rate is under "
        f"{_DEAD_RATE:g}, too small to change a weight, and {last:.3g} at the end",
        f"train.min_lr={max(1e-6, train.lr / 1000):.0e}",
    )


def _floor_above_peak(s: Settings) -> tuple[str, str] | None:
    train = s.spec.train
    if train.min_lr <= train.lr:
        return None
    return (
        f"train.min_lr={train.min_lr:g} is above train.lr={train.lr:g}",
        f"train.min_lr={train.lr / 100:g}",
    )


def _decay(s: Settings) -> tuple[str, str] | None:
    train = s.spec.train
    shrink = train.lr * train.weight_decay * train.max_steps * 0.5
    if shrink <= 3.0:
        return None
    return (
        f"train.weight_decay={train.weight_decay:g} at train.lr={train.lr:g} over "
        f"{train.max_steps} steps shrinks a weight that gets no gradient to "
        f"{math.exp(-shrink):.1%} of itself",
        f"train.weight_decay={3.0 / (train.lr * train.max_steps * 0.5):.1g}",
    )


# -- the loss --------------------------------------------------------------------------------


def _clipping(s: Settings) -> tuple[str, str] | None:
    if s.spec.train.clip_norm is not None:
        return None
    return (
        "nothing limits the gradient norm: one bad batch moves all weights",
        "train.clip_norm=1.0",
    )


def _unbounded(s: Settings) -> tuple[str, str] | None:
    wild = [t for t in s.loss_terms if not t.is_bounded or t.steepest is None]
    if not wild:
        return None
    term = wild[0]
    return (
        f"the loss term {term.name} ({term.formula or 'no formula given'}) has no bound: one "
        "sample can outweigh all others",
        "clamp what goes into it (predictions to [-10, 10] before exp or log)",
    )


#: Chosen: an absolute or squared error of numbers in [0, 1] has slope 1 to 2.
_STEEP = 5.0


def _steep(s: Settings) -> tuple[str, str] | None:
    terms = [(t.weight * t.steepest, t) for t in s.loss_terms if t.steepest is not None]
    slope, term = max(terms, key=lambda pair: pair[0], default=(0.0, None))
    if term is None or slope <= _STEEP:
        return None
    return (
        f"the loss term {term.name} ({term.formula or 'no formula given'}) has slope up to "
        f"{term.steepest:g}, {slope:g} after its weight {term.weight:g}, against 1 of an absolute "
        f"error: at train.lr={s.spec.train.lr:g} it throws the others about",
        f"a penalty towards a target, such as (0.01 - var)^2, or weight 0; and "
        f"train.lr={s.spec.train.lr / 5:g}",
    )


#: Chosen: adversarial terms have a thousandth and matter, since their gradients are large; what a
#: term does is measured by preflight (loss terms).
_IDLE = 1e-4


def _idle_terms(s: Settings) -> tuple[str, str] | None:
    total = sum(term.weight for term in s.loss_terms)
    idle = [term.name for term in s.loss_terms if term.weight < _IDLE * total]
    if not idle:
        return None
    return (
        f"the weight of {', '.join(idle)} is under a ten-thousandth of the loss: it costs time "
        "and changes nothing",
        "drop it, or give it a hundredth",
    )


def _many_terms(s: Settings) -> tuple[str, str] | None:
    if len(s.loss_terms) <= 5:
        return None
    return (
        f"the loss has {len(s.loss_terms)} terms: what each does cannot be told apart",
        "begin with one or two, add the others one by one",
    )


# -- validation, patience, checkpoints -------------------------------------------------------


#: Chosen: a trend takes three points.
_LEAST_VALIDATIONS = 3


def _validations(s: Settings) -> tuple[str, str] | None:
    if s.validations >= _LEAST_VALIDATIONS:
        return None
    train = s.spec.train
    return (
        f"{train.max_steps} steps with {s.validations} validation"
        f"{'s' if s.validations != 1 else ''}: too few to see a plateau or overfitting",
        f"train.eval_every_steps={max(1, train.max_steps // 10)}",
    )


def _patience(s: Settings) -> tuple[str, str] | None:
    follows = s.spec.train.schedule == "reduce_on_plateau"
    for name, value in s.values().items():
        if name.startswith("train.reduce_on_plateau.") and not follows:
            continue
        leaf = name.rsplit(".", 1)[-1]
        is_patience = "patience" in leaf or leaf == "early_stopping"
        if is_patience and isinstance(value, int) and value >= s.validations:
            return (
                f"{name}={value} is as long as the run, which has {s.validations} validations: it "
                "never acts",
                f"{name}={max(1, s.validations // 5)}",
            )
    return None


def _share(s: Settings) -> tuple[str, str] | None:
    for name, value in s.values().items():
        words = name.replace(".", "_").split("_")
        if not isinstance(value, float) or not {"val", "validation"} & set(words):
            continue
        if words[-1] not in ("share", "fraction", "ratio", "split"):
            continue
        if 0 < value < 0.1 or value > 0.4:
            side = "noisy" if value < 0.1 else "costly: little is left to train on"
            return f"{name}={value:g} makes the validation {side}", f"{name}=0.2"
    return None


def _checkpoints(s: Settings) -> tuple[str, str] | None:
    train, every = s.spec.train, s.spec.checkpoints.every_steps
    if every * 3 <= train.max_steps or train.max_steps < 30:
        return None
    return (
        f"a durable checkpoint every {every} of {train.max_steps} steps: the loss of a machine "
        "costs a third of the run or more",
        f"checkpoints.every_steps={max(1, train.max_steps // 10)}",
    )


#: Steps that a verdict may take; DESIGN of the watchdog, and the text of checkpoints.memory_keep.
_VERDICT_STEPS = 32


def _memory_checkpoints(s: Settings) -> tuple[str, str] | None:
    kept = s.spec.checkpoints
    span = kept.memory_keep * kept.memory_every_steps
    if span >= _VERDICT_STEPS:
        return None
    return (
        f"memory checkpoints reach {span} steps back, a verdict may take {_VERDICT_STEPS}: a "
        "rollback would have to read the disk",
        f"checkpoints.memory_keep={-(-_VERDICT_STEPS // kept.memory_every_steps) + 1}",
    )


# -- batches and precision -------------------------------------------------------------------


def _epoch(s: Settings) -> tuple[str, str] | None:
    if s.dataset_size is None or s.dataset_size >= s.spec.train.batch_size:
        return None
    return (
        f"a step takes {s.spec.train.batch_size} samples, the set has {s.dataset_size}: each step "
        "sees samples twice",
        f"train.batch_size={max(1, s.dataset_size // 4)}",
    )


def _half_precision(s: Settings) -> tuple[str, str] | None:
    if s.spec.train.precision != "fp16":
        return None
    return "fp16 overflows at 65,504: sums and exponentials become infinite", "train.precision=bf16"


RULES: tuple[Rule, ...] = (
    Rule("rate", "Kingma and Ba 2015, arXiv:1412.6980: default 1e-3", _rate),
    Rule(
        "warm-up",
        "Ma and Yarats 2021, arXiv:1910.04209; seed projects vesuvius, adaptivestream",
        _warmup,
    ),
    Rule("schedule without a floor", "seed project adaptivestream: rate 8.88e-21", _dead_schedule),
    Rule("floor above the peak", "the schedule would rise", _floor_above_peak),
    Rule("weight decay", "Loshchilov and Hutter 2019, arXiv:1711.05101, section 3", _decay),
    Rule(
        "clipping", "Pascanu et al. 2013, arXiv:1211.5063; seed project adaptivestream", _clipping
    ),
    Rule("unbounded term", "seed projects orion and adaptivestream", _unbounded),
    Rule("steep term", "seed project orion: exp(-100 var) at rate 5e-4", _steep),
    Rule("idle term", "seed project vesuvius: weights that did not matter", _idle_terms),
    Rule("many terms", "seed project orion: too many loss terms", _many_terms),
    Rule("validations", "Prechelt 1998, Early stopping - but when?", _validations),
    Rule("patience", "seed project vesuvius: patience of 50 epochs in 50", _patience),
    Rule("validation share", "seed project orion: 20 %, 25 % against overfitting", _share),
    Rule(
        "checkpoints",
        "Young 1974, A first order approximation to the optimum checkpoint interval",
        _checkpoints,
    ),
    Rule("memory checkpoints", "watchdog: a verdict within 32 steps", _memory_checkpoints),
    Rule("batch and set", "sampling without replacement within an epoch", _epoch),
    Rule("half precision", "Micikevicius et al. 2018, arXiv:1710.03740", _half_precision),
)


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value
