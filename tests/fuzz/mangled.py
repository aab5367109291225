"""Strategies that damage good input: what a torn disk, a hex editor or a stranger would hand in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from watchdog.errors import WatchkeeperError

#: Examples of each fuzz test: a handful in the fast suite, thousands in `make fuzz`.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))

fuzzed = settings(
    max_examples=EXAMPLES,
    # A failure is shown as it was found: making it smaller takes minutes where pages are written.
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

#: What breaks readers: ends of text, brackets, numbers no float holds, text no encoding holds.
_NASTY = (
    b"\0",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\n",
    b"\r",
    b'"',
    b"'",
    b"{",
    b"}",
    b"[" * 1500,
    b'{"a":' * 1500,
    b",",
    b":",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"0.5",
    b"9" * 30,
    b"9" * 5000,
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"\\ud800"',
    b"../../../etc/passwd",
    b"<script>",
    b"&a *a",
    b"!!python/name:os.system",
    b"=",
    b";",
    b"\x80",
    b"(",
)

chunks = st.one_of(st.sampled_from(_NASTY), st.binary(min_size=1, max_size=8))

#: Where (a share of the length), how many bytes go, and what comes instead.
Edit = tuple[float, int, bytes]
edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.integers(0, 12), st.integers(0, 4000)),
        st.one_of(st.just(b""), chunks),
    ),
    min_size=1,
    max_size=4,
)


@contextlib.contextmanager
def read_or_refused(path: Path, refusal: type[WatchkeeperError]) -> Iterator[None]:
    """Let what is within read `path`, or refuse it in one line that names it."""
    said = str(path)
    try:
        yield
    except refusal as error:
        said = str(error)
    assert str(path) in said
    assert "\n" not in said


def mangle(data: bytes, changes: list[Edit]) -> bytes:
    """Return the bytes after each edit in turn."""
    for share, removed, added in changes:
        at = int(share * len(data))
        data = data[:at] + added + data[at + removed :]
    return data


#: Values that JSON can hold, and some that its readers do not expect.
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([2**63, -(2**63), 10**400, 10**20]),
        st.floats(allow_nan=True, allow_infinity=True),
        st.text(max_size=8),
        st.sampled_from(["../x", "/etc/passwd", "\0", "<script>", "9" * 50]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def changed_fields(good: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects like `good` with some fields replaced by any JSON value, or left out."""
    names = st.sampled_from(sorted(good))
    replaced = st.dictionaries(names, json_values, min_size=1, max_size=3)
    dropped = st.sets(names, max_size=2)
    apply: Callable[..., dict[str, Any]] = lambda new, gone: {  # noqa: E731
        key: value for key, value in {**good, **new}.items() if key not in gone or key in new
    }
    return st.builds(apply, replaced, dropped)
