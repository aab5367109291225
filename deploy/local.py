"""Prometheus, Alertmanager and, where it is found, Grafana for the runs of one folder.

`make monitoring`: all on loopback, on the usual ports or free ones; pages are printed here unless
WEBHOOK names who is told. Ctrl-C ends them.

Runs in: a terminal; Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import sys
import threading
from pathlib import Path
from types import FrameType

from deploy.local_files import alertmanager_config, grafana_environment, prometheus_config
from deploy.pages import Desk
from deploy.server_process import Failed, Server

_POLL_S = 0.2


def main() -> int:
    """Start the servers, say where they are, and wait; return the exit code."""
    args = _arguments()
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: _stop(stopping, _frame))
    desk = Desk(_say)
    servers: list[Server] = []
    try:
        _start(args, desk, servers)
        _tell(args, desk, servers)
        while not stopping.wait(_POLL_S):
            for server in servers:
                server.check()
    except Failed as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    finally:
        for server in reversed(servers):
            server.close()
        desk.close()
    _say("stopped; what they stored is in " + str(_folder(args)))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="%(default)s")
    parser.add_argument("--webhook", metavar="URL", help="who is told; this terminal without it")
    parser.add_argument("--alertmanager-config", type=Path, metavar="FILE", help="yours, as it is")
    parser.add_argument("--port", type=int, default=9090, help="of Prometheus; %(default)s")
    parser.add_argument("--alertmanager-port", type=int, default=9093, help="%(default)s")
    parser.add_argument("--grafana-port", type=int, default=3000, help="%(default)s")
    return parser.parse_args()


def _stop(stopping: threading.Event, _frame: FrameType | None) -> None:
    stopping.set()


def _folder(args: argparse.Namespace) -> Path:
    folder: Path = args.runs_dir / ".monitoring"
    return folder


def _start(args: argparse.Namespace, desk: Desk, servers: list[Server]) -> None:
    """Start them, Alertmanager first: Prometheus calls it, and Grafana asks both."""
    folder = _folder(args)
    folder.mkdir(parents=True, exist_ok=True)
    (args.runs_dir / ".prometheus").mkdir(exist_ok=True)
    alertmanager = f"127.0.0.1:{_port(args.alertmanager_port)}"
    config = args.alertmanager_config or folder / "alertmanager.yml"
    if args.alertmanager_config is None:
        config.write_text(alertmanager_config(desk.url, args.webhook))
    command = [
        _program("prometheus-alertmanager", "alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={alertmanager}",
        "--cluster.listen-address=",
    ]
    log = folder / "alertmanager.log"
    servers.append(Server("Alertmanager", f"http://{alertmanager}", command, log, {}))
    servers[-1].await_ready("/-/ready")

    prometheus = f"127.0.0.1:{_port(args.port)}"
    config = folder / "prometheus.yml"
    config.write_text(prometheus_config(args.runs_dir, alertmanager))
    command = [
        _program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={prometheus}",
    ]
    log = folder / "prometheus.log"
    servers.append(Server("Prometheus", f"http://{prometheus}", command, log, {}))
    servers[-1].await_ready("/-/ready")
    _start_grafana(args, desk, servers)


def _start_grafana(args: argparse.Namespace, desk: Desk, servers: list[Server]) -> None:
    grafana = shutil.which("grafana")
    if grafana is None:
        return
    # Packages put the binary into <home>/bin, or link to it from the PATH.
    home = Path(grafana).resolve().parents[1]
    if not (home / "conf" / "defaults.ini").is_file():
        home = Path("/usr/share/grafana")
    folder, port = _folder(args) / "grafana", _port(args.grafana_port)
    folder.mkdir(exist_ok=True)
    alertmanager, prometheus = (server.url for server in servers)
    environment = grafana_environment(folder.absolute(), port, prometheus, alertmanager, desk.url)
    command = [grafana, "server", f"--homepath={home}"]
    log = folder / "grafana.log"
    servers.append(Server("Grafana", f"http://127.0.0.1:{port}", command, log, environment))
    servers[-1].await_ready("/api/health")


def _tell(args: argparse.Namespace, desk: Desk, servers: list[Server]) -> None:
    for server in servers:
        _say(f"{server.name:13} {server.url}")
    if len(servers) < 3:
        _say(
            "Grafana       not in the PATH; its dashboards are deploy/grafana/dashboards/*.json, "
            "and deploy/compose/compose.yaml starts one with them"
        )
    _say(f"{'runs':13} those in {args.runs_dir.absolute()}, found within 5 s of their start")
    if args.alertmanager_config is not None:
        _say(f"{'pages':13} as {args.alertmanager_config} has it")
    elif args.webhook is not None:
        _say(f"{'pages':13} and tickets are posted to {args.webhook}")
    else:
        _say(
            f"{'pages':13} are printed here. WEBHOOK=https://… posts them to you; for mail, chat "
            "or a pager copy deploy/alertmanager/alertmanager.yml, put your receivers in, and name "
            "it with ALERTMANAGER=file"
        )
    _say("Ctrl-C ends all of them")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _program(*names: str) -> str:
    """Return the path of a program by any of its names.

    Raises:
        Failed: none is in the PATH.
    """
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    raise Failed(f"no {' or '.join(names)} in the PATH; `make setup-servers` installs Debian's")


def _port(wanted: int) -> int:
    """Return `wanted` if it is free on loopback, else any port that is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Failed(f"no free port on 127.0.0.1, not even in place of {wanted}")


if __name__ == "__main__":
    sys.exit(main())
