"""Cells of a prepared dataset as MMSegmentation reads them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import BINARY_NAMES
from leuko_mm.datasets import LeukocyteDataset
from leuko_mm.datasets.leukocyte import build_pipeline, with_enhancement
from leuko_mm.datasets.mosaic import MosaicDataset
from leuko_mm.datasets.prepared import DatasetError, read_index, read_split
from leuko_mm.errors import UsageError

LOADING = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
RANDOM = [
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="leuko_mm.RandomCellAffine"),
]


def stems(dataset) -> list[str]:
    return [dataset.get_data_info(i)["stem"] for i in range(len(dataset))]


def test_the_parts_of_a_split_are_read_in_the_order_of_the_index(tiny_dataset):
    parts = read_split(tiny_dataset, "fold2")
    for part in ("train", "test"):
        dataset = LeukocyteDataset(str(tiny_dataset), split="fold2", part=part)
        expected = [r.stem for r in read_index(tiny_dataset) if parts[r.stem] == part]
        assert stems(dataset) == expected
        assert len(expected) == 20


def test_images_and_labels_are_those_of_the_files(tiny_dataset):
    dataset = LeukocyteDataset(str(tiny_dataset), pipeline=LOADING, test_mode=True)
    for index, row in enumerate(read_index(tiny_dataset)):
        sample = dataset[index]
        with Image.open(tiny_dataset / row.image) as image:
            assert (sample["img"][..., ::-1] == np.array(image)).all()
        with Image.open(tiny_dataset / row.mask) as mask:
            assert (sample["gt_seg_map"] == np.array(mask)).all()


def test_binary_merges_all_leukocytes_and_keeps_what_is_ignored(copied_dataset):
    path = copied_dataset / "masks" / "neut_1-1_0.png"
    with Image.open(path) as mask:
        labels = np.array(mask)
    labels[0, 0] = 255
    Image.fromarray(labels).save(path)
    dataset = LeukocyteDataset(
        str(copied_dataset), binary=True, pipeline=LOADING, test_mode=True
    )
    assert dataset.metainfo["classes"] == BINARY_NAMES
    assert len(dataset.metainfo["palette"]) == 2
    for index in range(len(dataset)):
        sample = dataset[index]
        ignored = {255} if sample["stem"] == "neut_1-1_0" else set()
        assert set(np.unique(sample["gt_seg_map"])) == {0, 1} | ignored
    assert (dataset[32]["gt_seg_map"] == 1).sum() == (labels == 5).sum()


def test_a_choice_of_classes_ignores_the_others(tiny_dataset):
    chosen = dict(classes=("background", "neutrophil", "basophil"))
    dataset = LeukocyteDataset(
        str(tiny_dataset), metainfo=chosen, pipeline=LOADING, test_mode=True
    )
    values = {
        dataset[i]["class_name"]: set(np.unique(dataset[i]["gt_seg_map"]).tolist())
        for i in range(len(dataset))
    }
    assert values["neutrophil"] == {0, 1}
    assert values["basophil"] == {0, 2}
    assert values["monocyte"] == {0, 255}


def test_fields_are_no_cells(edit_index):
    root = edit_index("baso_1-1_0,cell", "baso_1-1_0,field")
    assert len(LeukocyteDataset(str(root))) == 39


def test_training_samples_are_given_by_the_global_index(tiny_dataset):
    def dataset(seed=3):
        return LeukocyteDataset(
            str(tiny_dataset), pipeline=[*LOADING, *RANDOM], seed=seed
        )

    one, other = dataset(), dataset()
    [one[i] for i in (3, 11)]
    state = np.random.get_state()[1].copy()
    for index in (5, 45, 85):
        assert (one[index]["img"] == other[index]["img"]).all()
        assert one[index]["stem"] == one[5]["stem"]
    assert (np.random.get_state()[1] == state).all()
    assert (one[5]["img"] != one[45]["img"]).any()
    assert (one[5]["img"] != dataset(seed=4)[5]["img"]).any()


def test_enhancement_stands_behind_the_loading(tiny_dataset):
    def invert(sample):
        return {**sample, "img": 255 - sample["img"]}

    plain = LeukocyteDataset(str(tiny_dataset), pipeline=LOADING)
    enhanced = LeukocyteDataset(str(tiny_dataset), pipeline=LOADING, enhance=invert)
    assert (enhanced[4]["img"] == 255 - plain[4]["img"]).all()
    assert (enhanced[4]["gt_seg_map"] == plain[4]["gt_seg_map"]).all()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: dict(img=s["img"] / np.float32(255)), r"img float32 \("),
        (lambda s: dict(img=s["img"][4:]), r"img uint8 \(16, 24, 3\) instead of"),
        (lambda s: dict(img=s["img"][..., 0]), r"img uint8 \(20, 24\) instead of"),
        (lambda s: s["img"], "ndarray instead of a dict"),
        (lambda s: None, "NoneType instead of a dict"),
        (lambda s: dict(img=s["gt_seg_map"]), "KeyError: 'gt_seg_map'"),
    ],
)
def test_an_enhancement_that_spoils_images_is_refused_by_name(
    tiny_dataset, spoil, said
):
    name = r"enhance: <lambda> .*"
    cells = dict(name=str(tiny_dataset))
    single = LeukocyteDataset(**cells, pipeline=LOADING, enhance=spoil)
    mosaics = MosaicDataset(cells, mode="every", tile_pipeline=LOADING, enhance=spoil)
    for dataset in (single, mosaics):
        with pytest.raises(UsageError, match=name + said):
            dataset[0]


def test_an_enhancement_cannot_change_labels(tiny_dataset):
    def relabel(sample):
        return {**sample, "gt_seg_map": None}

    plain = LeukocyteDataset(str(tiny_dataset), pipeline=LOADING)
    enhanced = LeukocyteDataset(str(tiny_dataset), pipeline=LOADING, enhance=relabel)
    assert (enhanced[4]["gt_seg_map"] == plain[4]["gt_seg_map"]).all()


def test_enhancement_finds_its_place_among_configs_and_callables():
    steps = [build_pipeline(LOADING).transforms[0], LOADING[1], RANDOM[0]]
    assert with_enhancement(steps, None) == steps
    assert with_enhancement(steps, "e") == [*steps[:2], "e", steps[2]]
    assert with_enhancement([], "e") == ["e"]
    # At the size that the network sees, wherever the truth is read.
    resize = dict(type="Resize", scale=(64, 64))
    assert with_enhancement([*LOADING, resize, RANDOM[0]], "e")[3] == "e"
    assert with_enhancement([LOADING[0], resize, LOADING[1]], "e")[3] == "e"
    # A random size is an augmentation, and comes after.
    random = dict(type="RandomResize", scale=(64, 64))
    assert with_enhancement([*LOADING, random], "e") == [*LOADING, "e", random]
    assert steps[2] == RANDOM[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            dict(split="fold9"),
            "has no split 'fold9'; it has: fold1, fold2; choose one with --split fold2",
        ),
        (dict(name="nowhere"), "data/nowhere does not exist"),
        (dict(part="val"), r"part must be one of \('train', 'test'\), got 'val'"),
    ],
)
def test_wrong_arguments_are_named(tiny_dataset, changes, words):
    with pytest.raises(ValueError, match=words):
        LeukocyteDataset(**{"name": str(tiny_dataset), **changes})


def test_an_empty_part_is_named(copied_dataset):
    path = copied_dataset / "splits" / "fold1.csv"
    path.write_text(path.read_text().replace("train", "test"))
    with pytest.raises(DatasetError, match="'fold1' has no cell in part 'train'"):
        LeukocyteDataset(str(copied_dataset), split="fold1")
