"""Parts of a field that can hold leukocytes, and what is found in them alone."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_red_cells import disc
from painted_network import WHITE, paint

from leuko_mm.classes import class_id
from leuko_mm.inference import predictor as module
from leuko_mm.inference.predictor import Predictor
from leuko_mm.inference.regions import STEP, find_regions, grown, inside

RED_CELL, NUCLEUS = (225, 150, 150), (95, 60, 150)
SHAPE = (700, 900)


def field(nuclei, red_cells=(), colour=NUCLEUS):
    image = np.full((*SHAPE, 3), WHITE, np.uint8)
    for x, y in red_cells:
        image[disc(SHAPE, x, y, 25)] = RED_CELL
    for x, y in nuclei:
        image[disc(SHAPE, x, y, 22)] = colour
    return image


def area(boxes):
    return sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes)


@pytest.mark.parametrize("cast", [(1, 1, 1), (0.7, 0.9, 1), (1, 0.8, 0.6)])
def test_boxes_hold_nuclei_with_their_surroundings_and_no_red_cells(cast):
    nuclei = [(200, 150), (700, 600), (890, 300)]
    red_cells = [(x, y) for x in range(60, 900, 80) for y in (40, 420, 480)]
    image = (field(nuclei, red_cells) * np.array(cast)).astype(np.uint8)
    boxes = find_regions(image, red_cell_px=50)
    assert len(boxes) == 3
    for x, y in nuclei:
        around = grown((x - 22, y - 22, x + 22, y + 22), 70, SHAPE, step=1)
        assert any(inside(around, box) for box in boxes)
    assert area(boxes) < SHAPE[0] * SHAPE[1] / 4


def test_an_empty_field_has_no_box():
    assert find_regions(field([], [(100, 100), (500, 300)]), red_cell_px=50) == []


def test_neighbours_share_a_box():
    assert len(find_regions(field([(300, 300), (340, 320)]), red_cell_px=50)) == 1


def test_boxes_begin_at_steps_and_end_in_the_image():
    box = grown((890, 10, 900, 20), 75, SHAPE, 200)
    assert (box[2], box[1]) == (900, 0)
    assert box[0] % STEP == 0
    assert box[3] % STEP == 0
    assert min(box[2] - box[0], box[3] - box[1]) >= 200


@pytest.fixture
def seen(monkeypatch):
    """Return the pixels of every tile that a network has seen."""
    pixels = []
    original = module.TileNetwork.__call__

    def counted(self, tile):
        pixels.append(tile.shape[0] * tile.shape[1])
        return original(self, tile)

    monkeypatch.setattr(module.TileNetwork, "__call__", counted)
    return pixels


def test_cells_of_parts_are_those_of_the_whole(painted, seen):
    labels = np.zeros(SHAPE, np.uint8)
    for name, x, y in [("basophil", 200, 150), ("monocyte", 880, 600)]:
        labels[disc(SHAPE, x, y, 18)] = class_id(name)
    # Its body is wider than the box around its nucleus.
    labels[disc(SHAPE, 400, 400, 70)] = class_id("neutrophil")
    labels[disc(SHAPE, 350, 400, 12)] = class_id("basophil")
    parts = Predictor(painted, scale=1.0, tile=128).predict(paint(labels))
    fewer = sum(seen)
    whole = Predictor(painted, scale=1.0, tile=128, exhaustive=True)
    wanted = whole.predict(paint(labels))
    assert [cell.box for cell in parts.cells] == [cell.box for cell in wanted.cells]
    assert len(parts.cells) == 3
    np.testing.assert_array_equal(parts.labels, wanted.labels)
    assert fewer < (sum(seen) - fewer) / 2


@pytest.mark.parametrize("spacing", [90, 40])
def test_a_crowded_field_is_segmented_as_a_whole(painted, seen, spacing):
    labels = np.zeros(SHAPE, np.uint8)
    for x in range(40, 900, spacing):
        for y in range(40, 700, spacing):
            labels[disc(SHAPE, x, y, 12)] = class_id("basophil")
    found = Predictor(painted, scale=1.0, tile=128).predict(paint(labels))
    assert len(found.cells) == len(range(40, 900, spacing)) * len(
        range(40, 700, spacing)
    )
    assert sum(seen) > labels.size
