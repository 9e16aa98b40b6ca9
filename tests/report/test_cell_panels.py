"""The pictures of one cell have one size, and labels keep their edges."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from leuko_mm.report.cell_panels import PANEL_SIDE, cell_panels

IMAGE = np.full((30, 60, 3), 200, np.uint8)
LABELS = np.zeros((30, 60), np.int64)
LABELS[:, 30:] = 1


def pixels(panel):
    content = base64.b64decode(panel.uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content))).astype(int)


def test_four_panels_of_one_size():
    panels = cell_panels(IMAGE, LABELS, LABELS, enhanced=IMAGE // 2)
    assert [p.caption for p in panels] == ["input", "enhanced", "truth", "prediction"]
    for panel in panels:
        assert (panel.width, panel.height) == (PANEL_SIDE, PANEL_SIDE // 2)
        assert pixels(panel).shape == (PANEL_SIDE // 2, PANEL_SIDE, 3)


def test_each_panel_shows_its_own():
    image, enhanced, truth, prediction = (
        pixels(panel)[80]
        for panel in cell_panels(IMAGE, LABELS, 0 * LABELS, enhanced=IMAGE // 2)
    )
    assert abs(image - 200).max() < 4
    assert abs(enhanced - 100).max() < 4
    assert abs(prediction - 200).max() < 4
    # Red over the right half only: its left edge is at the middle.
    assert abs(truth[:150] - 200).max() < 8
    assert truth[200][0] > truth[200][1] + 30


def test_large_images_shrink():
    image = np.zeros((900, 700, 3), np.uint8)
    labels = np.zeros((900, 700), np.uint8)
    assert {(p.width, p.height) for p in cell_panels(image, labels, labels)} == {
        (249, PANEL_SIDE)
    }


def test_arrays_must_fit():
    with pytest.raises(ValueError, match="expected"):
        cell_panels(IMAGE, LABELS.astype(float), LABELS)
