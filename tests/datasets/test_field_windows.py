"""Windows of fields are of the training slides, at scale, and honour the label 255."""

import csv

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets import field_windows
from leuko_mm.datasets.field_windows import FieldWindows, as_binary
from leuko_mm.datasets.mosaic_dataset import MosaicDataset
from leuko_mm.datasets.prepared import COLUMNS, DatasetError, IndexRow, read_index

FIELD = (80, 60)


def write(root, row, image, labels):
    Image.fromarray(image).save(root / row["image"])
    Image.fromarray(labels, mode="L").save(root / row["mask"])


@pytest.fixture
def rows():
    def row(stem, kind, group, **more):
        empty = dict.fromkeys(COLUMNS, "")
        files = dict(image=f"images/{stem}.png", mask=f"masks/{stem}.png")
        return {**empty, "stem": stem, "kind": kind, "group": group, **files, **more}

    placed = dict(parent="f1", x="8", y="12", scale="0.5", width="16", height="16")
    whole = dict(width=str(FIELD[0]), height=str(FIELD[1]))
    return [
        row("c1", "cell", "s1", **{"class": "basophil"}, **placed),
        row("f1", "field", "s1", **whole),
        row("f2", "field", "s2", **whole),
    ]


@pytest.fixture
def root(tmp_path, rows, monkeypatch):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    labels = np.full(FIELD[::-1], 255, np.uint8)
    labels[12:44, 8:40] = 0
    labels[20:30, 20:30] = 1
    image = np.full((*FIELD[::-1], 3), (200, 100, 50), np.uint8)
    for row in rows[1:]:
        write(tmp_path, row, image, labels)
    found = [IndexRow(*(_number(k, row[k]) for k in COLUMNS)) for row in rows]
    monkeypatch.setattr(field_windows, "read_index", lambda root: found)
    return tmp_path


def _number(key, value):
    return int(value or 0) if key in ("width", "height") else value


def test_only_fields_of_the_training_slides_are_shown(root):
    assert FieldWindows(root, {"s1"}, size=16, cell_px=16).stems == ["f1"]
    with pytest.raises(DatasetError, match=r"no field of the 1 slides.*fields=0"):
        FieldWindows(root, {"s2"}, size=16, cell_px=16)


def test_a_field_has_the_scale_of_the_cells(root):
    image, labels = FieldWindows(root, {"s1"}, size=16, cell_px=8).field(0)
    # A cell of 16 px shows 32 px of the field, and is seen with 8: a quarter.
    assert labels.shape == (FIELD[1] // 4, FIELD[0] // 4)
    assert image[0, 0].tolist() == [50, 100, 200]  # BGR


def test_every_window_shows_something_known_and_keeps_what_is_not(root):
    windows = FieldWindows(root, {"s1"}, size=12, cell_px=16)
    rng = np.random.default_rng(0)
    for _ in range(10):
        image, labels = windows.window(rng)
        assert image.shape == (12, 12, 3)
        assert (labels != 255).any()
        assert set(np.unique(labels)) <= {0, 1, 255}


def test_a_window_larger_than_its_field_is_filled_up_and_ignored_there(root):
    rng = np.random.default_rng(0)
    _, labels = FieldWindows(root, {"s1"}, size=64, cell_px=16).window(rng)
    assert labels.shape == (64, 64)
    assert (labels[30:] == 255).all()


def test_binary_labels_keep_what_is_ignored():
    assert as_binary(np.array([0, 5, 255], np.uint8)).tolist() == [0, 1, 255]


def dataset(root, **more):
    return MosaicDataset(
        dict(name=str(root), split="fold5"),
        size=64,
        mode="resample",
        mosaics=2,
        layout="smear",
        tile_pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        **more,
    )


def test_smears_are_composed_of_a_dataset(tiny_data):
    one = dataset(tiny_data / "synthetic", smear=dict(bare=0)).compose(3)
    assert one["img"].shape == (64, 64, 3)
    assert 1 < len(np.unique(one["gt_seg_map"])) <= len(CLASS_NAMES)


def test_a_dataset_without_fields_says_so(tiny_data):
    with pytest.raises(DatasetError, match=r"train_dataloader\.dataset\.fields=0"):
        dataset(tiny_data / "synthetic", fields=0.5)


def test_a_share_of_the_images_are_windows(tiny_data, monkeypatch):
    root = tiny_data / "synthetic"
    monkeypatch.setattr(MosaicDataset, "_windows", lambda self: _Grey())
    mosaics = dataset(root, fields=0.5)
    shown = [not mosaics.compose(i)["tiles"] for i in range(30)]
    assert 6 < sum(shown) < 24
    assert shown == [not mosaics.compose(i)["tiles"] for i in range(30)]


class _Grey:
    def window(self, rng):
        return np.full((64, 64, 3), 9, np.uint8), np.full((64, 64), 255, np.uint8)


@pytest.mark.parametrize("more", [dict(fields=1.0), dict(fields=0.1, enhance=dict())])
def test_fields_that_cannot_be_shown_are_refused(tiny_data, more):
    with pytest.raises(ValueError, match="fields"):
        dataset(tiny_data / "synthetic", **more)


def test_the_index_is_read_by_the_real_reader(tiny_data):
    # The tests above put rows in its place.
    with (tiny_data / "synthetic" / "index.csv").open() as file:
        assert next(csv.reader(file)) == list(COLUMNS)
    assert read_index(tiny_data / "synthetic")
