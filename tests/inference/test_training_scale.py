"""The red cells of a training part, at the size that the network sees them in."""

from __future__ import annotations

import numpy as np
import pytest
from test_red_cells import drawn

from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.inference.training_scale import _spread, trained_red_cell


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a dataset: red cells of 24 px in the training part, 40 px in the other."""
    root = tmp_path_factory.mktemp("data") / "drawn"
    cells, split = [], {}
    for number, diameter in enumerate([24, 24, 24, 40]):
        image = drawn(diameter, seed=number)[:168, :168]
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[60:90, 60:90] = 5
        stem = f"neut_{number}-1_0"
        split[stem] = "test" if diameter == 40 else "train"
        group = f"slide_{number}"
        cells.append(
            PreparedCell(
                stem=stem,
                class_name="neutrophil",
                group=group,
                image=image,
                mask=mask,
            )
        )
    write_prepared(
        root,
        cells,
        name="drawn",
        source="a test",
        licence="CC0-1.0",
        citation="none",
        splits={"fold1": split},
        force=False,
    )
    return root


def test_the_training_part_is_measured_at_the_size_of_its_tiles(prepared):
    assert trained_red_cell(prepared, "fold1", cell_px=84) == pytest.approx(
        12, rel=0.06
    )
    assert trained_red_cell(prepared, "fold1", cell_px=None) == pytest.approx(
        24, rel=0.06
    )


def test_a_few_red_cells_tell_nothing(tiny_dataset):
    assert trained_red_cell(tiny_dataset, None, cell_px=64) is None


def test_many_images_are_looked_at_evenly():
    rows = list(range(1000))
    picked = _spread(rows)
    assert (picked[0], picked[-1], len(picked)) == (0, 999, 30)
    assert max(np.diff(picked)) <= 35
    assert _spread(rows[:30]) == rows[:30]
