"""Fixtures of the dataset room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest


@pytest.fixture
def copied_dataset(tiny_dataset, tmp_path) -> Path:
    """Return a copy of the tiny dataset that a test may damage."""
    return Path(shutil.copytree(tiny_dataset, tmp_path / "tiny"))


@pytest.fixture
def edit_index(copied_dataset) -> Callable[[str, str], Path]:
    """Return a function that replaces text in the copy's index, once, and its hash."""

    def edit(old: str, new: str) -> Path:
        path = copied_dataset / "index.csv"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        about = json.loads((copied_dataset / "dataset.json").read_text())
        about["sha256"] = sha256(path.read_bytes()).hexdigest()
        (copied_dataset / "dataset.json").write_text(json.dumps(about))
        return copied_dataset

    return edit


@pytest.fixture
def snapshot() -> Callable[[Path], dict]:
    """Return a function that tells the files of a folder, their times and bytes."""

    def take(folder: Path) -> dict:
        return {
            str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    return take
