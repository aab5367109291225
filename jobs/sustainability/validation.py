"""Scoring held-out photographs by torchmetrics: accuracy, macro F1 and the F1 of each class.

Runs in: worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from jobs.sustainability.catalogue import CLASSES

#: An answer that is none of the classes, for logits that are not finite: wrong, whatever is right.
NONE = len(CLASSES)


def score_batch(
    model: nn.Module, image: torch.Tensor, label: torch.Tensor, loss: nn.Module
) -> dict[str, Any]:
    """Return the loss of some photographs, the answers and the labels."""
    logits = model(image)
    answers = torch.where(logits.isfinite().all(dim=1), logits.argmax(dim=1), NONE)
    return {
        "val_loss": float(loss(logits, label)),
        "answers": answers.tolist(),
        "labels": label.tolist(),
    }


def summarize_batches(items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return `val_loss`, `accuracy`, `macro_f1`, and `f1/<class>` of each class that is held out.

    The macro F1 is the mean over the classes that occur, as a label or as an answer.
    """
    answers = torch.tensor([answer for item in items for answer in item["answers"]])
    labels = torch.tensor([label for item in items for label in item["labels"]])
    sizes = [len(item["labels"]) for item in items]
    return {
        "val_loss": float(np.average([item["val_loss"] for item in items], weights=sizes)),
        **scores(answers, labels),
    }


def scores(answers: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return accuracy, macro F1 and the F1 of each class that occurs among the labels."""
    each = multiclass_f1_score(answers, labels, NONE + 1, average="none")
    known = sorted({*answers.tolist(), *labels.tolist()} - {NONE})
    return {
        "accuracy": float(multiclass_accuracy(answers, labels, NONE + 1, average="micro")),
        "macro_f1": float(each[known].mean()),
        **{f"f1/{CLASSES[place]}": float(each[place]) for place in sorted(set(labels.tolist()))},
    }


def best_constant(labels: Sequence[int], trained_labels: Sequence[int]) -> dict[str, float]:
    """Return what always answering the commonest class of the training photographs scores."""
    commonest = Counter(trained_labels).most_common(1)[0][0]
    truth = torch.tensor(list(labels))
    found = scores(torch.full_like(truth, commonest), truth)
    return {name: found[name] for name in ("accuracy", "macro_f1")}
