"""Fixtures that tests of every room share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the folder of the clone."""
    return ROOT


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Return the folder with real images and weights, or skip the test."""
    folder = Path(os.environ.get("LEUKO_MM_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs real data: LEUKO_MM_SHARED is no folder ({folder})")
    return folder.resolve()


@pytest.fixture(autouse=True)
def _no_folders_of_the_user(monkeypatch):
    # A test that forgets to name its data folder must not read the user's.
    monkeypatch.delenv("LEUKO_MM_DATA", raising=False)
    monkeypatch.delenv("LEUKO_MM_CACHE", raising=False)
