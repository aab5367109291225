"""The configuration of the servers that `make monitoring` starts, made from the committed files.

What differs from them is where things are: the ports that were free, the runs folder that was
named, and who is told.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).resolve().parent
PROMETHEUS = _ROOT / "prometheus" / "prometheus.yml"
ALERTMANAGER = _ROOT / "alertmanager" / "alertmanager.yml"
GRAFANA = _ROOT / "grafana"

#: Receivers that people read; the heartbeat is for a machine.
_TOLD = frozenset({"page", "tickets"})


def prometheus_config(runs_dir: Path, alertmanager: str) -> str:
    """Return prometheus.yml for the runs of a folder and the Alertmanager at `host:port`."""
    config = yaml.safe_load(PROMETHEUS.read_text())
    config["rule_files"] = [str(PROMETHEUS.parent / name) for name in config["rule_files"]]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    listed = str(runs_dir.absolute() / ".prometheus" / "*.json")
    for scrape in config["scrape_configs"]:
        for discovery in scrape["file_sd_configs"]:
            discovery["files"] = [listed]
    return yaml.safe_dump(config, sort_keys=False)


def alertmanager_config(desk: str, webhook: str | None) -> str:
    """Return alertmanager.yml with our routes.

    Args:
        desk: `http://host:port` of what prints pages in the terminal.
        webhook: an address that is told instead; None for the terminal.
    """
    config = yaml.safe_load(ALERTMANAGER.read_text())
    config["receivers"] = [_receiver(r, desk, webhook) for r in config["receivers"]]
    return yaml.safe_dump(config, sort_keys=False)


def _receiver(receiver: Mapping[str, Any], desk: str, webhook: str | None) -> dict[str, Any]:
    out = copy.deepcopy(dict(receiver))
    for hook in out.get("webhook_configs", ()):
        is_for_webhook = webhook is not None and out["name"] in _TOLD
        hook["url"] = webhook if is_for_webhook else f"{desk}/{out['name']}"
    return out


def grafana_environment(
    folder: Path, port: int, prometheus: str, alertmanager: str, desk: str
) -> dict[str, str]:
    """Return what Grafana is told through its environment: loopback, no login, our provisioning."""
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(folder),
        "GF_PATHS_LOGS": str(folder / "log"),
        "GF_PATHS_PROVISIONING": str(GRAFANA / "provisioning"),
        # Whoever reaches loopback may read the runs folder too; nobody may change anything.
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "PROMETHEUS_URL": prometheus,
        "ALERTMANAGER_URL": alertmanager,
        "WATCHKEEPER_DASHBOARDS": str(GRAFANA / "dashboards"),
        "WATCHKEEPER_WEBHOOK_URL": f"{desk}/page",
    }
