"""Head nodes of Ray on loopback, started as an operator starts them and ended by process id."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ray.runs import descendants, name_of

#: The id that Ray's provider of pretended nodes gives to the head.
_FAKE_HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"


#: A node that died is known after 3 s instead of 14.
_HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
#: What Ray's own examples fill in, and no pretended node runs.
_COMMANDS = (
    "cluster_synced_files",
    "head_setup_commands",
    "head_start_ray_commands",
    "initialization_commands",
    "rsync_exclude",
    "rsync_filter",
    "setup_commands",
    "worker_setup_commands",
    "worker_start_ray_commands",
)


@dataclass(frozen=True)
class Head:
    """A head that is up: what leads a driver to it, and its dashboard."""

    environment: Mapping[str, str]
    dashboard: str
    process: subprocess.Popen[bytes]

    def nodes(self) -> list[int]:
        """Return the process ids of the raylets that the autoscaler started, the oldest first."""
        found = [pid for pid in descendants(self.process.pid) if "/raylet/raylet " in name_of(pid)]
        return [pid for pid in found if "--head" not in name_of(pid)]


@contextmanager
def head(
    folder: Path,
    *,
    cpus: int,
    with_dashboard: bool = True,
    worker_types: Mapping[str, Any] | None = None,
    asks_for_token: bool = False,
) -> Iterator[Head]:
    """Start a head node; with `worker_types` its autoscaler brings nodes of these types."""
    port, dashboard, agent = free_port(), free_port(), free_port()
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": "/tmp", "RAY_worker_niceness": "0"}
    if asks_for_token:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += [f"--port={port}", f"--num-cpus={cpus}", "--node-ip-address=127.0.0.1"]
    command += ["--disable-usage-stats", "--object-store-memory=300000000"]
    if with_dashboard:
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        command += [f"--dashboard-agent-listen-port={agent}"]
    else:
        command += ["--include-dashboard=false"]
    if worker_types is not None:
        command += [f"--system-config={json.dumps(_HEALTH)}"]
        config = folder / "autoscaler.json"
        config.write_text(json.dumps(_autoscaler(port, cpus, worker_types)))
        command += [f"--autoscaling-config={config}"]
        environment |= {
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": _FAKE_HEAD,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _FAKE_HEAD,
        }
    with (folder / "ray.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
            cwd=folder,  # what lies in the folder of a process is imported before what is meant
        )
        try:
            _wait_for(port, process)
            url = f"http://127.0.0.1:{dashboard}"
            if with_dashboard:
                _wait_for_dashboard(url, process)
            yield Head({**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}, url, process)
        finally:
            _end(process)


def _autoscaler(port: int, cpus: int, worker_types: Mapping[str, Any]) -> dict[str, Any]:
    head_type = {"resources": {"CPU": cpus}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "pretended",
        "max_workers": 8,
        "idle_timeout_minutes": 0.1,
        "provider": {
            # The same provider by its own name needs a file that Ray's wheel lacks.
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": f"127.0.0.1:{port}",
            "launch_multiple": True,
            "head_node_id": _FAKE_HEAD,
        },
        "available_node_types": {**worker_types, "ray.head.default": head_type},
        "head_node_type": "ray.head.default",
        "auth": {"ssh_user": "nobody"},
        "upscaling_speed": 1.0,
        "docker": {},
        "file_mounts": {},
        **{name: [] for name in _COMMANDS},
    }


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the head node and every process it started, by their ids."""
    family = descendants(head.pid)
    head.terminate()
    try:
        head.wait(timeout=5)
    except subprocess.TimeoutExpired:  # `ray start --block` may wait for its own children for ever
        head.kill()
        head.wait()
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert head.poll() is None, "ray start ended early"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head node did not come up in 60 s")


def _wait_for_dashboard(url: str, head: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert head.poll() is None, "ray start ended early"
        try:
            urllib.request.urlopen(f"{url}/api/version", timeout=5).close()
            return
        except urllib.error.HTTPError as answer:  # it asks for the token
            answer.close()
            return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError("the dashboard did not come up in 60 s")
