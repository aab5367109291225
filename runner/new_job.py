"""A new job from a copy of an example: `make new-job NAME=my_job`.

Runs in: driver.
"""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path

import jobs
from runner.spec import JOB_NAME
from watchdog.errors import SpecError

#: What each example shows, by the folder's name.
EXAMPLES = {
    "template": "a Task for the standard loop",
    "plain_loop": "a training loop of its own",
}
_COPIED = frozenset({".py", ".yaml", ".md"})


def new_job(name: str, example: str = "template") -> Path:
    """Return the new folder `jobs/<name>`, a copy of the example under that name.

    Raises:
        SpecError: the name is not possible or taken, the example is unknown, or the folder cannot
            be written.
    """
    if example not in EXAMPLES:
        known = ", ".join(f"{name} ({shows})" for name, shows in EXAMPLES.items())
        raise SpecError(f"example {example} is unknown (known: {known}); FROM={example} chose it")
    root = Path(next(iter(jobs.__path__)))
    _require_free(name, root)
    target = root / name
    try:
        target.mkdir()
        for source in sorted((root / example).iterdir()):
            if source.suffix in _COPIED:
                text = source.read_text(encoding="utf-8")
                (target / source.name).write_text(_renamed(text, example, name), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise SpecError(
            f"cannot write {target}: {error}; jobs/ is probably read-only, as in an installed "
            "package; work in a checkout"
        ) from error
    return target


def _require_free(name: str, root: Path) -> None:
    if not re.fullmatch(JOB_NAME, name) or keyword.iskeyword(name):
        raise SpecError(
            f"job name {name or '(empty)'} is not possible: small letters, digits and _, at most "
            "40, a letter first, and not a word of Python's own; NAME names the folder"
        )
    if (root / name).exists():
        raise SpecError(f"{root / name} is there already and is not overwritten; choose another")


def _renamed(text: str, example: str, name: str) -> str:
    """Return the example's text with its own name, as package, folder or title, made the new."""
    return re.sub(rf"(?<![\w]){example}(?![\w])", name, text)
