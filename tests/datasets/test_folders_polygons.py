"""Outlines become the pixels whose middles they hold."""

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from leuko_mm.datasets.converters.folders_polygons import fill_circle, fill_rings


def filled(rings, height, width) -> np.ndarray:
    patch = fill_rings("a", rings, height=height, width=width)
    whole = np.zeros((height, width), bool)
    rows, columns = patch.inside.shape
    whole[patch.y : patch.y + rows, patch.x : patch.x + columns] = patch.inside
    return whole


@pytest.mark.parametrize("seed", range(8))
def test_a_polygon_holds_what_matplotlib_says_it_holds(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2).tolist()
    # A star around a point, and partly outside the image.
    angles = np.sort(rng.random(rng.integers(3, 12))) * 2 * np.pi
    radius = rng.uniform(2, 30, angles.size)
    centre = rng.uniform(0, [width, height])
    ring = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    rows, columns = np.mgrid[:height, :width] + 0.5
    middles = np.stack([columns.ravel(), rows.ravel()], 1)
    expected = Outline([*ring, ring[0]], closed=True).contains_points(middles)
    np.testing.assert_array_equal(
        filled([ring], height, width), expected.reshape(height, width)
    )


def test_a_ring_in_a_ring_is_a_hole():
    outer = [(0, 0), (6, 0), (6, 6), (0, 6)]
    inner = [(2, 2), (4, 2), (4, 4), (2, 4)]
    inside = filled([outer, inner], 6, 6)
    assert inside.sum() == 32
    assert not inside[2:4, 2:4].any()


def test_a_ring_may_name_its_first_point_again():
    square = [(1, 1), (3, 1), (3, 3), (1, 3)]
    again = filled([[*square, square[0]]], 5, 5)
    np.testing.assert_array_equal(filled([square], 5, 5), again)


def test_what_lies_far_outside_costs_and_gives_nothing():
    far = [(1e12, 1e12), (2e12, 1e12), (2e12, 2e12)]
    assert filled([far], 4, 4).sum() == 0
    around = [(-1e12, -1e12), (1e12, -1e12), (1e12, 1e12), (-1e12, 1e12)]
    assert filled([around], 4, 5).all()


@pytest.mark.parametrize(
    "ring",
    [
        [(0, 0), (1, 1)],
        [],
        [(0, 0), (1, 0), (float("nan"), 1)],
        [(0, 0), (1, 0), (1, "x")],
        [(0, 0), (1, 0), (1,)],
        [1, 2, 3],
    ],
)
def test_what_is_no_outline_is_refused(ring):
    with pytest.raises(ValueError, match="expected"):
        fill_rings("a", [ring], height=4, width=4)
    with pytest.raises(ValueError, match="without points"):
        fill_rings("a", [], height=4, width=4)


def test_a_circle_has_the_area_of_a_circle():
    patch = fill_circle("a", (20, 20), (20, 5.2), (40, 40))
    assert patch.inside.sum() == pytest.approx(np.pi * 14.8**2, rel=0.01)
