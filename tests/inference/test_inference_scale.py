"""The size of red cells, whatever the image's own size.

What scale is used, and what is said of it.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from painted_network import disc

from leuko_mm.datasets.converters.synthetic.scene import CROP_UM, render_cell
from leuko_mm.datasets.converters.synthetic.stain import slide_style
from leuko_mm.inference.model import Checkpoint
from leuko_mm.inference.scale import (
    check_scale,
    find_circles,
    find_scale,
    measure_red_cells,
)


def drawn(diameter, *, seed=0, cells=12, light=210, pale=True):
    """Return discs, some with a pale middle, on an unevenly lit ground."""
    rng = np.random.default_rng(seed)
    side = round(7 * diameter)
    image = np.full((side, side), float(light))
    radius = diameter / 2
    places = []
    while len(places) < cells:
        x, y = rng.uniform(radius, side - radius, 2)
        if all(np.hypot(x - a, y - b) > 0.95 * diameter for a, b in places):
            places.append((x, y))
            image[disc(image.shape, x, y, radius)] = 120
            if pale and rng.random() < 0.5:
                image[disc(image.shape, x, y, 0.35 * radius)] = 180
    image *= np.linspace(0.8, 1.1, side)
    image = cv2.GaussianBlur(image, (0, 0), 0.03 * diameter)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("diameter", [14, 23, 40, 67, 110])
def test_the_diameter_of_drawn_discs_is_found(diameter):
    measured = measure_red_cells(drawn(diameter))
    assert measured.diameter == pytest.approx(diameter, rel=0.06)
    assert measured.count >= 6
    assert 0.5 < measured.confidence <= 1
    assert 0 <= measured.spread < 0.1


def test_fewer_cells_make_less_sure():
    many, few = (measure_red_cells(drawn(30, cells=n)) for n in (14, 4))
    assert few.confidence < many.confidence


def test_bright_discs_are_no_red_cells():
    assert measure_red_cells(255 - drawn(30, light=250, pale=False)) is None


@pytest.mark.parametrize("shape", [(8, 8), (60, 61), (300, 200)])
def test_an_image_without_cells_has_no_measure(shape):
    noise = np.random.default_rng(0).integers(180, 220, (*shape, 3), dtype=np.uint8)
    assert measure_red_cells(noise) is None
    assert measure_red_cells(np.zeros_like(noise)) is None


def test_a_drawn_smear_is_measured_at_any_size():
    rng = np.random.default_rng(3)
    # Red cells are drawn 7.2 um wide.
    crops = [render_cell("lymp", slide_style(0, 3), rng, size=512)[0] for _ in range(4)]
    field = np.vstack([np.hstack(crops[:2]), np.hstack(crops[2:])])
    for factor in (0.3, 0.55, 1.0):
        sized = cv2.resize(
            field, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
        )
        measured = measure_red_cells(sized)
        diameter = 7.2 * 512 / CROP_UM
        assert measured.diameter / factor == pytest.approx(diameter, rel=0.1)


def test_a_large_image_is_looked_at_in_places():
    image = np.tile(drawn(24), (8, 8, 1))
    assert measure_red_cells(image).diameter == pytest.approx(24, rel=0.06)


def test_a_circle_tells_how_much_of_its_rim_is_seen():
    image = np.full((80, 80, 3), 220, np.uint8)
    image[disc((80, 80), 40, 40, 15)] = 100
    ((diameter, whole),) = find_circles(image)
    assert diameter == pytest.approx(30, abs=2)
    image[:, 40:] = 220
    assert all(rim < 0.7 * whole for _, rim in find_circles(image))


def a_checkpoint(**scale) -> Checkpoint:
    told = dict(px_per_um=None, rbc_px=20.0, cell_px=128) | scale
    return Checkpoint(None, dict(scale=told), None)


BARE = np.full((90, 90, 3), 200, np.uint8)


def test_auto_compares_red_cells_with_those_of_the_training():
    found = find_scale(drawn(40), a_checkpoint())
    assert found.factor == pytest.approx(0.5, rel=0.06)
    assert (found.how, found.red_cells >= 6) == ("red cells", True)
    assert found.red_cell_px == pytest.approx(40, rel=0.06)
    assert "red cells" in found.note


def test_where_auto_sees_nothing_it_says_so():
    found = find_scale(BARE, a_checkpoint())
    assert (found.factor, found.how, found.confidence) == (0.5, "assumed", 0.0)
    assert "--scale" in found.note


def test_a_sidecar_that_has_not_measured_takes_the_usual_share():
    found = find_scale(drawn(40), a_checkpoint(rbc_px=None))
    assert found.factor == pytest.approx(0.204 * 128 / 40, rel=0.06)


def test_what_the_user_says_is_used():
    found = find_scale(drawn(40), a_checkpoint(), scale=0.3)
    assert (found.factor, found.how, found.confidence) == (0.3, "factor", 1.0)
    found = find_scale(BARE, a_checkpoint(px_per_um=4.0), um_per_px=0.1)
    assert (found.factor, found.how) == (pytest.approx(0.4), "um_per_px")
    found = find_scale(BARE, a_checkpoint(), um_per_px=0.1)
    assert found.factor == pytest.approx(20 / 7.5 * 0.1)
    assert "7.5 um" in found.note


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "big"])
@pytest.mark.parametrize("name", ["scale", "um_per_px"])
def test_what_is_no_scale_is_refused(name, value):
    given = dict(scale="auto", um_per_px=None) | {name: value}
    with pytest.raises(ValueError, match=name):
        check_scale(**given)


def test_two_scales_are_refused():
    with pytest.raises(ValueError, match="not both"):
        check_scale(0.5, 0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(um_per_px=65), "red cell would be 0.115 pixels wide"),
        (dict(um_per_px=6.5e-5), "in micrometres"),
        (dict(scale=500), "expected 0.03125 to 16"),
        (dict(scale=0.001), "expected 0.03125 to 16"),
    ],
)
def test_nanometres_and_other_slips_are_refused_at_once(given, said):
    """65 for 0.065 would show the network an image a million pixels wide."""
    with pytest.raises(ValueError, match=said):
        check_scale(**(dict(scale=None, um_per_px=None) | given))


def test_a_factor_beyond_any_smear_is_refused_for_its_network():
    with pytest.raises(ValueError, match="would scale the image by 120"):
        find_scale(BARE, a_checkpoint(px_per_um=40.0), um_per_px=3.0)
