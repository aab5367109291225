"""Writes the report of a run: one HTML file that holds everything and opens without a network.

All that comes from a run's files is untrusted text: the template escapes it, and the figures reach
the page as JSON that cannot end its script element.

Runs in: driver.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from runner.driver_lock import is_driven
from runner.environment import package_versions
from runner.evidence import read_evidence
from runner.report_view import ReportView, build_view, figures
from runner.runs import RunFolder

_SHOWN_PACKAGES = ("watchkeeper", "torch", "ray", "plotly")

#: `<` would let a text end its script element, the separators end a line of JavaScript.
_JSON_ESCAPES = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the folder of a run and return where it is.

    Any file of the run may be missing or end half-written, so a report can be had of a living run.

    Raises:
        OSError: the folder cannot be written.
    """
    run = RunFolder(run_dir)
    view = build_view(read_evidence(run), _software(), is_driven=is_driven(run))
    partial = run.report.with_suffix(".partial")
    # A lone half of a surrogate pair is valid JSON and cannot be written.
    partial.write_text(render(view), encoding="utf-8", errors="replace")
    partial.replace(run.report)
    return run.report


def render(view: ReportView) -> str:
    """Return the page as HTML."""
    return render_page("report.html.j2", view, figures(view))


def render_page(template: str, view: Any, charts: Mapping[str, Any]) -> str:
    """Return a page of `templates/` with plotly and its figures inside."""
    environment = Environment(
        loader=PackageLoader("runner", "templates"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(
        view=view,
        plotly_js=Markup(get_plotlyjs()),
        figures_json=Markup(script_json(charts)),
    )


def script_json(value: Any) -> str:
    """Return JSON that may stand inside a script element, whatever texts it holds.

    Raises:
        ValueError: a number is not finite, which is not JSON.
    """
    return json.dumps(value, allow_nan=False, ensure_ascii=False).translate(_JSON_ESCAPES)


def _software() -> Mapping[str, str]:
    return {"python": platform.python_version(), **package_versions(_SHOWN_PACKAGES)}
