"""Records of each kind with wrong values: judged or refused, and the judge stays whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mangled import fuzzed, read_or_refused
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.errors import TraceError
from watchdog.importers import choose
from watchdog.records import RECORD_TYPES

FIELD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=3)
)
PLAIN: dict[str, object] = {
    "storage": "memory",
    "outcome": "finished",
    "phase": "data",
    "metrics": {"a": 1.0},
    **dict.fromkeys(["run_id", "job", "state", "reason", "operation", "error", "path"], "text"),
    **dict.fromkeys(["is_finite", "is_applied", "is_resumed", "is_node_lost"], True),
    **{name: [1] for name in ("sample_ids", "skipped_samples", "held_steps")},
}
WRONG = FIELD | st.lists(FIELD, max_size=2) | st.dictionaries(st.text(max_size=3), FIELD)


@fuzzed
@given(data=st.data(), kind=st.sampled_from(sorted(RECORD_TYPES)))
def test_trace_with_any_values_is_judged_or_refused(
    tmp_path: Path, data: st.DataObject, kind: str
) -> None:
    """Most values are right, so that it is not always the first one that is wrong."""
    names = [field.name for field in dataclasses.fields(RECORD_TYPES[kind])]
    plain = {name: PLAIN.get(name, 1) for name in names}
    wrong = data.draw(st.lists(st.tuples(st.sampled_from(sorted(plain)), WRONG), max_size=2))
    line = json.dumps({"kind": kind, **plain, **dict(wrong)})
    path = tmp_path / "trace.jsonl"
    path.write_text(line + "\n" + line + "\n")
    core = Core(WatchdogConfig())
    with read_or_refused(path, TraceError):
        for record in choose(path, "trace").read(path):
            core.observe(record)
    core.snapshot()
