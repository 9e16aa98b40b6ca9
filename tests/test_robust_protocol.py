"""The protocol of single cells: two classes, and the truth at its own size."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from tiny_run import write_config

from leuko_mm.cli.main import main
from leuko_mm.datasets.prepared import read_index, read_split
from leuko_mm.evaluation.metric import load_cells

QUICK = [
    "train_cfg.max_iters=1",
    "train_dataloader.batch_size=1",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "train_dataloader.dataset.pipeline.2.scale=(64,64)",
    "test_dataloader.dataset.pipeline.1.scale=(64,64)",
]


def test_any_method_runs_on_single_cells(tiny_home, tmp_path):
    data, run = tiny_home / "synthetic", tmp_path / "run"
    command = ["train", str(write_config(tmp_path)), "--protocol", "robust"]
    command += ["--setting", "B", "--data", str(data), "--split", "fold5", "--no-amp"]
    assert main([*command, "--work-dir", str(run), "--cfg-options", *QUICK]) == 0
    results = json.loads((run / "results.json").read_text())
    assert list(results["per_class"]) == ["background", "leukocyte"]
    told = results["run"]
    assert (told["method"], told["variant"], told["protocol"]) == (
        "tiny",
        "B",
        "robust",
    )
    assert results["data"]["enhance"]["reading"] == "hsv"
    assert results["data"]["mosaic"] is None
    tested = [s for s, part in read_split(data, "fold5").items() if part == "test"]
    cells = load_cells(run / "cells.npz")
    assert sorted(cells.stem) == sorted(tested)
    # Every pixel of the truth is scored once, none of a padding.
    pixels = {}
    for row in read_index(data):
        with Image.open(data / row.mask) as mask:
            pixels[row.stem] = np.asarray(mask).size
    for stem, counts in zip(cells.stem, cells.confusion, strict=True):
        assert counts.sum() == pixels[stem]
    test = ["test", command[1], str(run / "run.pth"), "--protocol", "robust"]
    test += ["--setting", "B", "--data", str(data), "--split", "fold5"]
    test += ["--work-dir", str(tmp_path / "again"), "--cfg-options", *QUICK]
    assert main(test) == 0
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again["confusion"] == results["confusion"]
