"""A run on this machine keeps to itself: where it listens, whom it answers, what it writes."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.ray.runs import Submitted, descendants
from tests.ray.sockets import listeners

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

#: Where Ray looks for a free port for its dashboard.
DASHBOARDS = range(8265, 8265 + 51)
#: What a user's shell may hold; the values have no form that a pattern would know.
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-value",
    "HF_TOKEN": "planted-hub-value",
    "DB_PASSWORD": "planted-db-value",
}


def test_a_local_run_listens_on_loopback_asks_for_a_token_and_keeps_secrets(tmp_path: Path) -> None:
    # The second attempt's ledger holds an exception with its traceback.
    drill = ("--drill", "exception@step=10")
    settings = ("--set", "train.max_steps=100000 watchdog.port=0")
    run = Submitted(tmp_path, "quiet", *settings, *drill, environment=SECRETS)
    try:
        run.wait_for_step(20, timeout_s=240)
        found = listeners([run.process.pid, *descendants(run.process.pid)])
        # The process has other ports, of its metrics among them, which answer anything.
        dashboard = next(x for x in found if "dashboard.py" in x.process and x.port in DASHBOARDS)
        for part in ("RayTrainWorker", "WatchdogHost", "gcs_server", "raylet", "DashboardAgent"):
            assert any(part in x.process for x in found), f"{part} is not among {found}"
        assert [x for x in found if not x.is_loopback] == []
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{dashboard.port}/api/jobs/", timeout=30)
        assert refused.value.code == 401
        refused.value.close()
        run.interrupt()
        finished = run.finish()
    finally:
        run.close()
    assert finished.code == 130, finished.output
    assert "DrillError" in (finished.folder / "ledger.jsonl").read_text()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"job.yaml", "trace.jsonl", "report.html", "result.json"} <= {f.name for f in files}
    said = [finished.output.encode(), *(path.read_bytes() for path in files)]
    assert [s for s in SECRETS.values() if any(s.encode() in data for data in said)] == []
