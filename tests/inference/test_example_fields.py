"""The scale of BCISC's whole fields, and of pieces of them at other sizes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leuko_mm.datasets.images import read_image
from leuko_mm.transforms.red_cells import measure_red_cells

# By measured_red_cell over the 209 cells of folds 1 to 4; a field is twice as large.
RED_CELL_PX = 2 * 52.81


@pytest.fixture(scope="module")
def fields(shared_folder):
    paths = sorted((shared_folder / "datasets/BCISC/original-images").glob("*/*.jpg"))
    if len(paths) != 10:
        pytest.skip(f"{len(paths)} fields of BCISC, expected ten")
    return [read_image(path) for path in paths]


@pytest.mark.slow
def test_the_scale_of_a_field_is_found_within_a_tenth(fields):
    for field in fields:
        measured = measure_red_cells(field)
        assert measured.diameter == pytest.approx(RED_CELL_PX, rel=0.1)
        assert measured.confidence > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "least"), [(np.sqrt((0.25, 0.6)), 0.95), ((0.25, 0.6), 0.85)]
)
def test_the_scale_of_a_resized_piece_is_found(fields, share, least):
    """Pieces of 25-60 % of the area; of the sides, where few cells are left to see."""
    rng = np.random.default_rng(7)
    errors, sure = [], []
    for field in fields:
        for _ in range(6):
            part, factor = rng.uniform(*share), rng.uniform(0.4, 1.5)
            height, width = (int(part * side) for side in field.shape[:2])
            y = rng.integers(0, field.shape[0] - height)
            x = rng.integers(0, field.shape[1] - width)
            piece = cv2.resize(
                field[y : y + height, x : x + width],
                None,
                fx=factor,
                fy=factor,
                interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR,
            )
            measured = measure_red_cells(piece)
            found = measured.diameter / factor if measured else 0.0
            errors.append(abs(found / RED_CELL_PX - 1))
            sure.append(measured.confidence if measured else 0.0)
    errors, sure = np.array(errors), np.array(sure)
    assert (errors <= 0.1).mean() >= least
    # Most of what is far off says that it is not sure.
    assert (errors[sure > 0.8] <= 0.1).mean() > 0.9
