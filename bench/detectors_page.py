"""Writes docs/DETECTORS.md: what each detector catches, when it is asked, and its defaults.

python -m bench.detectors_page
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic_core import PydanticUndefined

from watchdog.detectors import DETECTORS, Detector
from watchdog.findings import Cadence

PAGE = Path(__file__).resolve().parents[1] / "docs" / "DETECTORS.md"

_ASKED = {
    Cadence.STEP: "at every step",
    Cadence.BLOCK: "now and then, and at a validation",
    Cadence.TICK: "while nothing is heard",
}

_HEAD = """# Detectors

Written from the code by `python -m bench.detectors_page`; a test keeps it so. Each is a file of
`watchdog/detectors/`; its settings are under `watchdog.detectors.<name>` of a job file. What they
are worth is in [JUDGEMENT.md](JUDGEMENT.md).
"""


def page() -> str:
    """Return the Markdown."""
    rows = ["| detector | what it catches | asked | then |", "| --- | --- | --- | --- |"]
    rows += [_row(detector) for detector in DETECTORS.values()]
    return "\n".join([_HEAD, *rows, "", *(_section(d) for d in DETECTORS.values())])


def _row(detector: Detector) -> str:
    link = f"[{detector.name}](#{detector.name})"
    return f"| {link} | {_text(detector)[0]} | {_ASKED[detector.cadence]} | {_then(detector)} |"


def _then(detector: Detector) -> str:
    """Return what follows on a finding, by the levels its file knows."""
    source = inspect.getsource(_module(detector))
    if "Level.INCIDENT" not in source:
        return "told only"
    return "told first, then acted on" if "Level.SUSPECT" in source else "acted on"


def _section(detector: Detector) -> str:
    """Return all that the file says of itself, and its settings with their defaults."""
    lines = [f"## {detector.name}", "", "\n\n".join(_text(detector)), ""]
    lines += ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in detector.config.model_fields.items():
        if name != "enabled":
            meaning = " ".join((field.description or "").split())
            lines.append(f"| `{name}` | {_default(field.default)} | {meaning} |")
    return "\n".join([*lines, ""])


def _text(detector: Detector) -> list[str]:
    """Return the paragraphs of the docstring of its file, without where it runs."""
    text = _module(detector).__doc__ or ""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return [part for part in paragraphs if part and not part.startswith("Runs in:")]


def _module(detector: Detector) -> ModuleType:
    return importlib.import_module(f"watchdog.detectors.{detector.name}")


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
