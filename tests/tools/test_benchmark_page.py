"""What docs/benchmarks.md shows is what the committed measurements hold."""

from __future__ import annotations

import json

import pytest
from tool_module import load_tool

from leuko_mm.workflows.bench_targets import targets


@pytest.fixture
def tool():
    return load_tool("benchmark_page")


@pytest.fixture
def measured(project_root):
    files = sorted((project_root / "results").glob("bench_*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def test_the_page_is_that_of_the_files(tool, measured):
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.renewed_page() == page
    for found in measured.values():
        assert f"    {found['command']}\n" in page


def test_the_figures_of_a_file_follow_from_its_rows(measured):
    for found in measured.values():
        assert found["targets"] == targets(found["rows"])
        plain = {r["network"]: r["ms"] for r in found["rows"] if r["way"] == "mmseg"}
        for row in found["rows"]:
            if row["times_plain"]:
                ratio = plain[row["network"]] / row["ms"]
                assert row["times_plain"] == pytest.approx(ratio)


def test_only_what_stands_between_the_marks_is_put_anew(tool):
    found = dict(
        command="leuko bench train",
        env=dict(cpu="a processor", gpu=None, torch="2"),
        load=dict(before=0.1, after=0.1),
        threads=2,
        clock="wall",
        rounds=7,
        targets=[dict(target="twice", measured=2.5, met=True)],
        rows=[],
    )
    page = "before\n<!-- bench_train -->\nold\n<!-- end -->\nafter\n"
    renewed = tool.renewed(page, "bench_train", found)
    assert renewed.startswith("before\n<!-- bench_train -->\n\n    leuko bench train\n")
    assert renewed.endswith("| twice | 2.50 | met |\n\n<!-- end -->\nafter\n")
    assert "### Targets" in renewed
    assert "old" not in renewed
    assert tool.renewed(renewed, "bench_train", found) == renewed


def test_a_page_without_marks_is_refused(tool):
    with pytest.raises(ValueError, match="no <!-- bench_other -->"):
        tool.renewed("nothing", "bench_other", {})
