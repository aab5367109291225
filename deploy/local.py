"""Prometheus against the runs of this checkout, on loopback: `make monitoring`.

Runs in: a terminal; Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

CONFIG = Path(__file__).parent / "prometheus" / "prometheus.yml"


def main() -> int:
    """Start Prometheus in the foreground; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--data", type=Path, default=Path("runs/.prometheus/tsdb"))
    args = parser.parse_args()
    binary = shutil.which("prometheus")
    if binary is None:
        sys.stderr.write("error: no prometheus in PATH; `make setup-servers` installs Debian's\n")
        return 2
    args.data.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(
        f"Prometheus on http://127.0.0.1:{args.port}, runs found in {CONFIG}; Ctrl-C ends it\n"
    )
    sys.stdout.flush()
    command = [
        binary,
        f"--config.file={CONFIG}",
        f"--storage.tsdb.path={args.data}",
        f"--web.listen-address=127.0.0.1:{args.port}",
        "--log.level=warn",
    ]
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


if __name__ == "__main__":
    sys.exit(main())
