"""The comparison with the plain loop: finished runs are taken, the page is theirs."""

from __future__ import annotations

import json

import pytest
from tool_module import load_tool


@pytest.fixture
def tool():
    return load_tool("paper/plain_loop")


def results(mean_iou: float) -> dict:
    run = dict(command="leuko train x", iterations=4, amp=True, wall_s=2.0, git="abc")
    return dict(run=run, metrics=dict(mIoU=mean_iou, pixel_accuracy=90.0))


def test_a_finished_run_is_taken_as_it_is(tool, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results(81.5)))
    found = tool.run(tmp_path, ["leuko", "no such verb"])
    assert (found["mIoU"], found["wall_s"], found["git"]) == (81.5, 2.0, "abc")


def test_a_run_that_was_stopped_goes_on(tool, tmp_path, monkeypatch):
    asked = []

    def trained(command, *, check):
        asked.append(command)
        (tmp_path / "results.json").write_text(json.dumps(results(70.0)))

    monkeypatch.setattr(tool.subprocess, "run", trained)
    assert tool.run(tmp_path, ["leuko", "train", "x"])["mIoU"] == 70.0
    assert asked[0][-3:] == ["train", "x", "--resume"]


def test_the_difference_is_that_of_the_means(tool):
    runs = [
        dict(loop=loop, seed=seed, mIoU=value, pixel_accuracy=99.0, wall_s=1.0)
        for loop, values in dict(leuko=[80.0, 82.0], plain=[79.0, 84.0]).items()
        for seed, value in enumerate(values)
    ]
    found = dict(runs=runs, **tool.compared(runs))
    assert found["difference_mIoU"] == pytest.approx(-0.5)
    lines = tool.page(found).splitlines()
    assert "| leuko | 80.00, 82.00 | 81.00 | 99.00 | 1 |" in lines
    assert "| plain | 79.00, 84.00 | 81.50 | 99.00 | 1 |" in lines


def test_the_page_shows_what_was_measured(tool, project_root):
    found = json.loads((project_root / "results" / "plain_loop.json").read_text())
    computed = tool.compared(found["runs"])
    assert {key: found[key] for key in computed} == computed
    page = (project_root / "docs" / "speed.md").read_text(encoding="utf-8")
    assert tool.page(found) in page
