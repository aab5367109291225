"""`python -m runner`.

Runs in: driver.
"""

import os
import sys

# Before torch is imported: threads that spin while they wait starve each other on a machine with
# other work to do; measured on two busy cores, a step of a small network is seven times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from runner.cli import main

if __name__ == "__main__":
    sys.exit(main())
