"""The process of the checks: a pickled request on standard input, JSON lines on standard output.

Each check is announced before it runs, so that the driver knows which one a crash belongs to.

Runs in: preflight's own process.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from typing import Any

import torch

from runner.preflight.bench import Bench
from runner.preflight.checks import CHECKS
from runner.preflight.request import Request
from runner.preflight.running import run_check


def main() -> int:
    """Run the checks of the request; prints of the job go to standard error."""
    request: Request = pickle.load(sys.stdin.buffer)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        bench = Bench(request.job, request.run_dir, lr_range=request.lr_range)
        torch.set_num_threads(bench.threads)  # as many as a rank of the run would have
        for name, check in CHECKS.items():
            if name in request.skip:
                continue
            _say(out, {"begins": name, "title": check.title})
            checked = run_check(name, bench)
            found = [finding.to_json() for finding in checked.findings]
            _say(out, {"check": name, "findings": found, "seconds": checked.seconds})
        _say(out, {"ends": True})
    return 0


def _say(out: Any, line: dict[str, Any]) -> None:
    out.write(json.dumps(line) + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
