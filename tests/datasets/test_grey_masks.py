"""Grey masks: nearest level, strays told, and what is no such mask refused.

Pictures without a known slide: a group each, and one for copies.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.converters.grey_masks import (
    cell_and_nucleus,
    nearest_levels,
    picture_groups,
    read_grey,
)
from leuko_mm.datasets.prepared import DatasetError

LEVELS = (0, 128, 255)


@pytest.fixture
def mask(tmp_path):
    """Return a function that writes a mask of 10x10 and tells its path."""

    def write(grey: np.ndarray):
        path = tmp_path / "7.png"
        Image.fromarray(grey.astype(np.uint8)).save(path)
        return path

    return write


def drawn(**changes) -> np.ndarray:
    grey = np.zeros((10, 10), np.uint8)
    grey[1:9, 1:9], grey[3:6, 3:6] = 128, 255
    for value, place in changes.values():
        grey[place] = value
    return grey


@pytest.mark.parametrize("levels", [LEVELS, (0, 50), (0, 225, 255)])
def test_every_grey_goes_to_its_nearest_level(levels):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    numbers, stray = nearest_levels(grey, levels)
    for value, number in zip(grey.ravel().tolist(), numbers.ravel(), strict=True):
        away = [abs(value - level) for level in levels]
        assert away[number] == min(away)
    assert stray == {value: 1 for value in range(256) if value not in levels}


def test_cytoplasm_and_nucleus_make_the_cell(mask):
    notes = []
    labels, nucleus = cell_and_nucleus(mask(drawn()), 4, LEVELS, notes, "7")
    assert (labels == np.where(drawn() > 0, 4, 0)).all()
    assert (nucleus == (drawn() == 255)).all()
    assert notes == []


def test_strays_are_told_with_their_pixels(mask):
    notes = []
    grey = drawn(a=(7, (0, slice(0, 2))), b=(250, (4, 4)))
    labels, nucleus = cell_and_nucleus(mask(grey), 2, LEVELS, notes, "set/7.png")
    assert labels[0, 0] == 0
    assert nucleus[4, 4]
    assert notes == [
        "set/7.png: stray value 7 on 2 pixel(s), 250 on 1 pixel(s), taken as the "
        "nearest level"
    ]


@pytest.mark.parametrize(
    ("grey", "words"),
    [
        (np.zeros((10, 10)), "no cell is drawn in it"),
        (drawn(a=(9, (0, slice(0, 5)))), "value 9 on 5 .*5% of what is not 0 at most"),
    ],
)
def test_another_kind_of_mask_is_refused(mask, grey, words):
    with pytest.raises(DatasetError, match=words):
        cell_and_nucleus(mask(grey), 1, LEVELS, [], "7")


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_greys_are_read_from_any_kind_of_file(tmp_path, mode):
    Image.fromarray(drawn()).convert(mode).save(tmp_path / "7.bmp")
    assert (read_grey(tmp_path / "7.bmp") == drawn()).all()


def test_colours_and_values_above_255_are_refused(tmp_path):
    coloured = np.zeros((10, 10, 3), np.uint8)
    coloured[2, 2] = 0, 128, 0
    Image.fromarray(coloured).save(tmp_path / "7.png")
    with pytest.raises(DatasetError, match=r"7.png is in colours; expected a mask of"):
        read_grey(tmp_path / "7.png")
    Image.fromarray(drawn().astype(np.uint16) * 257).save(tmp_path / "8.png")
    with pytest.raises(DatasetError, match=r"8.png: values from 0 to 65535"):
        read_grey(tmp_path / "8.png")


@pytest.fixture
def images(tmp_path) -> dict:
    """Six pictures of noise; c is b mirrored, e is b larger."""
    pictures = {}
    for name in "abcdef":
        noise = np.random.default_rng(ord(name)).integers(0, 256, (24, 30, 3), np.uint8)
        pictures[name] = Image.fromarray(noise)
    pictures["c"] = pictures["b"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pictures["e"] = pictures["b"].resize((60, 48), Image.Resampling.NEAREST)
    for name, picture in pictures.items():
        picture.save(tmp_path / f"{name}.bmp")
    return {name: tmp_path / f"{name}.bmp" for name in pictures}


def test_copies_share_the_group_of_the_first(images):
    notes = []
    groups = picture_groups(images, notes)
    assert groups == dict(a="a", b="b", c="b", d="d", e="b", f="f")
    assert "every picture is a group of its own" in notes[0]
    assert notes[1].startswith("3 pair(s) of pictures show the same cell and share")
    for pair in ("b = c", "b = e", "c = e"):
        assert pair in notes[1]
