"""What a name in somebody else's log stands for: `train/loss`, `eval_wer`, `lr-AdamW`, `valAcc`.

A name is split into words; some say whose it is (training or validation), some add nothing, and
what is left is looked up. The smaller `rank`, the better a name serves its field where several do.
Metrics that are better when they are lower come with the sign -1, because a `val_metric` is
higher-is-better; of training, they serve as its loss where no loss is logged.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Field(StrEnum):
    """What can be read from a log. A part is one term of a loss of several terms."""

    STEP = "step"
    EPOCH = "epoch"
    EPOCH_STEPS = "epoch_steps"
    LOSS = "loss"
    LOSS_PART = "loss_part"
    VAL_LOSS = "val_loss"
    VAL_LOSS_PART = "val_loss_part"
    VAL_METRIC = "val_metric"
    LR = "lr"
    GRAD_NORM = "grad_norm"


#: Fields that say where in the run a value belongs, not what it is.
POSITION_FIELDS = frozenset({Field.STEP, Field.EPOCH, Field.EPOCH_STEPS})
#: Fields that one term of a sum stands for.
PART_FIELDS = frozenset({Field.LOSS_PART, Field.VAL_LOSS_PART})


@dataclass(frozen=True, slots=True)
class Meaning:
    """The field a name serves, how well, and the factor that makes higher better."""

    field: Field
    rank: int = 0
    sign: float = 1.0


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _set(text: str) -> frozenset[str]:
    return frozenset(_list(text))


VALIDATION_WORDS = _set("val valid validation validating eval evaluation test testing dev heldout")
TRAINING_WORDS = _set("train training trn")
_SMOOTHED = _set("avg average averaged mean running smooth smoothed ema epoch")
_FILLERS = _set("batch total overall current cur trainer metrics losses step optimizer opt set")
#: A name with one of these is about something else: a limit, a weight, a best value, a duration.
OTHER_WORDS = _set(
    "best lowest highest min max weight weights scale scaler target prev previous init initial std "
    "var count num number time sec secs seconds delta diff change ratio threshold per patience "
    "decay size"
)

#: In order of preference.
_STEPS = _list(
    "step global_step trainer_global_step current_steps current_step iteration iter itr it n_iter "
    "global_iter global_iteration num_updates update train_step batch batch_idx"
)
_EPOCHS = _list("epoch current_epoch ep epoch_num epoch_idx")
_EPOCH_STEPS = "epoch_steps"
_LOSSES = _list("loss objective nll cross_entropy crossentropy ce xent bce elbo")
_HIGHER = _list(
    "metric map50_95 map_50_95 map miou m_iou iou mdice dice dsc accuracy acc top1 acc1 acc_1 f1 "
    "f1_score auc auroc roc_auc bleu sacrebleu rougel rouge_l rouge1 rouge_1 r2 r2_score psnr ssim "
    "map50 map_50 ndcg mrr precision recall spearman pearson mcc kappa jaccard score"
)
_LOWER = _list(
    "wer cer ppl perplexity bpb bpc nrmse rmse mae mape mse error_rate error err eer fid"
)
#: Never computed on a training batch, so that no word need say whose they are.
_VALIDATION_ONLY = _set(
    "map50_95 map_50_95 map map50 map_50 miou m_iou mdice bleu sacrebleu rougel rouge_l rouge1 "
    "rouge_1 ndcg mrr wer cer fid"
)
_GRADIENTS = _set("grad grads gradient gradients")
_NORM_WORDS = _GRADIENTS | _set("norm total global l2 2 0 all")
_NORMS = _set("gnorm gradnorm norm")
_CAMEL = re.compile(r"([a-z0-9])([A-Z][a-z])")
_NO_WORD = re.compile(r"[^a-z0-9]+")


@functools.lru_cache(maxsize=4096)
def meaning(name: str) -> Meaning | None:
    """Return what a name stands for; None for a name of something that is not judged."""
    if len(name) > 200:
        return None
    words = _NO_WORD.sub(" ", _CAMEL.sub(r"\1 \2", name).lower()).split()
    joined = "_".join(words)
    position = _position(joined)
    if position is not None:
        return position
    if not words or OTHER_WORDS & set(words):
        return None
    is_validation = bool(VALIDATION_WORDS & set(words))
    is_training = bool(TRAINING_WORDS & set(words))
    rest = [word for word in words if word not in VALIDATION_WORDS | TRAINING_WORDS]
    known = _rate(rest) or _gradient_norm(rest) or _loss(rest, is_validation=is_validation)
    if known is None:
        known = _metric(rest, is_validation=is_validation, is_training=is_training)
    if known is not None and is_training:  # nanoGPT: `loss` of a step, `train loss` of many
        return Meaning(known.field, known.rank + 1, known.sign)
    return known


def _position(joined: str) -> Meaning | None:
    for field, aliases in ((Field.STEP, _STEPS), (Field.EPOCH, _EPOCHS)):
        if joined in aliases:
            return Meaning(field, aliases.index(joined))
    return Meaning(Field.EPOCH_STEPS) if joined == _EPOCH_STEPS else None


def _rate(words: Sequence[str]) -> Meaning | None:
    """`lr`, `learning_rate`, `lr/pg0`, `lr-AdamW`, `base_lr`; the shortest is the likeliest."""
    is_rate = "lr" in (*words[:1], *words[-1:]) or list(words[:2]) == ["learning", "rate"]
    is_rate = is_rate or list(words[-2:]) == ["learning", "rate"]
    return Meaning(Field.LR, len(words)) if is_rate and "loss" not in words else None


def _gradient_norm(words: Sequence[str]) -> Meaning | None:
    named = bool(_GRADIENTS & set(words)) and "norm" in words and set(words) <= _NORM_WORDS
    if named or "_".join(words) in _NORMS:
        return Meaning(Field.GRAD_NORM, len(words))
    return None


def _loss(words: Sequence[str], *, is_validation: bool) -> Meaning | None:
    kept = [word for word in words if word not in _FILLERS | _SMOOTHED]
    smoothing = len(_SMOOTHED & set(words))
    base = "_".join(kept)
    if base in _LOSSES:
        field = Field.VAL_LOSS if is_validation else Field.LOSS
        return Meaning(field, 100 * _LOSSES.index(base) + 10 * smoothing + len(words))
    if "loss" in (*kept[:1], *kept[-1:]):
        field = Field.VAL_LOSS_PART if is_validation else Field.LOSS_PART
        return Meaning(field, 10 * smoothing + len(words))
    return None


def _metric(words: Sequence[str], *, is_validation: bool, is_training: bool) -> Meaning | None:
    """A metric of the validation, or an error of the training in place of its loss."""
    is_boxed = "metrics" in words and words[-1:] in (["b"], ["m"], ["p"])
    kept = [word for word in words[: -1 if is_boxed else None] if word not in _FILLERS | _SMOOTHED]
    base = "_".join(kept)
    key = next((k for k in (*_HIGHER, *_LOWER) if base == k or base.endswith(f"_{k}")), None)
    if key is None:
        return None
    sign = 1.0 if key in _HIGHER else -1.0
    rank = 10 * (*_HIGHER, *_LOWER).index(key) + len(words)
    if is_validation or "metrics" in words or (not is_training and key in _VALIDATION_ONLY):
        return Meaning(Field.VAL_METRIC, rank, sign)
    return Meaning(Field.LOSS, 10_000 + rank) if sign < 0 and len(kept) == 1 else None
