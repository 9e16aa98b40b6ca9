"""The size of red cells, whatever the image's own size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn_red_cells import drawn

from leuko_mm.datasets.converters.synthetic.scene import CROP_UM, render_cell
from leuko_mm.datasets.converters.synthetic.stain import slide_style
from leuko_mm.transforms import red_cells
from leuko_mm.transforms.red_cells import measure_red_cells


@pytest.mark.parametrize("diameter", [14, 23, 40, 67, 110])
def test_the_diameter_of_drawn_discs_is_found(diameter):
    measured = measure_red_cells(drawn(diameter))
    assert measured.diameter == pytest.approx(diameter, rel=0.06)
    assert measured.count >= 6
    assert 0.5 < measured.confidence <= 1
    assert 0 <= measured.spread < 0.1


@pytest.mark.parametrize("off", [0.7, 1.6])
def test_a_first_look_that_is_off_is_corrected(monkeypatch, off):
    looks, rough = [], red_cells._most_area

    def first_look_off(circles):
        looks.append(rough(circles))
        return looks[-1] * (off if len(looks) == 1 else 1)

    monkeypatch.setattr(red_cells, "_most_area", first_look_off)
    assert measure_red_cells(drawn(40.0)).diameter == pytest.approx(40, rel=0.04)
    assert len(looks) > 2


def test_a_size_that_every_look_changes_is_none(monkeypatch):
    sizes = iter([40.0, 60.0, 40.0, 60.0, 40.0])
    monkeypatch.setattr(red_cells, "_most_area", lambda circles: next(sizes))
    assert measure_red_cells(drawn(40.0)) is None


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
