"""The configuration review: the rules of `runner.review` as warnings.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.preflight.bench import Bench, Unavailable
from runner.preflight.findings import Finding, passed, warned
from runner.review import RULES, Settings, review

ORDER = 15
TITLE = "configuration"


def check(bench: Bench) -> Iterator[Finding]:
    """Ask every rule; a warning says what the rule goes by."""
    try:
        size = len(bench.source)
    except Unavailable:
        size = None
    except Exception:  # the samples check says what is wrong with the data
        size = None
    remarks = review(Settings(bench.spec, bench.job.task_config, size))
    for remark in remarks:
        yield warned(remark.text, f"{remark.suggestion} ({remark.source})")
    if not remarks:
        yield passed(f"{len(RULES)} rules on hyper-parameters have nothing to say")
