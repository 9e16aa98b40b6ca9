"""Trials of the class network: what each changes, and how it is scored."""

from __future__ import annotations

import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.registry import DATASETS, TRANSFORMS
from leuko_mm.training.config import resolve_config

tool = load_tool("paper/class_trials")


@pytest.mark.parametrize("name", tool.trials())
def test_every_trial_changes_what_it_says_and_nothing_else(name):
    options = tool.trials()[name]
    config, plain = (
        resolve_config("cell_classes", options=o).to_dict() for o in (options, {})
    )
    for key, value in options.items():
        place = config
        for part in key.split("."):
            place = place[int(part) if part.isdecimal() else part]
        assert place == value
    changed = {key.split(".")[0] for key in options}
    assert {key for key in plain if config[key] != plain[key]} == changed
    for step in config["train_dataloader"]["dataset"]["pipeline"][:-1]:
        TRANSFORMS.build({"_scope_": "mmseg", **step})


def test_scores_are_those_of_the_cells_to_choose_on(tmp_path):
    groups = [f"labs/g{i}" for i in range(40)]
    confusion = np.zeros((40, 6, 6), np.int64)
    for i in range(40):
        truth = 1 + i % 2
        confusion[i, truth, 0 if i == 0 else truth if i < 30 else 3] = 9
    stem = np.array([f"s{i}" for i in range(40)])
    arrays = dict(stem=stem, group=np.array(groups), confusion=confusion)
    np.savez(tmp_path / "cells.npz", **arrays)
    chosen = [i for i in range(40) if tool.half_of(f"g{i}") == "choose"]
    found = tool.scored(tmp_path)
    right = [i for i in chosen if 0 < i < 30]
    assert (found["cells"], found["right"]) == (len(chosen), len(right))
    assert found["lost_to_other"] == (0 in chosen)
    recalls = [
        sum(i % 2 == k for i in right) / sum(i % 2 == k for i in chosen) for k in (0, 1)
    ]
    assert found["macro_recall"] == pytest.approx(50 * sum(recalls), abs=0.01)
    assert "| a | 3 of 4 | 50.0 | 1 |" in tool.as_table(
        {"a": dict(right=3, cells=4, macro_recall=50.0, lost_to_other=1)}
    )


def test_crops_are_enhanced_before_they_are_varied(tiny_data):
    cells = dict(name="synthetic", split="fold5")
    options = dict(red_cell_px=dict(synthetic=12), test_mode=True, size=32)
    plain = DATASETS.build(
        dict(type="leuko_mm.CellCropDataset", dataset=cells, **options)
    )
    enhance = dict(type="leuko_mm.ValueEqualisation", window=64)
    changed = DATASETS.build(
        dict(type="leuko_mm.EnhancedCrops", dataset=cells, enhance=enhance, **options)
    )
    bgr = np.ascontiguousarray(plain._cut(0, 32)[..., ::-1])
    wanted = TRANSFORMS.build({"_scope_": "leuko_mm", **enhance})(dict(img=bgr))["img"]
    np.testing.assert_array_equal(changed._cut(0, 32), wanted[..., ::-1])
    assert (changed._cut(0, 32) != plain._cut(0, 32)).any()
