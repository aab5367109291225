"""docs/SECURITY.md points at proofs that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "SECURITY.md").read_text(encoding="utf-8")


def test_every_proof_that_is_named_is_there() -> None:
    named = set(re.findall(r"\btest_\w+\.py", PAGE))
    assert len(named) > 12
    assert named - {path.name for path in TESTS.rglob("test_*.py")} == set()


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"`((?:runner|watchdog|deploy|tests)/[\w/.-]+\.\w+)`", PAGE))
    assert [name for name in sorted(named) if not (TESTS.parent / name).is_file()] == []
