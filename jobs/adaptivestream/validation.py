"""Scoring held-out photographs: IoU of the pet and accuracy of the class, by torchmetrics.

Runs in: worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchmetrics.functional.classification import binary_confusion_matrix, multiclass_accuracy

from jobs.adaptivestream.data import IGNORED
from jobs.adaptivestream.losses import PetLoss


def score_batch(
    model: nn.Module, batch: Mapping[str, torch.Tensor], loss: PetLoss
) -> dict[str, Any]:
    """Return the loss of some photographs, the counts behind their IoU, and their classes."""
    pixels, classes = model(batch["image"])
    value = loss((pixels, classes), batch["mask"], batch["label"])
    # Not-a-number is no class: an argmax would call it the first.
    answers = torch.where(classes.isfinite().all(dim=1), classes.argmax(dim=1), -1)
    return {
        "photos": len(answers),
        "val_loss": float(value),
        "confusion": _confusion((pixels > 0).long(), batch["mask"]),
        "answers": answers.tolist(),
        "labels": batch["label"].tolist(),
    }


def summarize_batches(items: Sequence[Mapping[str, Any]], classes: int) -> dict[str, float]:
    """Return the scores over all photographs: `val_loss`, `iou`, `accuracy`."""
    photos = [item["photos"] for item in items]
    answers = torch.tensor([answer for item in items for answer in item["answers"]])
    labels = torch.tensor([label for item in items for label in item["labels"]])
    confusion = np.sum([item["confusion"] for item in items], axis=0)
    return {
        "val_loss": float(np.average([item["val_loss"] for item in items], weights=photos)),
        "iou": iou_of(confusion),
        # An answer of no class is none of them, and wrong: one more class stands for it.
        "accuracy": float(
            multiclass_accuracy(
                torch.where(answers < 0, classes, answers), labels, classes + 1, average="micro"
            )
        ),
    }


def best_constants(
    masks: Sequence[torch.Tensor], labels: Sequence[int], trained_labels: Sequence[int]
) -> dict[str, float]:
    """Return what constants score: every pixel called pet, every class the commonest in training.

    No pixel called pet scores an IoU of 0.
    """
    confusion = np.sum([_confusion(torch.ones_like(m).long(), m) for m in masks], axis=0)
    commonest = Counter(trained_labels).most_common(1)[0][0]
    return {
        "iou": iou_of(confusion),
        "accuracy": float(np.mean([label == commonest for label in labels])),
    }


def iou_of(confusion: Any) -> float:
    """Return the IoU of the pet from counts of pixels by truth (rows) and answer (columns)."""
    (_, false_positives), (false_negatives, hits) = confusion
    union = hits + false_positives + false_negatives
    return float(hits / union) if union else 0.0


def _confusion(answers: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    counts = binary_confusion_matrix(answers, mask.long(), ignore_index=IGNORED)
    return [[int(count) for count in row] for row in counts]
