"""Squares around cells: one scale, drawn evenly, each test cell once."""

from collections import Counter

import numpy as np
import pytest
from mmengine.config import Config

from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL, OTHER
from leuko_mm.datasets import CellCropDataset
from leuko_mm.datasets.cell_crops import middle_of_cell
from leuko_mm.datasets.prepared import read_about
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.training import building
from leuko_mm.training.sidecar import training_groups
from leuko_mm.transforms.red_cells import LEUKOCYTE

PACK = [dict(type="PackSegInputs", meta_keys=("tiles", "img_shape"))]


def laboratory(folder, name, *, counts, zoom=1, others=0):
    """Write cells that are 20 x ``zoom`` pixels wide; their red is 40 times the class.

    The background is white, ``others`` are black.
    """
    side, cells, parts = 64 * zoom, [], {}
    kinds = [k for k, count in counts.items() for _ in range(count)]
    for number, kind in enumerate([*kinds, *[0] * others]):
        image = np.full((side, side, 3), 250, np.uint8)
        mask = np.zeros((side, side), np.uint8)
        at = slice(22 * zoom, 42 * zoom), slice(12 * zoom, 32 * zoom)
        image[at] = (40 * kind, 0, 0)
        mask[at] = kind or IGNORE_LABEL
        stem = f"c{number:02}"
        class_name = CLASS_NAMES[kind] if kind else OTHER
        cells.append(
            PreparedCell(
                stem=stem, class_name=class_name, group=stem, image=image, mask=mask
            )
        )
        parts[stem] = "test" if number % 2 else "train"
    write_prepared(
        folder / name,
        cells,
        name=name,
        source="drawn",
        licence="CC0-1.0",
        citation="none",
        splits={"half": parts},
    )


@pytest.fixture
def laboratories(tmp_path, monkeypatch):
    """Prepare two laboratories, the second at twice the scale and with others."""
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    laboratory(tmp_path, "near", counts={1: 2, 5: 12})
    laboratory(tmp_path, "far", counts={1: 6, 3: 2}, zoom=2, others=4)
    return dict(names=["near", "far"])


def test_cells_of_class_other_are_counted_apart(laboratories):
    parts = {part: dict(**laboratories, split="half") for part in ("train", "test")}
    for kind, expected in (
        ("leuko_mm.CellCropDataset", "11 cells and 2 of class other"),
        ("leuko_mm.LeukocyteDataset", "11 cells"),
    ):
        loaders = {
            f"{part}_dataloader": dict(dataset=dict(type=kind, dataset=cells))
            for part, cells in parts.items()
        }
        assert building._count(Config(loaders), "train") == expected


def crops(cells, **more):
    options = dict(size=40, red_cell=10, red_cell_px=dict(near=10, far=20))
    return CellCropDataset(cells, pipeline=PACK, **{**options, **more})


def shown(sample):
    """Return the image, RGB, and the one label of a sample."""
    image = sample["inputs"].numpy()[::-1].transpose(1, 2, 0)
    (label,) = np.unique(sample["data_samples"].gt_sem_seg.data.numpy())
    return image, int(label)


def test_every_cell_is_tested_once_in_the_middle_and_at_one_scale(laboratories):
    data = crops(laboratories, test_mode=True)
    stems = []
    for i in range(len(data)):
        sample = data[i]
        image, label = shown(sample)
        assert image.shape == (40, 40, 3)
        dark = np.argwhere(image[..., 1] < 125)
        np.testing.assert_allclose(dark.mean(axis=0), [19.5, 19.5], atol=0.5)
        assert abs(len(dark) - 400) < 45  # 20 x 20 pixels, from both laboratories
        assert image[20, 20, 0] == 40 * label
        (tile,) = sample["data_samples"].tiles
        assert tile["box"] == (0, 0, 40, 40)
        stems.append(tile["stem"])
    assert len(set(stems)) == len(data) == 26
    with pytest.raises(IndexError, match="cell 26 of 26"):
        data[26]


def test_training_draws_evenly_by_class_and_laboratory(laboratories):
    data = crops(laboratories, around=1.0)
    labels, reds = Counter(), Counter()
    for i in range(600):
        cell = data._drawn(np.random.default_rng([0, i]))
        info = data.infos[cell] if cell is not None else dict(class_name="a place")
        labels[info["class_name"]] += 1
        if info["class_name"] == "basophil":
            reds[info["dataset"]] += 1
    for name in ("basophil", "lymphocyte", "neutrophil"):
        assert labels[name] == pytest.approx(150, abs=35)
    assert labels[OTHER] == pytest.approx(75, abs=30)
    assert labels["a place"] == pytest.approx(75, abs=30)
    # Two basophils are drawn a third as often as six.
    assert reds["near"] / reds.total() == pytest.approx(0.25, abs=0.1)


def test_a_sample_depends_on_seed_and_index(laboratories):
    one, two = crops(laboratories), crops(laboratories, seed=1)
    for i in (0, 7, 10**6):
        np.testing.assert_array_equal(*(shown(x[i])[0] for x in (one, one)))
    assert any((shown(one[i])[0] != shown(two[i])[0]).any() for i in range(5))


def test_places_show_no_leukocyte_in_the_middle(laboratories):
    data = crops(laboratories, around=1.0, places=1.0)
    others = [s for i in range(60) if (s := shown(data[i]))[1] == 0]
    assert others
    for image, _ in others:
        # Half a red cell away from every leukocyte.
        assert (image[17:23, 17:23] > 200).all()


def test_a_split_leaves_a_laboratory_out(laboratories):
    cells = dict(laboratories, split="without_far")
    train = crops(dict(cells, part="train"))
    test = crops(dict(cells, part="test"), test_mode=True)
    assert {info["dataset"] for info in train.infos} == {"near"}
    assert {info["dataset"] for info in test.infos} == {"far"}
    # Without a labelled other there are places alone.
    assert any(shown(train[i])[1] == 0 for i in range(20))


def test_others_that_were_trained_on_are_known(laboratories, tmp_path):
    sha256 = read_about(tmp_path / "far")["sha256"]
    sidecar = dict(training=dict(split="half", sha256=sha256))
    groups = training_groups(tmp_path / "far", sidecar)
    data = crops(dict(name="far", split="half", part="train"))
    assert groups == sorted(info["group"] for info in data.infos)
    assert {info["class_name"] for info in data.infos} >= {OTHER}


def test_too_few_red_cells_are_replaced_by_the_outlined_leukocytes(laboratories):
    data = crops(laboratories, red_cell_px=None, test_mode=True)
    # Squares of 20 and 40 pixels, as discs of the same area.
    near, far = (2 * side / np.pi**0.5 / LEUKOCYTE for side in (20, 40))
    assert data.factors == pytest.approx(dict(near=10 / near, far=10 / far), rel=1e-3)


def test_the_middle_is_that_of_the_largest_piece():
    labels = np.zeros((20, 30), np.uint8)
    labels[2:12, 4:10] = 3
    labels[0, 29] = 3
    labels[15:20, 0:30] = IGNORE_LABEL
    assert middle_of_cell(labels, 3) == (7, 7)
    # Of a cell of none of the classes, the piece in the middle is the cell.
    assert middle_of_cell(labels, 0) == (15, 17.5)
    labels[9:11, 15:17] = IGNORE_LABEL
    assert middle_of_cell(labels, 0) == (16, 10)
    assert middle_of_cell(labels, 1) == (15, 10)


@pytest.mark.parametrize("wrong", [dict(size=8), dict(red_cell=0), dict(around=0.5)])
def test_numbers_are_checked(laboratories, wrong):
    with pytest.raises(ValueError, match="CellCropDataset"):
        crops(laboratories, **wrong)
