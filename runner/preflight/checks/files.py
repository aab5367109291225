"""The files behind the samples: how many cannot be read, and which are on both sides.

Runs in: preflight's own process.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from runner.job_facts import DataFiles
from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, some, unchecked, warned

ORDER = 20
TITLE = "data files"

#: Source: the waste classifier among the seed projects, whose owner put skipped batches under 5 %
#: down as good, up to 20 % as acceptable, and above that as a data problem.
_GOOD_SHARE, _ACCEPTABLE_SHARE = 0.05, 0.20
#: Chosen: a validation that shares a twentieth of its files with training flatters the score by
#: more than the differences it is used to see.
_LEAK_SHARE = 0.05
_HASHING_S = 5.0


def check(bench: Bench) -> Iterator[Finding]:
    """Report unreadable files, and equal contents in training and validation."""
    files = bench.task.data_files()
    if files is None:
        yield unchecked("the job names no files (Task.data_files)")
        return
    yield _readable(files)
    yield _apart(files)


def _readable(files: DataFiles) -> Finding:
    total = len(files.train) + len(files.validation) + len(files.unreadable)
    bad = len(files.unreadable)
    share = bad / total if total else 0.0
    numbers = {"files": float(total), "unreadable_share": share}
    if not bad:
        return passed(f"{total} files, all that were tried can be read", **numbers)
    text = f"{bad} of {total} files cannot be read ({share:.1%}): {some(files.unreadable)}"
    remedy = "download them again or remove them; they are left out of training, never replaced"
    if share > _ACCEPTABLE_SHARE:
        return failed(
            f"{text}; above {_ACCEPTABLE_SHARE:.0%} the set is damaged", remedy, **numbers
        )
    if share > _GOOD_SHARE:
        return warned(text, remedy, **numbers)
    return passed(f"{text}; left out", **numbers)


def _apart(files: DataFiles) -> Finding:
    if not files.train or not files.validation:
        return unchecked("one of training and validation names no files: no search for duplicates")
    pairs, is_complete = duplicates(files.train, files.validation)
    scope = "" if is_complete else f" (of those hashed in {_HASHING_S:g} s)"
    if not pairs:
        return passed(
            f"no file of {len(files.validation)} in validation is also one of the "
            f"{len(files.train)} in training{scope}"
        )
    share = len(pairs) / len(files.validation)
    text = (
        f"{len(pairs)} of {len(files.validation)} validation files ({share:.1%}) have the contents "
        f"of a training file{scope}: {some(f'{a.name} = {b.name}' for a, b in pairs)}"
    )
    remedy = "remove the copies: a score on samples that were trained on says nothing"
    level = failed if share > _LEAK_SHARE else warned
    return level(text, remedy, duplicate_share=share)


def duplicates(
    train: Iterable[Path], validation: Iterable[Path]
) -> tuple[list[tuple[Path, Path]], bool]:
    """Return pairs (validation file, training file) of equal contents; False: time ran out.

    Only files of equal size are read.
    """
    by_size: dict[int, list[Path]] = {}
    for path in train:
        by_size.setdefault(path.stat().st_size, []).append(path)
    deadline = time.perf_counter() + _HASHING_S
    digests: dict[Path, bytes] = {}
    found: list[tuple[Path, Path]] = []
    for path in validation:
        for other in by_size.get(path.stat().st_size, ()):
            if time.perf_counter() > deadline:
                return found, False
            if _digest(path, digests) == _digest(other, digests):
                found.append((path, other))
                break
    return found, True


def _digest(path: Path, known: dict[Path, bytes]) -> bytes:
    if path not in known:
        with path.open("rb") as file:
            known[path] = hashlib.file_digest(file, "sha256").digest()
    return known[path]
