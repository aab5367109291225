"""Answers a question from afar: runs one command on a cluster's head and frames what it says.

Runs in: driver (on the cluster's head, inside a Ray job).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout

from runner.frames import Frame, Framed, Kind, encode


def answer(argv: Sequence[str], main: Callable[[Sequence[str]], int]) -> int:
    """Run `main(argv)`, and write its output, errors and exit code as frames; return 0.

    The job that runs this is a success when the answer was given, whatever it is.
    """
    log = sys.stdout
    with redirect_stdout(Framed(Kind.OUT, log)), redirect_stderr(Framed(Kind.ERR, log)):
        try:
            code = main(argv)
        except SystemExit as error:  # argparse
            code = error.code if isinstance(error.code, int) else 1
    log.write(encode(Frame(Kind.EXIT, str(code))))
    log.flush()
    return 0
