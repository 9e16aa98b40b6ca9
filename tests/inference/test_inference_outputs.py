"""Outlines written from pixels are read back to the same pixels.

Tables that a spreadsheet can open without harm.
"""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.datasets.converters.folders.annotation import fill_rings
from leuko_mm.datasets.converters.folders.coco import coco_inside, run_lengths
from leuko_mm.inference.outputs import harmless, pixel_rings, run_length_text


def shapes():
    """Return odd shapes: full, a ring, touching by corners, noise of any density."""
    ring = np.ones((9, 7), bool)
    ring[2:5, 2:5] = False
    corners = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
    holes = np.ones((6, 6), bool)
    holes[1:3, 1:3] = holes[3:5, 3:5] = False
    noise = np.random.default_rng(3)
    some = [noise.random((12, 9)) < share for share in (0.2, 0.5, 0.8)]
    return [np.ones((1, 1), bool), np.ones((5, 8), bool), ring, corners, holes, *some]


@pytest.mark.parametrize("inside", shapes(), ids=range(8))
@pytest.mark.parametrize("place", [(0, 0), (4, 3), (-1, -1)])
def test_run_lengths_are_those_pixels(inside, place):
    height, width = 20, 17
    h, w = inside.shape
    x, y = (width - w, height - h) if place == (-1, -1) else place
    text = run_length_text(inside, x, y, height=height, width=width)
    whole = np.zeros((height, width), bool)
    whole[y : y + h, x : x + w] = inside
    segmentation = {"size": [height, width], "counts": text}
    assert (coco_inside(segmentation, height, width).inside == whole).all()


def test_run_lengths_fill_the_image():
    text = run_length_text(np.ones((3, 2), bool), 0, 0, height=3, width=2)
    assert sum(run_lengths(text)) == 6


def test_a_box_beyond_the_image_is_refused():
    with pytest.raises(ValueError, match="within 4x4"):
        run_length_text(np.ones((3, 3), bool), 2, 2, height=4, width=4)


@pytest.mark.parametrize("inside", shapes(), ids=range(8))
def test_rings_are_those_pixels(inside):
    painted = np.zeros((20, 20), bool)
    for rings in pixel_rings(inside, 5, 4):
        patch = fill_rings("a", rings, height=20, width=20)
        h, w = patch.inside.shape
        assert not painted[patch.y : patch.y + h, patch.x : patch.x + w][
            patch.inside
        ].any()
        painted[patch.y : patch.y + h, patch.x : patch.x + w] |= patch.inside
    h, w = inside.shape
    assert (painted[4 : 4 + h, 5 : 5 + w] == inside).all()
    assert painted.sum() == inside.sum()


def test_a_hole_follows_its_outer_ring():
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    ((outer, hole),) = pixel_rings(ring)
    assert outer == [(0, 0), (5, 0), (5, 5), (0, 5)]
    assert sorted(hole) == [(2, 2), (2, 3), (3, 2), (3, 3)]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=x", "  =x", "\uff1dx"]
)
def test_formulas_are_made_harmless(text):
    assert harmless(text).startswith("'")


@pytest.mark.parametrize("value", ["", "a.png", "a=b", -0.5, 7, None])
def test_everything_else_is_left_alone(value):
    assert harmless(value) == value
