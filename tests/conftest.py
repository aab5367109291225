"""Fixtures that every suite shares."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported: threads that spin for each other make tiny tensors a hundred times
# slower on a machine with other work to do.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# The same examples in every run, so that a red suite is red again; to look for new ones:
# pytest --hypothesis-profile=search
settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def shared() -> Path | None:
    """Return the folder of real samples and traces beside the checkout, or None in a lone clone."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    return folder if (folder / "data").is_dir() else None
