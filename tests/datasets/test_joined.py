"""Several prepared datasets in one run: their cells, parts, draws and scale."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest

from leuko_mm.datasets.images import read_mask_file
from leuko_mm.datasets.joined import (
    measured_red_cell,
    prepared_red_cell,
    read_sources,
    unknown_groups,
)
from leuko_mm.datasets.leukocyte import LeukocyteDataset
from leuko_mm.datasets.mosaic import MosaicDataset, scale_tile
from leuko_mm.datasets.prepared import DatasetError, Place
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.transforms.red_cells import LEUKOCYTE

ABOUT = dict(source="a test", licence="CC0-1.0", citation="none")
LOADING = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]


@pytest.fixture
def two(tiny_dataset, tmp_path):
    """Return the paths of two datasets with the same stems and groups, a and b."""
    for name in "ab":
        root = shutil.copytree(tiny_dataset, tmp_path / name)
        about = json.loads((root / "dataset.json").read_text())
        (root / "dataset.json").write_text(json.dumps(about | dict(name=name)))
    return [str(tmp_path / name) for name in "ab"]


def infos(**options) -> list[dict]:
    cells = LeukocyteDataset(test_mode=True, **options)
    return [cells.get_data_info(i) for i in range(len(cells))]


def test_cells_follow_one_another_and_their_names_stay_apart(two):
    joined, single = infos(names=two, split="fold1"), infos(name=two[0], split="fold1")
    assert len(joined) == 2 * len(single)
    for name, own in dict(a=joined[: len(single)], b=joined[len(single) :]).items():
        assert {info["dataset"] for info in own} == {name}
        for key in ("stem", "group"):
            expected = [f"{name}/{info[key]}" for info in single]
            assert [info[key] for info in own] == expected
        assert all(f"/{name}/images/" in info["img_path"] for info in own)
    assert {info["dataset"] for info in single} == {"a"}


def test_a_split_that_no_file_holds_leaves_one_dataset_out(two):
    for part, name in (("train", "a"), ("test", "b")):
        shown = infos(names=two, split="without_b", part=part)
        assert [info["dataset"] for info in shown] == [name] * 40


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (dict(), "name=None and names=None; give the name"),
        (dict(names=[]), "give the name"),
        (dict(name="a", names=["a", "b"]), "give the name"),
        (dict(names=["a", "a"]), "two of the joined datasets have one name"),
        (dict(names=["a", "b"], split="without_c"), "without_a, without_b"),
        (dict(names=["a", "b"], split="fold9"), "no split 'fold9'"),
        (dict(name="a", split="without_a"), "no split 'without_a'"),
    ],
)
def test_what_names_no_datasets_or_no_split_is_refused(
    two, tmp_path, monkeypatch, cells, words
):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=words):
        read_sources(cells)


def test_unknown_slides_are_named_where_a_test_may_share_them(two, tmp_path):
    path = tmp_path / "b" / "dataset.json"
    about = json.loads(path.read_text())
    assert unknown_groups(read_sources(dict(names=two, split="fold1")), None) is None
    path.write_text(json.dumps(about | dict(notes=["so: groups are not known"])))
    sources = read_sources(dict(names=two, split="fold1"))
    assert "slides of b are not known" in unknown_groups(sources, None)
    assert "scores may be too high" in unknown_groups(sources, ["b/s1"])
    # None of the tested datasets was trained on.
    assert unknown_groups(sources, []) is None
    apart = read_sources(dict(names=two, split="without_b"))
    assert unknown_groups(apart, None) is None


def test_outlines_of_a_model_are_tested_but_not_trained_on(two, tmp_path):
    for root in map(tmp_path.joinpath, "ab"):
        path = root / "index.csv"
        lines = path.read_text().splitlines()
        drawn = ["drawn", "model"]
        new = [f"{line},{drawn[i % 2]}" for i, line in enumerate(lines[1:])]
        path.write_text("\n".join([f"{lines[0]},outline", *new]) + "\n")
        about = json.loads((root / "dataset.json").read_text())
        (root / "dataset.json").write_text(json.dumps(about | dict(schema=2)))
    count = {
        part: len(infos(names=two, split="without_b", part=part, drawn_only=True))
        for part in ("train", "test")
    }
    assert count == dict(train=20, test=40)


def test_joined_cells_are_drawn_evenly_by_dataset_and_class(two):
    options = dict(n=2, size=32, mode="resample", mosaics=1, class_balanced=True)
    mosaics = MosaicDataset(dict(names=two), **options, tile_pipeline=LOADING)
    every = [mosaics.cells.get_data_info(i) for i in range(80)]
    kinds = [(info["dataset"], info["class_name"]) for info in every]
    shown = [[kinds[i] for i in mosaics.cells_of(index)] for index in range(300)]
    counts = Counter(kind for cells in shown for kind in cells)
    assert len(counts) == 10
    assert all(80 < count < 160 for count in counts.values())
    # Of ten kinds four are shown, so that two of them may be one class.
    assert {len(set(cells)) for cells in shown} == {4}
    assert min(len({name for _, name in cells}) for cells in shown) < 4


def discs(diameters: list[int], side: int = 168) -> list[PreparedCell]:
    """Return cells with 16 red cells each, of these diameters."""
    cells = []
    for number, diameter in enumerate(diameters):
        image = np.full((side, side, 3), 210, np.uint8)
        for x, y in product(range(21, 168, 42), repeat=2):
            cv2.circle(image, (x, y), diameter // 2, (120, 120, 120), -1)
        image = cv2.GaussianBlur(image, (0, 0), 0.03 * diameter)
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[60:90, 60:90] = 5
        slide = f"slide_{number}"
        cells.append(PreparedCell(f"n_{number}", "neutrophil", slide, image, mask))
    return cells


def test_red_cells_are_measured_in_a_part_at_the_size_of_its_tiles(tmp_path):
    cells, root = discs([24, 24, 24, 40]), tmp_path / "drawn"
    split = {c.stem: "train" for c in cells} | {cells[3].stem: "test"}
    write_prepared(root, cells, name="drawn", **ABOUT, splits={"fold1": split})
    (source,) = read_sources(dict(name=str(root), split="fold1"))
    for cell_px, pixels in ((84, 12), (None, 24)):
        measured = measured_red_cell(root, source.of("train"), cell_px=cell_px)
        assert measured == pytest.approx(pixels, rel=0.06)


def test_a_cell_is_cropped_around_its_labels_or_filled_up_with_ignored_pixels():
    labels = np.zeros((10, 10), np.uint8)
    labels[0:2, 7:9] = 3
    image = np.dstack([np.arange(100, dtype=np.uint8).reshape(10, 10)] * 3)
    shown, cropped = scale_tile(image, labels, (4, 4), factor=1.0)
    assert (shown == image[0:4, 6:10]).all()
    assert (cropped == labels[0:4, 6:10]).all()
    shown, filled = scale_tile(image, labels, (14, 13), factor=1.0)
    assert (shown == np.pad(image, ((2, 2), (1, 2), (0, 0)), mode="symmetric")).all()
    assert (filled[2:12, 1:11] == labels).all()
    assert (filled == 255).sum() == 14 * 13 - 100
    _, mirrored = scale_tile(image, labels, (14, 13), factor=1.0, ignored=False)
    assert (mirrored[:2] == mirrored[2:4][::-1]).all()
    shown, _ = scale_tile(image, labels, (5, 5), factor=0.5)
    assert shown.shape == (5, 5, 3)


@pytest.fixture
def scales(tmp_path):
    """Return two datasets whose red cells are 24 and 34 pixels wide, with a field."""
    for name, diameter in (("near", 24), ("far", 34)):
        cells = discs([diameter] * 3)
        field = replace(cells[0], stem="f", class_name="", kind="field")
        placed = replace(cells[0], stem="p", place=Place("f", 0, 0, 1))
        rows = [*cells, placed, field]
        write_prepared(tmp_path / name, rows, name=name, **ABOUT, splits={})
    return [str(tmp_path / name) for name in ("near", "far")]


@pytest.mark.parametrize("given", [{}, dict(near=24, far=34)])
def test_joined_cells_have_the_scale_of_the_first(scales, given):
    options = dict(n=1, size=84, mode="resample", mosaics=1, fields=0.5)
    options |= dict(tile_pipeline=LOADING, red_cell_px=given)
    mosaics = MosaicDataset(dict(names=scales), **options)
    # A cell of 30 pixels in 168, at half size; then at that of its red cells.
    for cell, side in ((0, 15), (4, 15 * 24 / 34)):
        labels = mosaics.store.tile(cell, 84, 84)[1]
        assert np.sqrt((labels == 5).sum()) == pytest.approx(side, rel=0.08)
        assert ((labels == 255).mean() > 0.4) == (cell == 4)
    sides = [windows.field(0)[1].shape[0] for windows in mosaics.windows]
    assert sides == pytest.approx([84, 84 * 24 / 34], rel=0.04)
    assert 8 < sum(not mosaics.compose(i)["tiles"] for i in range(40)) < 32


def test_red_cells_that_are_not_seen_are_judged_by_the_leukocytes(scales, two):
    options = dict(n=1, size=84, mode="every", tile_pipeline=LOADING, red_cell_px={})
    MosaicDataset(dict(names=[scales[0], two[0]]), **options)
    (source,) = read_sources(dict(name=two[0]))
    areas = [
        (read_mask_file(source.root / row.mask).values > 0).sum() for row in source.rows
    ]
    expected = 2 * np.sqrt(np.median(areas) / np.pi) / LEUKOCYTE
    assert prepared_red_cell(source, {}) == pytest.approx(expected)
    with pytest.raises(DatasetError, match=r"red_cell_px\.a=PIXELS"):
        prepared_red_cell(source, dict(a=0))
    # A single dataset is never scaled: nothing is measured.
    MosaicDataset(dict(name=two[0]), **options)
    with pytest.raises(ValueError, match=r"\{dataset: pixels\}, got"):
        MosaicDataset(dict(name=two[0]), **options | dict(red_cell_px="{}"))
