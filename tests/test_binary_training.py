"""Leukocytes without a class: refused with what to pass, and trained with that."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
from PIL import Image
from tiny_run import write_config

from leuko_mm.cli.main import main
from leuko_mm.datasets.prepared import read_index


@pytest.fixture(scope="module")
def binary(tiny_home, tmp_path_factory):
    """Return a dataset of {0, 255} masks, made of the tiny synthetic one."""
    place = tmp_path_factory.mktemp("binary")
    source = tiny_home / "synthetic"
    for folder in ("images", "masks"):
        (place / "smears" / folder).mkdir(parents=True)
    for number, row in enumerate(read_index(source)):
        with Image.open(source / row.image) as image:
            image.save(place / f"smears/images/{row.group}_{number}.png")
        with Image.open(source / row.mask) as mask:
            found = np.where(np.array(mask) > 0, 255, 0).astype(np.uint8)
        Image.fromarray(found).save(place / f"smears/masks/{row.group}_{number}.png")
    out = place / "mine"
    arguments = [place / "smears", "--out", out, "--group-by", r"slide_\d+", "--yes"]
    assert main(["prepare", "folders", *map(str, arguments)]) == 0
    return out


def test_it_is_refused_with_the_options_that_train_it(binary, tmp_path, capfd):
    config = write_config(tmp_path)
    train = ["train", str(config), "--data", str(binary), "--no-amp"]
    train += ["--work-dir", str(tmp_path / "run")]
    assert main(train) == 2
    said = capfd.readouterr().err
    assert "leukocytes without their class" in said
    options = shlex.split(said[said.index("--cfg-options") :])
    assert main([*train, *options[:-1]]) == 2
    assert "model.decode_head.num_classes=2" in capfd.readouterr().err
    assert main([*train, *options]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results["per_class"]) == ["background", "leukocyte"]
    assert np.shape(results["confusion"]) == (2, 2)
    sidecar = json.loads((tmp_path / "run" / "run.json").read_text())
    assert sidecar["classes"] == ["background", "leukocyte"]
    assert "any leukocyte" in (tmp_path / "run" / "table.md").read_text()
    test = ["test", str(config), str(tmp_path / "run/run.pth"), "--data", str(binary)]
    assert main([*test, *options]) == 0
