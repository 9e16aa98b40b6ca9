"""The size of red cells, whatever the image's own size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from painted_network import disc

from leuko_mm.datasets.converters.synthetic import render_field, slide_style
from leuko_mm.inference.red_cells import find_circles, measure_red_cells


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
    # Red cells are drawn 7.2 um wide, at 14.38 pixels per um.
    field, _ = render_field(slide_style(0, 3), rng, size=(700, 900), cells=["lymp"])
    for factor in (0.3, 0.55, 1.0):
        sized = cv2.resize(
            field, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
        )
        measured = measure_red_cells(sized)
        assert measured.diameter / factor == pytest.approx(103.6, rel=0.1)


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
