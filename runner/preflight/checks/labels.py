"""Label values: what is stored, what the loss takes each for, and who asked for that.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from runner.job_facts import LabelArray, Labels
from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, some, unchecked, warned
from runner.state import tensors_of

ORDER = 23
TITLE = "label values"


def check(bench: Bench) -> Iterator[Finding]:
    """Follow each stored value into the loss; without facts from the job, look at the samples."""
    labels = bench.task.labels()
    if labels is None:
        yield _against_output(bench)
        return
    stored = labels.stored() if labels.stored is not None else None
    if stored is not None:
        yield from _strangers(labels, stored)
    yield from _unlabelled(labels, stored)
    yield _trained(labels, bench)


def _strangers(labels: Labels, stored: LabelArray) -> Iterator[Finding]:
    unknown = [int(v) for v in np.unique(stored) if int(v) not in labels.names]
    if unknown:
        yield failed(
            f"stored labels hold {some(unknown)}, which mean nothing to the job "
            f"(known: {_names(labels.names)})",
            "these are probably another set's labels; map them, or name them in Task.labels",
        )


def _unlabelled(labels: Labels, stored: LabelArray | None) -> Iterator[Finding]:
    for value in sorted(labels.unlabelled):
        name = labels.names.get(value, str(value))
        trained = _one_trained(labels, value)
        share = None if stored is None else float((stored == value).mean())
        part = "" if share is None else f", {share:.0%} of the stored labels,"
        numbers = {} if share is None else {"unlabelled_share": share}
        if trained in labels.ignored:
            yield passed(f"value {value} ({name}){part} is ignored by the loss", **numbers)
            continue
        as_what = _trained_names(labels).get(trained, str(trained))
        effect = "" if stored is None else _effect(labels, stored, trained, as_what)
        yield failed(
            f"value {value} ({name}){part} is trained as {as_what}{effect}",
            f"mask it: nobody said that it is {as_what}; class weights do not repair this",
            **numbers,
        )


def _effect(labels: Labels, stored: LabelArray, trained: int, name: str) -> str:
    """Return how the share of the class it is counted for differs from the labelled truth."""
    known = ~np.isin(stored, list(labels.unlabelled))
    truth = float((stored[known] == trained).mean()) if known.any() else 0.0
    seen = float((labels.as_trained(stored) == trained).mean())
    return f": the loss sees {seen:.0%} {name}, {truth:.0%} of what is labelled is"


def _trained(labels: Labels, bench: Bench) -> Finding:
    """Report the classes in the samples, as shares of what the loss does not ignore."""
    tensors = [sample[labels.key] for sample in bench.good_samples if labels.key in sample]
    if not tensors:
        return warned(
            f"the samples have no entry {labels.key}, which Task.labels names",
            "name the entry of a sample that holds the labels",
        )
    values = torch.cat([tensor.flatten() for tensor in tensors]).numpy()
    counted = values[~np.isin(values, list(labels.ignored))]
    known = _trained_names(labels)
    unknown = [int(v) for v in np.unique(counted) if int(v) not in known]
    if unknown:
        return failed(
            f"trained labels hold {some(unknown)}, which no stored value becomes "
            f"(known: {_names(known)})",
            "let the samples go through the function that Task.labels names (as_trained)",
        )
    if not counted.size:
        return warned("every label of the samples is ignored", "check the sampling of patches")
    shares = {n: float((counted == v).mean()) for v, n in known.items() if v in counted}
    text = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    if len(shares) < 2:
        return warned(f"the samples have one class alone: {text}", "check labels and sampling")
    return passed(f"trained: {text}", **{f"share_{n}": s for n, s in shares.items()})


def _trained_names(labels: Labels) -> dict[int, str]:
    """Return the values that the loss gets by name; of several that become one, the labelled one.

    A value that is unlabelled names its class only where no other does.
    """
    ordered = sorted(labels.names, key=lambda value: value not in labels.unlabelled)
    return {_one_trained(labels, value): labels.names[value] for value in ordered}


def _one_trained(labels: Labels, value: int) -> int:
    return int(labels.as_trained(np.full((1, 1, 1), value))[0, 0, 0])


def _against_output(bench: Bench) -> Finding:
    """Compare the values of a whole-number target with the channels of the output."""
    key = bench.target_key()
    values = [s[key] for s in bench.good_samples if key in s] if key is not None else []
    if not values or values[0].is_floating_point() or values[0].dtype == torch.bool:
        return unchecked("no whole-number labels in the samples (Task.labels)")
    low = min(int(v.min()) for v in values)
    high = max(int(v.max()) for v in values)
    outputs = [t for c in bench.first_forward.calls for t in tensors_of(c.output) if t.ndim >= 2]
    if not outputs or outputs[-1].shape[1] < 2:
        return passed(f"labels from {low} to {high}")
    classes = outputs[-1].shape[1]
    if high >= classes or low < 0:
        return failed(
            f"labels from {low} to {high}, but the output has {classes} classes (0 to "
            f"{classes - 1})",
            "raise the number of classes, or give the loss the value to ignore (ignore_index)",
        )
    return passed(f"labels from {low} to {high}, output of {classes} classes")


def _names(names: Mapping[int, str]) -> str:
    return ", ".join(f"{value} {name}" for value, name in names.items())
