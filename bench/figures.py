"""The figures of one run from its own files: what it reached, and how fast it was healed.

python -m bench.figures runs/<id>
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from watchdog.records import StepReport
from watchdog.trace import read_trace


def figures(folder: Path) -> Iterator[str]:
    """Yield one sentence a figure."""
    result = json.loads((folder / "result.json").read_text())
    yield f"{result['state']} at step {result['step']} after {result['seconds']:.0f} s"
    for name, value in result["metrics"].items():
        trivial = result["trivial_metrics"].get(name)
        against = "" if trivial is None else f" (best constant prediction {trivial:.4f})"
        yield f"{name} {value:.4f}{against}"
    steps = [r for r in read_trace(folder / "trace.jsonl") if isinstance(r, StepReport)]
    yield f"median step {statistics.median(s.step_s or 0.0 for s in steps):.3f} s"
    ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    for line in ledger:
        if line["kind"] == "recovery_done":
            yield from _recovery(line, steps)


def _recovery(line: dict[str, Any], steps: list[StepReport]) -> Iterator[str]:
    generation = 1 + max(s.generation for s in steps if s.t_s <= line["t_s"] - line["seconds"])
    old = [s for s in steps if s.generation < generation]
    new = [s for s in steps if s.generation == generation]
    last = max(old, key=lambda s: s.t_s)
    first_again = min(s.t_s for s in new)
    first_new = min(s.t_s for s in new if s.step > last.step)
    yield (
        f"{line['cause']} healed by {line['mechanism']} from {line['from']}: back to step "
        f"{line['restored_step']}, {line['steps_lost']} steps lost, "
        f"{len(line['skipped_samples'])} samples skipped"
    )
    bad = [s.t_s for s in old if not s.is_finite]
    if bad:
        yield f"  first bad step to next healthy step {first_again - min(bad):.2f} s"
    yield f"  last step to next healthy step {first_again - last.t_s:.2f} s"
    yield f"  last step to next new step {first_new - last.t_s:.2f} s"


def main() -> None:
    """Print the figures of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    for sentence in figures(parser.parse_args().run):
        print(sentence)


if __name__ == "__main__":
    main()
