"""Fixtures that every suite shares."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path | None:
    """Return the folder of real samples and traces beside the checkout, or None in a lone clone."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    return folder if (folder / "data").is_dir() else None
