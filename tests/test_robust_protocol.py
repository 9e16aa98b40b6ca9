"""The protocol of single cells: two classes, and the truth at its own size."""

from __future__ import annotations

import json

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
    data, folder = tiny_home / "synthetic", tmp_path / "run"
    config = str(write_config(tmp_path))
    words = ["--protocol", "robust", "--setting", "B", "--data", str(data)]
    words += ["--split", "fold5", "--cfg-options", *QUICK]
    assert main(["train", config, "--no-amp", "--work-dir", str(folder), *words]) == 0
    results = json.loads((folder / "results.json").read_text())
    assert list(results["per_class"]) == ["background", "leukocyte"]
    named = [results["run"][key] for key in ("method", "variant", "protocol")]
    assert named == ["tiny", "B", "robust"]
    assert results["data"]["enhance"]["reading"] == "hsv"
    assert results["data"]["mosaic"] is None
    tested = [s for s, part in read_split(data, "fold5").items() if part == "test"]
    cells = load_cells(folder / "cells.npz")
    assert sorted(cells.stem) == sorted(tested)
    # Every pixel of the truth is scored once, none of a padding.
    sizes = {row.stem: data / row.mask for row in read_index(data)}
    for stem, counts in zip(cells.stem, cells.confusion, strict=True):
        with Image.open(sizes[stem]) as mask:
            assert counts.sum() == mask.width * mask.height
