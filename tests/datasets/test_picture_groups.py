"""Pictures without a known slide: a group each, and one for copies."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.converters.picture_groups import picture_groups
from leuko_mm.datasets.prepared import DatasetError


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


def test_without_copies_there_is_one_note(images):
    notes = []
    strangers = {name: images[name] for name in "abdf"}
    assert picture_groups(strangers, notes) == {name: name for name in "abdf"}
    assert len(notes) == 1


def test_a_picture_that_cannot_be_read_is_named(images):
    images["d"].write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"d.bmp: cannot be read"):
        picture_groups(images, [])
