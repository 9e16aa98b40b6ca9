"""What docs/benchmarks.md shows is what the committed measurements hold."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from leuko_mm.report.bench_table import bench_page
from leuko_mm.workflows.bench_targets import targets

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
MEASURED = sorted((ROOT / "results").glob("bench_*.json"))


def test_both_jobs_were_measured():
    assert [path.stem for path in MEASURED] == ["bench_predict", "bench_train"]


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_the_page_shows_the_file(path):
    found = json.loads(path.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    for part in bench_page(found).split("\n\n"):
        # The headings of the page are its own.
        assert part.startswith("#") or part in page
    assert found["command"] in page


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_the_targets_are_judged_by_the_rows_of_the_file(path):
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["targets"] == targets(found["rows"])
    for row in found["rows"]:
        if row["times_plain"]:
            same = ("mmseg", row["network"])
            plain = [r["ms"] for r in found["rows"] if (r["way"], r["network"]) == same]
            assert row["times_plain"] == statistics.median(plain) / row["ms"]
