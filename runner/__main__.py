"""`python -m runner`.

Runs in: driver.
"""

import logging
import os
import sys

from runner.loopback import confine
from watchdog.redaction import RedactingFormatter, show_redacted

# Before torch is imported: threads that spin while they wait starve each other on a machine with
# other work to do; measured on two busy cores, a step of a small network is seven times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before Ray is imported, which reads them then.
confine(os.environ)
# What nobody catches or configures is printed, and a driver in the background prints into a file.
sys.excepthook = show_redacted
if isinstance(logging.lastResort, logging.Handler):
    logging.lastResort.setFormatter(RedactingFormatter())

from runner.cli import main  # noqa: E402  it may import Ray

if __name__ == "__main__":
    sys.exit(main())
