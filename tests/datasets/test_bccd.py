"""BCCD: whole fields with their masks, and a cell where one class is sure."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.datasets.audit import full_audit, quick_check
from leuko_mm.datasets.converters.bccd import CROP, FIELDS, prepare_bccd
from leuko_mm.datasets.mosaic import FieldWindows
from leuko_mm.datasets.prepared import (
    DatasetError,
    field_labels,
    read_about,
    read_index,
    read_nucleus,
    read_split,
)

NAMED = 25  # fields of one leukocyte, five of each class
TWO, TWO_NAMES, NO_NAME, SPECKED, SOFT = range(NAMED, NAMED + 5)
TWIN = 7  # shows the field SOFT, 80 pixels further left
PLACES = {0: (0, 470), 1: (0, 470), TWIN: (260, 240), SOFT: (340, 240)}
OTHERS = {TWO: "EOSINOPHIL", TWO_NAMES: "NEUTROPHIL, EOSINOPHIL", NO_NAME: ""}


def drawn_mask(number: int) -> np.ndarray:
    """A leukocyte of another place in each field, two of them at a corner."""
    rng = np.random.default_rng(number)
    x, y = PLACES.get(number) or rng.integers((60, 60), (580, 420)).tolist()
    grey = np.zeros((480, 640), np.uint8)
    cv2.circle(grey, (x, y), 50, 155, -1)
    cv2.circle(grey, (x, y), 25, 255, -1)
    if number == TWO:
        cv2.circle(grey, ((x + 320) % 640, 240), 40, 155, -1)
    if number == SPECKED:
        grey[3:6, 3:6] = 155
    return grey


def soft(grey: np.ndarray) -> np.ndarray:
    """The mask as JPEG leaves it: other values, grey as RGB."""
    noise = np.random.default_rng(1).integers(-9, 10, grey.shape)
    noisy = np.clip(np.where(grey == 155, 161, grey) + noise, 0, 255)
    return np.repeat(noisy[..., None], 3, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw") / "BCCD"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = [",Image,Category"]
    for number in range(NAMED + 5):
        seed = [7, TWIN if number == SOFT else number]
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3))
        picture = cv2.resize(coarse.astype(np.uint8), (640, 480))
        picture = np.roll(picture, 80 * (number == SOFT), axis=1)
        Image.fromarray(picture).save(root / f"images/BloodImage_{number:05d}.jpg")
        grey = drawn_mask(number)
        mask = Image.fromarray(soft(grey) if number == SOFT else grey)
        mask.save(root / f"masks/BloodImage_Mask_{number:05d}.png")
        name = OTHERS.get(number, CLASS_NAMES[1 + number % 5].upper())
        lines.append(f',{number},"{name}"')
    (root / "labels.csv").write_text("\n".join([*lines, ",999,NEUTROPHIL"]) + "\n")
    return root


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "bccd"
    assert prepare_bccd(tree, out) is True
    return out


def labels_of(root: Path, row) -> np.ndarray:
    with Image.open(root / row.mask) as mask:
        return np.array(mask)


def rows_of(root: Path, kind: str) -> dict[int, object]:
    rows = (row for row in read_index(root) if row.kind == kind)
    return {int(row.stem.split("_")[1]): row for row in rows}


def test_fields_are_kept_byte_for_byte_and_labelled_throughout(prepared, tree):
    fields = rows_of(prepared, "field")
    assert list(fields) == list(range(NAMED + 5))
    for number, row in fields.items():
        published = tree / row.source
        assert (prepared / row.image).read_bytes() == published.read_bytes()
        grey = drawn_mask(number)
        grey[3:6, 3:6] = 0 if number == SPECKED else grey[3:6, 3:6]
        own = 255 if number in OTHERS else class_id(CLASS_NAMES[1 + number % 5])
        # Of two that the table names, the mask has one: where is the other?
        rest = 255 if number == TWO_NAMES else 0
        assert (labels_of(prepared, row) == np.where(grey > 0, own, rest)).all()
        assert (read_nucleus(prepared, row) == (grey == 255)).all()
        assert (row.class_name, row.place) == ("", None)
        group = fields[TWIN].stem if number == SOFT else row.stem
        assert row.group == group


def test_a_cell_is_a_square_of_its_field_to_the_pixel(prepared):
    fields, cells = rows_of(prepared, "field"), rows_of(prepared, "cell")
    assert list(cells) == [n for n in fields if n not in OTHERS]
    for number, row in cells.items():
        field, place = fields[number], row.place
        assert (row.class_name, row.group) == (CLASS_NAMES[1 + number % 5], field.group)
        assert (place.parent, place.scale, row.width, row.height) == (
            *(field.stem, 1.0),
            *(CROP, CROP),
        )
        x, y = int(place.x), int(place.y)
        with (
            Image.open(prepared / row.image) as ours,
            Image.open(prepared / field.image) as whole,
        ):
            box = (x, y, x + CROP, y + CROP)
            assert (np.array(ours) == np.array(whole.crop(box))).all()
        labels, whole = labels_of(prepared, row), labels_of(prepared, field)
        placed = field_labels(whole.shape, [(labels, place)])
        assert (placed[placed != 255] == whole[placed != 255]).all()
        # The whole leukocyte, in the middle as far as the field goes.
        assert (labels > 0).sum() == (whole > 0).sum()


def test_splits_name_cells_and_fields_follow_their_group(prepared):
    cells = rows_of(prepared, "cell").values()
    for fold in ("fold1", "fold5"):
        parts = read_split(prepared, fold)
        assert set(parts) == {row.stem for row in cells}
    assert sum(quick_check(prepared, split="fold5").values()) == len(cells)
    assert [f for f in full_audit(prepared).findings if f.severity == "error"] == []
    trained = {r.group for r in cells if parts[r.stem] == "train"}
    windows = FieldWindows(prepared, trained, size=256, cell_px=256)
    assert {row.group for row, _ in windows.fields} == trained


def test_what_was_left_out_and_why_is_noted(prepared):
    about = read_about(prepared)
    notes = "\n".join(about["notes"])
    assert "who drew the masks is not said" in notes
    assert "3 fields are 255" in notes
    assert f"BloodImage_{TWO:05d} (2 in the mask, eosinophil)" in notes
    assert f"BloodImage_{NO_NAME:05d} (1 in the mask, no class)" in notes
    assert f"Mask_{SPECKED:05d}.png: 1 speck(s) of 9 pixels dropped" in notes
    assert "soft masks, as JPEG leaves them: 1;" in notes
    assert (about["schema"], about["licence"]) == (1, "MIT (both repositories)")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("masks/BloodImage_Mask_00003.png", None, "00003 has an image or a mask"),
        ("images/BloodImage_00003.jpg", b"no picture", "cannot be read"),
        ("labels.csv", None, "No such file"),
        ("labels.csv", b"a,b\n1,2\n", "no column 'Category'"),
        ("labels.csv", b",Image,Category\n,1\n", "line 2 is too short"),
        ("labels.csv", b",Image,Category\n,1,BLAST\n", "unknown class 'BLAST'"),
        ("labels.csv", b",Image,Category\n,1,\n,1,\n", "image 1 is there twice"),
        (
            "labels.csv",
            b",Image,Category\n",
            "no field has one leukocyte and one class",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_left(
    tree, tmp_path, name, content, words
):
    damaged = Path(shutil.copytree(tree, tmp_path / "BCCD"))
    if content is None:
        (damaged / name).unlink()
    else:
        (damaged / name).write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        prepare_bccd(damaged, tmp_path / "home" / "out")
    assert list((tmp_path / "home").glob("*")) == []


@pytest.mark.slow
def test_the_published_fields(shared_folder, tmp_path):
    source = shared_folder / "datasets" / "BCCD"
    if not source.is_dir():
        pytest.skip(f"needs BCCD in {source}")
    prepare_bccd(source, tmp_path / "bccd")
    cells, fields = (rows_of(tmp_path / "bccd", kind) for kind in ("cell", "field"))
    assert len(fields) == FIELDS
    assert Counter(row.class_name for row in cells.values()) == dict(
        neutrophil=207, eosinophil=88, lymphocyte=33, monocyte=20, basophil=3
    )
    for one, other in ((37, 38), (231, 256), (386, 391)):
        assert fields[one].group == cells[other].group
