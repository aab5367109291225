"""What all tests on Ray share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _own_environment() -> Iterator[None]:
    """Take back what a module's clusters put into the environment: their Ray takes it from there.

    The runs of the next module would inherit it, down to a token that nobody asks for.
    """
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
