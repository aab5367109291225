"""Writes every file that is rendered from the catalogues: `make deploy-files`.

Runs in: a terminal; needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.dashboards import fleet, ranks, recovery, run
from deploy.rules.catalogue import RUNBOOKS
from deploy.rules.render import grafana_rules, prometheus_rule_resource, rule_file, runbooks

#: File name -> what builds the dashboard.
DASHBOARDS: Mapping[str, Callable[[], Dashboard]] = {
    "fleet": fleet.build,
    "run": run.build,
    "ranks": ranks.build,
    "recovery": recovery.build,
}
ROOT = Path(__file__).resolve().parents[1]


def files(runbooks_url: str = RUNBOOKS) -> Mapping[str, str]:
    """Return the text of each generated file by its path in the repository.

    Args:
        runbooks_url: where the alerts say that docs/RUNBOOKS.md is served.
    """
    encoder = JSONEncoder(sort_keys=True, indent=1)
    boards = {
        f"deploy/grafana/dashboards/{name}.json": encoder.encode(make().build()) + "\n"
        for name, make in DASHBOARDS.items()
    }
    return {
        "deploy/prometheus/rules/training.yml": rule_file(runbooks_url),
        "deploy/kuberay/prometheus-rule.yaml": prometheus_rule_resource(runbooks_url),
        "deploy/grafana/alerting-without-alertmanager/rules.yaml": grafana_rules(runbooks_url),
        "docs/RUNBOOKS.md": runbooks(),
        **boards,
    }


def main() -> int:
    """Write the files, or with --check say which are not as they should be."""
    parser = argparse.ArgumentParser(prog="python -m deploy.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if any is stale")
    parser.add_argument("--runbooks", default=RUNBOOKS, metavar="URL", help="%(default)s")
    args = parser.parse_args()
    is_checking, wanted = args.check, files(args.runbooks)
    stale = [
        name
        for name, text in wanted.items()
        if not (ROOT / name).is_file() or (ROOT / name).read_text() != text
    ]
    for name in stale:
        sys.stdout.write(f"{'stale' if is_checking else 'wrote'} {name}\n")
        if not is_checking:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(wanted[name])
    return int(is_checking and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
