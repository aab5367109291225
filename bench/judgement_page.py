"""The page that `bench.judgement` writes: tables out of its numbers.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

Line = Mapping[str, Any]
HALVES = ("tuning", "held-out")

_HEAD = """# Judgement

Written by `python -m bench.judgement`. Real logs of public repositories, labelled by eye; they are
not part of this repository. The sources (repositories) are split by a hash of their name:
thresholds may be tuned on one half, the other is for reporting. While the detectors were first
written and mended both halves were looked at, so *held-out* is not blind for this version: expect
somewhat worse on logs never seen. *What logs never seen showed* has the little that is.

An *act* is a verdict that is carried out (rollback, halt); a suspicion is told and costs nothing.
*Hit*: an act at or after the onset. The rules of other projects are re-implemented from their
published defaults (`bench/peer_rules.py`), each alarm counted as an act.
"""


_SEEN = """Of these, the faults that a person would see (`bench/injections.py` says which): share
acted on, and the median, the 90th percentile and the worst latency.
"""

_BLIND = """## What logs never seen showed

Eight more logs of public repositories, labelled before they were judged, once: a NaN burst was
acted on within 3 records, six runs without a fault that calls for an act were left alone (464
records), and one that stood at ln 2 from its fifth epoch on was missed. It showed that two outliers
among its validations hid that they were flat; mended since, so this log is blind no more. So few
bound little: no act in 464 healthy records is no proof of less than one in 10,000.

Faults of random shape, size and onset in the healthy logs above, by a seed tried once
(`python -m bench.random_faults --seed 77 --cases 140`): of 39 spikes that heal and 20 lone NaN none
was acted on, of 20 pairs of spikes one; acted on were 20 of 20 spikes that heal by half (within 29
records), 19 of 19 shifts of 3 to 8 sigma (within 31) and 20 of 20 NaN bursts (within 2).
"""


def page(result: Mapping[str, Any]) -> str:
    """Return the Markdown."""
    real, injected = result["real"], result["injected"]
    parts = [_HEAD]
    for half in HALVES:
        mine = [line for line in real if line["half"] == half and not line["is_excerpt"]]
        faults = [line for line in injected if line["half"] == half]
        parts += [
            f"## {half.capitalize()} half\n",
            "Real logs: hits among the runs that call for an act; acts on the others.\n",
            _table({rule: _real_row(rule, mine) for rule in _rules(real)}, _REAL_COLUMNS),
            "Faults put into healthy logs: share acted on (median latency in records).\n",
            _table({rule: _fault_row(rule, faults) for rule in _rules(real)}, _faults(injected)),
            _SEEN,
            _table({rule: _seen_row(rule, faults) for rule in _rules(real)[:1]}, _faults(injected)),
        ]
    parts += ["## What was misjudged\n", _misjudged(real), _BLIND]
    excerpts = [line for line in real if line["is_excerpt"]]
    hits = [line["id"] for line in excerpts if _is_right(line)]
    parts.append(
        f"Excerpts of a few lines (format fixtures): {len(hits)} of {len(excerpts)} right.\n"
    )
    parts.append(
        f"Cost: {result['cost_us']:.0f} microseconds of processor time a record, detectors, policy "
        "and ledger lines together, on the machine that wrote this page.\n"
    )
    return "\n".join(parts)


_LABELS = ("nan", "spike_unrecovered", "divergence", "plateau", "dead_loss")
_TOLD = ("spike_recovered", "unstable_val", "overfitting")
_REAL_COLUMNS = (*_LABELS, *(f"{name} acted on" for name in _TOLD), "healthy runs", "per 10,000")


def _rules(real: Sequence[Line]) -> list[str]:
    return list(real[0]["alarms"])


def _real_row(rule: str, lines: Sequence[Line]) -> list[str]:
    def of(label: str) -> list[Line]:
        return [line for line in lines if line["label"] == label]

    hits = [_share(line["latency"][rule] is not None for line in of(label)) for label in _LABELS]
    told = [_share(line["alarms"][rule] > 0 for line in of(label)) for label in _TOLD]
    healthy = of("healthy")
    total = sum(line["records"] for line in healthy)
    acts = sum(line["alarms"][rule] for line in healthy)
    rate = f"{1e4 * acts / total:.2f}" if total else "-"
    return [*hits, *told, _share(line["alarms"][rule] > 0 for line in healthy), rate]


def _faults(injected: Sequence[Line]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line["fault"] for line in injected))


def _fault_row(rule: str, lines: Sequence[Line]) -> list[str]:
    cells = []
    for fault in _faults(lines):
        found = [line["latency"][rule] for line in lines if line["fault"] == fault]
        hits = [late for late in found if late is not None]
        late = f" ({median(hits):.0f})" if hits else ""
        cells.append(f"{len(hits)}/{len(found)}{late}")
    return cells


def _seen_row(rule: str, lines: Sequence[Line]) -> list[str]:
    cells = []
    for fault in _faults(lines):
        mine = [line for line in lines if line["fault"] == fault and line["is_visible"]]
        found = [line["latency"][rule] for line in mine]
        hits = sorted(late for late in found if late is not None)
        late = f" ({median(hits):.0f}, {hits[9 * len(hits) // 10]}, {hits[-1]})" if hits else ""
        cells.append(f"{len(hits)}/{len(found)}{late}")
    return cells


def _share(found: Iterable[bool]) -> str:
    listed = list(found)
    return f"{sum(listed)}/{len(listed)}" if listed else "-"


def _table(rows: Mapping[str, Sequence[str]], columns: Sequence[str]) -> str:
    lines = [["rule", *columns], ["---"] * (len(columns) + 1)]
    lines += [[rule, *cells] for rule, cells in rows.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _is_right(line: Line) -> bool:
    ours = next(iter(line["alarms"]))
    if line["is_actionable"]:
        return line["latency"][ours] is not None
    return bool(line["label"] == "other" or line["alarms"][ours] == 0)


def _misjudged(real: Sequence[Line]) -> str:
    ours = next(iter(real[0]["alarms"]))
    rows = []
    for line in real:
        early = line["early"][ours] if line["is_actionable"] else 0
        if _is_right(line) and not early:
            continue
        what = "acted on before the onset" if _is_right(line) else "missed"
        if not line["is_actionable"]:
            what = f"acted on {line['alarms'][ours]} times"
        rows.append(
            f"- {line['id']} ({line['half']}, {line['label']}, {line['certainty']}): {what}"
        )
    return "\n".join(rows) + "\n" if rows else "None.\n"
