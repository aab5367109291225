"""Open files: what the processes of a run need against the limit they inherit.

Runs in: preflight's own process.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, passed, warned

ORDER = 12
TITLE = "open files"

#: Ray, the logs and the libraries of one worker. Chosen: room for a few hundred libraries,
#: sockets and logs; not measured.
_A_WORKER = 512
#: Pipes and queues of one loader process, seen from its worker.
_A_LOADER = 16


def check(bench: Bench) -> Iterator[Finding]:
    """Compare the soft limit of open files with an estimate for one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _A_WORKER + _A_LOADER * bench.spec.data.loader_workers
    shown = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        yield warned(
            f"a process may open {shown} files, a worker wants about {wanted}",
            f"ulimit -n {hard if hard > wanted else wanted} in the shell that submits",
        )
        return
    yield passed(f"a process may open {shown} files, a worker wants about {wanted}")
