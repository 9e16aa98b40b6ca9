"""BCISC: class from the name, official splits, cells placed in fields."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.datasets.audit import quick_check
from leuko_mm.datasets.converters.bcisc import (
    FieldOfCells,
    bcisc_stem,
    field_rows,
    find_fields,
    locate_crop,
    prepare_bcisc,
)
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import (
    DatasetError,
    Place,
    read_about,
    read_index,
    read_split,
)
from leuko_mm.datasets.prepared_writing import PreparedCell
from leuko_mm.datasets.splits import shared_groups

COUNTS = dict(baso=56, eosi=54, lymp=53, mono=54, neut=51)
FOLDS = ["fold1", "fold2", "fold3", "fold4", "fold5"]
SPLITS = ["development", *FOLDS, "paper", "paper_mosaics"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """BCISC's tree, names and numbers with pictures of 4x4 pixels."""
    root = tmp_path_factory.mktemp("raw") / "BCISC"
    images, masks = root / "sub-images" / "images", root / "sub-images" / "masks"
    for folder in (images, masks):
        folder.mkdir(parents=True)
    picture = Image.fromarray(np.full((4, 4, 3), 200, np.uint8))
    mask = Image.fromarray(np.diag([0, 255, 255, 0]).astype(np.uint8))
    picture.save(root / "one.jpg")
    mask.save(root / "one.png")
    for name, count in COUNTS.items():
        for number in range(count):
            stem = f"{name}_{number % 10 + 1}-{number // 10 + 1}_0"
            shutil.copy(root / "one.jpg", images / f"{stem}.jpg")
            shutil.copy(root / "one.png", masks / f"{stem}.png")
    return root


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "bcisc"
    assert prepare_bcisc(tree, out) is True
    return out


@pytest.fixture(scope="module")
def real(shared_folder, tmp_path_factory) -> Path:
    """The published images, prepared once."""
    source = shared_folder / "datasets" / "BCISC"
    if not source.is_dir():
        pytest.skip(f"needs BCISC in {source}")
    out = tmp_path_factory.mktemp("real") / "bcisc"
    prepare_bcisc(source, out)
    return out


def cells_of(root: Path) -> list:
    return [row for row in read_index(root) if row.kind == "cell"]


@pytest.fixture
def damaged(tree, tmp_path) -> Path:
    """A copy of the tree that a test may damage."""
    return Path(shutil.copytree(tree, tmp_path / "BCISC"))


@pytest.mark.parametrize(
    ("stem", "said"),
    [
        ("baso_1-1_0 (copy)", "expected <class>_<slide>-<field>_<cell>"),
        ("blast_1-1_0", "blast_1-1_0: unknown class 'blast'"),
    ],
)
def test_other_names_are_refused(stem, said):
    with pytest.raises(DatasetError, match=said):
        bcisc_stem(stem)


def test_masks_take_the_class_of_the_name_and_images_are_copied(prepared, tree):
    for row in read_index(prepared):
        assert row.class_name == bcisc_stem(row.stem)[0]
        assert (prepared / row.image).read_bytes() == (tree / row.source).read_bytes()
    with Image.open(prepared / "masks" / "mono_3-1_0.png") as mask:
        assert (np.array(mask) == np.diag([0, 4, 4, 0])).all()


def test_official_splits_and_description(prepared):
    assert sorted(path.stem for path in (prepared / "splits").iterdir()) == SPLITS
    about = read_about(prepared)
    counts = {CLASS_NAMES[class_id(name)]: n for name, n in COUNTS.items()}
    assert about["counts"] == counts
    assert about["groups"] == 50
    parts = Counter(read_split(prepared, "paper").values())
    assert parts == {"train": 241, "test": 27}
    parts = Counter(read_split(prepared, "paper_mosaics").values())
    assert parts == {"train": 180, "test": 20}
    assert about["fields"] == 0
    assert about["notes"][0].startswith("no whole field of these cells")


def test_the_second_time_changes_nothing(prepared, tree, snapshot):
    before = snapshot(prepared)
    assert prepare_bcisc(tree, prepared) is False
    assert snapshot(prepared) == before


def test_the_wrong_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no images in .*holds sub-images/"):
        prepare_bcisc(tmp_path, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_image_is_named(damaged, tmp_path):
    (damaged / "sub-images/images/eosi_4-2_0.jpg").unlink()
    with pytest.raises(DatasetError, match=r"267 images, .* 268 \(eosi_4-2_0.png has"):
        prepare_bcisc(damaged, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "eosi_4-2_0.jpg has no mask; expected"),
        (b"no picture", r"eosi_4-2_0.png cannot be read .* get it again"),
        (np.eye(4) * 128, r"eosi_4-2_0.png: values \[0, 128\]; .* holds 0 and 255"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(damaged, tmp_path, content, words):
    path = damaged / "sub-images/masks/eosi_4-2_0.png"
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        Image.fromarray(content.astype(np.uint8)).save(path)
    with pytest.raises(DatasetError, match=words):
        prepare_bcisc(damaged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_real_cells_are_as_many_as_published(real):
    rows = cells_of(real)
    counts = Counter(row.stem[:4] for row in rows)
    assert counts == COUNTS
    assert len(rows) == 268
    assert len({row.group for row in rows}) == 50
    assert {(row.width, row.height) for row in rows} == {(256, 256)}
    assert quick_check(real) == {"all": 268}


def test_real_foreground_is_17_percent_and_labelled_by_class(real):
    foreground = 0
    for row in cells_of(real):
        with Image.open(real / row.mask) as mask:
            labels = np.array(mask)
        assert set(np.unique(labels)) == {0, class_id(row.class_name)}
        foreground += (labels > 0).mean()
    assert 100 * foreground / 268 == pytest.approx(17.3, abs=0.05)


def test_real_folds_divide_no_slide(real):
    groups = {row.stem: row.group for row in cells_of(real)}
    shown = Counter()
    assert quick_check(real, split="fold5") == {"train": 209, "test": 59}
    for k in range(1, 6):
        parts = read_split(real, f"fold{k}")
        assert shared_groups(parts, groups) == []
        test = [stem for stem, part in parts.items() if part == "test"]
        assert {bcisc_stem(stem)[1] for stem in test} == {2 * k - 1, 2 * k}
        assert {groups[stem] for stem in test} == {
            f"{name}_{slide}"
            for name in CLASS_NAMES[1:]
            for slide in (2 * k - 1, 2 * k)
        }
        shown.update(test)
    assert shown == Counter(groups.keys())
    # The paper's way does mix slides: that is what these splits are kept for.
    assert len(shared_groups(read_split(real, "paper"), groups)) > 10


def labels_of(root, row) -> np.ndarray:
    with Image.open(root / row.mask) as mask:
        return np.array(mask)


def test_real_fields_show_their_cells(real):
    rows = {row.stem: row for row in read_index(real)}
    fields = [row for row in rows.values() if row.kind == "field"]
    placed = [row for row in cells_of(real) if row.place]
    assert (len(fields), len(placed)) == (10, 11)
    assert {row.parent for row in placed} == {row.stem for row in fields}
    for row in placed:
        x, y = int(row.place.x), int(row.place.y)
        assert row.place.scale == 0.5
        assert rows[row.parent].group == row.group
        field = Image.open(real / rows[row.parent].image).crop((x, y, x + 512, y + 512))
        means = np.array(field, float).reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
        with Image.open(real / row.image) as cell:
            shown = np.array(cell, float)
        assert np.corrcoef(means.ravel(), shown.ravel())[0, 1] > 0.99
        put_back = labels_of(real, rows[row.parent])[y : y + 512, x : x + 512]
        assert (put_back[::2, ::2] == labels_of(real, row)).all()


def test_real_fields_agree_with_the_masks_published_for_them(real, shared_folder):
    rows = {row.stem: row for row in read_index(real)}
    folder = shared_folder / "datasets" / "BCISC" / "original-images"
    published = sorted(folder.glob("*/*.png"))
    assert len(published) == 7
    for path in published:
        with Image.open(path) as opened:
            drawn = np.array(opened.convert("L")) > 127
        stem = f"{path.parent.name}_{path.stem.partition('(')[0]}"
        labels = labels_of(real, rows[stem])
        ours = (labels > 0) & (labels != 255)
        # A mask beside a field shows one cell of it.
        (near,) = [
            ours[y : y + 512, x : x + 512].sum()
            for x, y in {
                (int(row.place.x), int(row.place.y))
                for row in rows.values()
                if row.parent == stem
            }
            if (ours & drawn)[y : y + 512, x : x + 512].any()
        ]
        both = (ours & drawn).sum()
        assert both / (drawn.sum() + near - both) > 0.9, path


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


def cell_images(source) -> dict:
    return {p.stem: p for p in sorted((source / "sub-images/images").glob("*.jpg"))}


@pytest.mark.parametrize(
    ("x", "y"), [(0, 0), (1, 0), (31, 12), (64, 47), (136, 86), (135, 85)]
)
def test_a_crop_is_found_to_the_field_pixel(picture, x, y):
    found = locate_crop(picture, cut(picture, x, y))
    assert found[:2] == (x, y)
    assert found[2] > 0.9999


def test_the_match_is_the_correlation_of_the_colours(picture):
    crop = cut(picture, 30, 20)
    crop = np.clip(crop + np.random.default_rng(0).normal(0, 9, crop.shape), 0, 255)
    x, y, match = locate_crop(picture, crop.astype(np.uint8))
    ours, theirs = cut(picture, x, y).astype(float), np.floor(crop)
    ours, theirs = ours - ours.mean((0, 1)), theirs - theirs.mean((0, 1))
    expected = (ours * theirs).sum() / np.sqrt((ours**2).sum() * (theirs**2).sum())
    assert match == pytest.approx(expected, abs=1e-4)


def test_fields_are_found_with_their_cells(source):
    notes = []
    (one,) = find_fields(source, cell_images(source), notes)
    assert one.stem == "mono_3-1"
    assert one.places == {
        "mono_3-1_0": Place("mono_3-1", 31, 12, 0.5),
        "mono_3-1_1": Place("mono_3-1", 136, 86, 0.5),
    }
    assert notes[0].startswith("1 whole fields with 2 of the cells placed in them")


def test_a_field_of_half_size_is_placed_at_full_scale(source, picture):
    small = cv2.resize(picture, (100, 75), interpolation=cv2.INTER_AREA)
    path = source / "original-images/mono/3-1.jpg"
    Image.fromarray(small).save(path, quality=95, subsampling=0)
    (one,) = find_fields(source, cell_images(source), [])
    assert one.places["mono_3-1_1"] == Place("mono_3-1", 68, 43, 1.0)


def test_a_cell_that_is_not_in_its_field_has_no_place(source, picture):
    stranger = cut(np.ascontiguousarray(picture[:, ::-1]), 31, 12)
    path = source / "sub-images/images/mono_3-1_0.jpg"
    Image.fromarray(stranger).save(path)
    notes = []
    (one,) = find_fields(source, cell_images(source), notes)
    assert list(one.places) == ["mono_3-1_1"]
    assert notes[0].startswith("mono_3-1_0 was not found in 3-1.jpg (best match 0.")


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
