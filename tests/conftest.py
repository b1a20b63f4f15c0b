"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# A test (or a program that it starts) that reaches for the hub fails at once instead of waiting for a network.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder is not beside this checkout")
    return folder
