"""The layer of nuclei: written as 0 and 1, read as bool, refused if it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.nuclei import nucleus_path, read_nucleus, save_nucleus
from leuko_mm.datasets.prepared import DatasetError, read_index

NUCLEUS = np.add.outer(np.arange(20), np.arange(24)) % 3 == 0


@pytest.fixture
def row(copied_dataset):
    """The first cell of a dataset without nuclei."""
    return read_index(copied_dataset)[0]


def test_what_was_saved_is_read(copied_dataset, row):
    assert read_nucleus(copied_dataset, row) is None
    save_nucleus(copied_dataset, row.stem, NUCLEUS)
    found = read_nucleus(copied_dataset, row)
    assert found.dtype == bool
    assert (found == NUCLEUS).all()


def test_an_empty_nucleus_is_one_that_was_looked_for(copied_dataset, row):
    save_nucleus(copied_dataset, row.stem, np.zeros_like(NUCLEUS))
    assert read_nucleus(copied_dataset, row).sum() == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no picture", "(?s)cannot be read .* --force"),
        (
            NUCLEUS[1:].astype(np.uint8),
            r"\(19, 24\), .* expected \(20, 24\) of 0 and 1",
        ),
        (NUCLEUS.astype(np.uint8) * 7, "values up to 7"),
        (np.zeros((20, 24, 3), np.uint8), r"\(20, 24, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(copied_dataset, row, content, words):
    path = nucleus_path(copied_dataset, row.stem)
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    with pytest.raises(DatasetError, match=words):
        read_nucleus(copied_dataset, row)


def test_a_link_to_elsewhere_is_refused(copied_dataset, row, tmp_path):
    save_nucleus(copied_dataset, row.stem, NUCLEUS)
    path = nucleus_path(copied_dataset, row.stem)
    path.rename(tmp_path / "other.png")
    path.symlink_to(tmp_path / "other.png")
    with pytest.raises(DatasetError, match="leads out of the dataset"):
        read_nucleus(copied_dataset, row)
