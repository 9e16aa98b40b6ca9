"""docs/examples/python_api.py: what it shows works, and leaves nothing open."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Return the script as a module, in an empty folder."""
    path = ROOT / "docs" / "examples" / "python_api.py"
    spec = importlib.util.spec_from_file_location("python_api", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    return module


def rows_of(table):
    return table if isinstance(table, list) else table.to_dict("records")


def test_cells_and_their_counts_are_tables(example, tmp_path):
    prepare_synthetic(tmp_path / "cells", slides=2, cells_per_class=1)
    images = sorted((tmp_path / "cells" / "images").iterdir())[:3]
    cells, counts = map(rows_of, example.count(images))
    assert {row["image"] for row in cells} <= {image.name for image in images}
    assert all(row["area"] > 0 for row in cells)
    found = [row["answer"] for row in cells]
    assert len(found) > 0
    assert {row["name"]: row["count"] for row in counts if row["count"]} == {
        name: found.count(name) for name in set(found)
    }


def test_a_training_from_python_closes_its_log(example):
    before = set(os.listdir("/proc/self/fd"))
    run = example.train_on_drawn_cells()
    results = json.loads((run / "results.json").read_text())
    assert results["run"]["iterations"] == 2
    new = set(os.listdir("/proc/self/fd")) - before
    links = [Path("/proc/self/fd") / number for number in new]
    opened = [os.readlink(link) for link in links if os.path.lexists(link)]
    assert [name for name in opened if "work_dirs" in name] == []
    assert "Iter(train)" in next(run.glob("*/*.log")).read_text()
