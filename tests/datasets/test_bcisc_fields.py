"""BCISC's fields: where a crop was cut out, and what a field's mask may claim."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.converters.bcisc_fields import (
    FieldOfCells,
    field_rows,
    find_fields,
    locate_crop,
)
from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.places import Place
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.prepared_cell import PreparedCell

CROP = 32  # pixels of a crop's side; 64 of the field


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A field of soft blobs, 200x150 pixels, as smooth as a microscope's."""
    noise = np.random.default_rng(3).normal(size=(150, 200, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    return (soft * 255).astype(np.uint8)


def cut(picture: np.ndarray, x: int, y: int) -> np.ndarray:
    """Return the crop at (x, y), half size, by plain means of four pixels."""
    part = picture[y : y + 2 * CROP, x : x + 2 * CROP].astype(float)
    means = part.reshape(CROP, 2, CROP, 2, 3).mean(axis=(1, 3))
    return np.rint(means).astype(np.uint8)


@pytest.fixture
def source(picture, tmp_path):
    """A copy of BCISC with one field of two cells, and a mask that lies beside it."""
    fields, images = tmp_path / "original-images/mono", tmp_path / "sub-images/images"
    for folder in (fields, images):
        folder.mkdir(parents=True)
    Image.fromarray(picture).save(fields / "3-1.jpg", quality=95, subsampling=0)
    Image.fromarray(picture[..., 0]).save(fields / "3-1.png")
    for number, (x, y) in enumerate([(31, 12), (136, 86)]):
        crop = Image.fromarray(cut(picture, x, y))
        crop.save(images / f"mono_3-1_{number}.jpg", quality=95, subsampling=0)
    Image.fromarray(cut(picture, 0, 0)).save(images / "mono_3-12_0.jpg")
    return tmp_path


def cells_of(source) -> dict:
    return {p.stem: p for p in sorted((source / "sub-images/images").glob("*.jpg"))}


@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (1, 0), (31, 12), (64, 47), (136, 86), (135, 85)]
)
def test_a_crop_is_found_to_the_field_pixel(picture, x, y):
    found = locate_crop(picture, cut(picture, x, y))
    assert found[:2] == (x, y)
    assert found[2] > 0.9999


def test_a_crop_at_full_size_is_found_too(picture):
    found = locate_crop(picture, picture[41:80, 13:77], shrink=1)
    assert found[:2] == (13, 41)


def test_light_and_contrast_do_not_matter(picture):
    dim = (cut(picture, 31, 12) * 0.6 + 30).astype(np.uint8)
    x, y, match = locate_crop(picture, dim)
    assert (x, y) == (31, 12)
    assert match > 0.999


def test_the_match_is_the_correlation_of_the_colours(picture):
    crop = cut(picture, 30, 20)
    crop = np.clip(crop + np.random.default_rng(0).normal(0, 9, crop.shape), 0, 255)
    x, y, match = locate_crop(picture, crop.astype(np.uint8))
    ours, theirs = cut(picture, x, y).astype(float), np.floor(crop)
    ours, theirs = ours - ours.mean((0, 1)), theirs - theirs.mean((0, 1))
    expected = (ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum())
    assert match == pytest.approx(expected, abs=1e-4)


def test_a_stranger_matches_badly(picture):
    other = np.ascontiguousarray(picture[::-1])
    assert locate_crop(picture, cut(other, 31, 12))[2] < 0.9


@pytest.mark.parametrize(
    "crop", [np.full((CROP, CROP, 3), 200, np.uint8), np.zeros((99, 9, 3), np.uint8)]
)
def test_nothing_to_compare_is_no_match(picture, crop):
    assert locate_crop(picture, crop)[2] == 0


def test_fields_are_found_with_their_cells(source):
    notes = []
    (one,) = find_fields(source, cells_of(source), notes)
    assert one.stem == "mono_3-1"
    assert one.places == {
        "mono_3-1_0": Place("mono_3-1", 31, 12, 0.5),
        "mono_3-1_1": Place("mono_3-1", 136, 86, 0.5),
    }
    (note,) = notes
    assert note.startswith(
        "1 whole fields with 2 of the cells placed in them, match 0."
    )


def test_a_field_that_is_itself_half_size_is_placed_at_full_scale(source, picture):
    small = cv2.resize(picture, (100, 75), interpolation=cv2.INTER_AREA)
    Image.fromarray(small).save(
        source / "original-images/mono/3-1.jpg", quality=95, subsampling=0
    )
    (one,) = find_fields(source, cells_of(source), [])
    assert one.places["mono_3-1_1"] == Place("mono_3-1", 68, 43, 1.0)


def test_a_cell_that_is_not_in_its_field_has_no_place(source, picture):
    stranger = cut(np.ascontiguousarray(picture[:, ::-1]), 31, 12)
    path = source / "sub-images/images/mono_3-1_0.jpg"
    Image.fromarray(stranger).save(path)
    notes = []
    (one,) = find_fields(source, cells_of(source), notes)
    assert list(one.places) == ["mono_3-1_1"]
    assert notes[0].startswith("mono_3-1_0 was not found in 3-1.jpg (best match 0.")


def test_without_fields_there_is_a_plain_note(tmp_path):
    notes = []
    assert find_fields(tmp_path, {}, notes) == []
    assert "no whole field of these cells in original-images/" in notes[0]


def test_a_field_that_cannot_be_read_is_named(source):
    (source / "original-images/mono/3-1.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"3-1.jpg"):
        find_fields(source, cells_of(source), [])


def test_a_field_is_labelled_where_its_cells_show_it(source):
    mask = np.zeros((CROP, CROP), np.uint8)
    mask[10:20, 5:15] = 4
    picture = read_image(source / "original-images/mono/3-1.jpg")
    cell = PreparedCell("mono_3-1_0", "mono", "monocyte_3", picture, mask)
    path = source / "original-images/mono/3-1.jpg"
    place = Place("mono_3-1", 31, 12, 0.5)
    one = FieldOfCells("mono_3-1", path, {cell.stem: place})
    (row,) = field_rows([one], {cell.stem: cell})
    assert (row.kind, row.class_name, row.group) == ("field", "", "monocyte_3")
    assert row.source == "original-images/mono/3-1.jpg"
    assert row.mask.shape == (150, 200)
    assert (row.mask[12 + 20 : 12 + 40, 31 + 10 : 31 + 30] == 4).all()
    counts = [int((row.mask == label).sum()) for label in (0, 4, 255)]
    assert counts == [64 * 64 - 400, 400, 200 * 150 - 64 * 64]
