"""Which files of a folder are read as images, and what is said of the others."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from leuko_mm.cli.main import main
from leuko_mm.datasets.converters.folders.pairs import list_files
from leuko_mm.datasets.images import ImageSearch
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.errors import UsageError
from leuko_mm.inference.folder_run import plan_inputs


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def found(folder, **more):
    """Return the names of the images, and the line on what is left out."""
    search = ImageSearch(**more)
    names = sorted(p.relative_to(folder).as_posix() for p in search.below(folder))
    return names, search.line(folder)


def test_links_closed_folders_and_other_kinds_are_named(tmp_path, closed):
    write(tmp_path / "in", "a/x.JPG", "closed/x.jpg", "b/1.HEIC", "b/s.svs", "b/2")
    write(tmp_path / "store", "x.jpg")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "store")
    names, line = found(tmp_path / "in")
    assert names == ["a/x.JPG"]
    assert line == (
        "left out: 1 linked folder (linked), 1 folder that cannot be opened (closed), "
        "3 files of other kinds (.HEIC, .svs)"
    )


def test_hidden_images_and_pipes_are_named_and_never_read(tmp_path):
    write(tmp_path, "a.png", ".b.png", "._a.png", ".DS_Store", ".git/c.png")
    os.mkfifo(tmp_path / "pipe.png")
    names, line = found(tmp_path)
    assert names == ["a.png"]
    assert line == "left out: 1 hidden image (.b.png), 1 pipe or device (pipe.png)"


@pytest.mark.parametrize(
    "marks",
    [
        ["predict.json"],
        ["a.png/record.json", "a.png/labels.png"],
        ["metrics.json", "cells.npz"],
        ["check.html", "check.json"],
        ["browse.html"],
    ],
)
def test_our_own_results_are_no_images(tmp_path, marks):
    write(tmp_path, "field.png")
    write(tmp_path / "run", "a.png/overlay.png", *marks)
    names, line = found(tmp_path)
    assert names == ["field.png"]
    assert "1 folder of leuko's own results (run" in line
    # Neither where one is named itself, or a folder in it.
    for place in {(tmp_path / "run" / mark).parent for mark in marks}:
        assert found(place)[0] == []


def test_masks_of_a_prepared_dataset_are_annotations_alone(tmp_path):
    write(tmp_path, "dataset.json", "index.csv", "images/a.png", "masks/a.png")
    assert found(tmp_path)[0] == ["images/a.png"]
    assert found(tmp_path / "masks", own_results=True)[0] == ["a.png"]


def test_what_leuko_enhance_wrote_is_no_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 27, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    made = tmp_path / "made"
    words = ["enhance", str(tmp_path / "a.png"), str(made)]
    assert main(words) == 0
    names, line = found(tmp_path)
    assert names == ["a.png"]
    assert line == "left out: 1 image that leuko enhance made (made/a.png)"
    with pytest.raises(UsageError, match="1 image that leuko enhance made"):
        plan_inputs([str(made / "a.png")])
    with pytest.raises(DatasetError, match=r"made/a.png was made by leuko enhance"):
        list_files(made, (".png",))
