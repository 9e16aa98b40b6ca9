"""Mosaics, their tiles and windows of fields, given by (seed, global index)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from leuko_mm.classes import class_id
from leuko_mm.datasets import GlobalIndexSampler, image_pipeline
from leuko_mm.datasets.layouts import tile_edges
from leuko_mm.datasets.leukocyte import build_pipeline
from leuko_mm.datasets.mosaic import (
    FieldWindows,
    MosaicDataset,
    TileStore,
    resize_tile,
    scale_tile,
)
from leuko_mm.datasets.prepared import DatasetError, Place, read_index
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.registry import DATASETS, TRANSFORMS

LOADING = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
AUGMENTED = dict(
    tile_augmentation=[
        dict(type="leuko_mm.RandomCellAffine"),
        dict(type="leuko_mm.StainJitter"),
        dict(type="PhotoMetricDistortion"),
    ],
    pipeline=[dict(type="RandomFlip", prob=0.5), dict(type="PackSegInputs")],
)


@pytest.fixture
def mosaics(tiny_dataset):
    """Build mosaics of the 20 training (or test) cells of the tiny dataset."""

    def build(cells=None, **options) -> MosaicDataset:
        cells = {"name": str(tiny_dataset), "split": "fold1", **(cells or {})}
        defaults = dict(size=48, mode="every", tile_pipeline=LOADING)
        return MosaicDataset(cells, **{**defaults, **options})

    return build


@pytest.fixture
def registered():
    """A deterministic enhancement, known to the registry during one test."""

    class InvertForTest(BaseTransform):
        shapes: list = []

        def transform(self, results: dict) -> dict:
            self.shapes.append(results["img"].shape)
            results["img"] = 255 - results["img"]
            return results

    TRANSFORMS.register_module(module=InvertForTest)
    yield InvertForTest
    del TRANSFORMS.module_dict["InvertForTest"]


def stems_of(dataset: MosaicDataset, index: int) -> list[str]:
    return [tile["stem"] for tile in dataset[index]["tiles"]]


def digest(sample: dict) -> str:
    image, truth = sample["inputs"], sample["data_samples"].gt_sem_seg.data
    return hashlib.sha256(image.numpy().tobytes() + truth.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("size", "n", "edges"),
    [
        (512, 3, [0, 171, 341, 512]),
        (257, 2, [0, 128, 257]),
        (7, 4, [0, 2, 4, 5, 7]),
        (5, 1, [0, 5]),
    ],
)
def test_tile_edges_are_rounded_shares_of_the_side(size, n, edges):
    assert tile_edges(size, n) == edges


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [48, 53])
def test_each_box_holds_its_cell(mosaics, tiny_dataset, n, size):
    files = {row.stem: row for row in read_index(tiny_dataset)}
    dataset = mosaics(n=n, size=size, mode="fixed", mosaics=2)
    edges = tile_edges(size, n)
    sample = dataset[1]
    covered = np.zeros((size, size), int)
    for place, tile in enumerate(sample["tiles"]):
        x0, y0, x1, y1 = tile["box"]
        row, column = divmod(place, n)
        assert (y0, y1) == tuple(edges[row : row + 2])
        assert (x0, x1) == tuple(edges[column : column + 2])
        covered[y0:y1, x0:x1] += 1
        with Image.open(tiny_dataset / files[tile["stem"]].image) as image:
            shown = cv2.resize(np.array(image), (x1 - x0, y1 - y0))
        part = sample["img"][y0:y1, x0:x1, ::-1]
        assert (part[..., 0] == shown[..., 0]).all()  # red tells the cell
        # Green and blue tell the place inside it: no turn, no mirror image.
        assert (np.abs(part.astype(int) - shown)[..., 1:]).mean() < 6
        ids = set(np.unique(sample["gt_seg_map"][y0:y1, x0:x1]))
        assert ids == {0, class_id(tile["class_name"])}
        assert tile["group"] == files[tile["stem"]].group
    assert (covered == 1).all()
    assert sample["spare_tiles"] == []


@pytest.mark.parametrize("n", [2, 3, 4])
def test_every_shows_each_test_cell_once_and_spare_tiles_are_background(mosaics, n):
    dataset = mosaics(dict(part="test"), n=n, test_mode=True, fill=200)
    assert len(dataset) == -(-20 // n**2)
    shown = [stem for index in range(len(dataset)) for stem in stems_of(dataset, index)]
    assert len(shown) == 20
    expected = {dataset.cells.get_data_info(i)["stem"] for i in range(20)}
    assert set(shown) == expected
    last = dataset[len(dataset) - 1]
    assert len(last["tiles"]) + len(last["spare_tiles"]) == n**2
    assert len(last["spare_tiles"]) == -20 % n**2
    for x0, y0, x1, y1 in last["spare_tiles"]:
        assert (last["gt_seg_map"][y0:y1, x0:x1] == 0).all()
        assert (last["img"][y0:y1, x0:x1] == 200).all()
    assert not {tile["box"] for tile in last["tiles"]} & set(last["spare_tiles"])


def test_resample_draws_anew_for_each_global_index(mosaics):
    dataset, other = (mosaics(mode="resample", mosaics=5, seed=2) for _ in range(2))
    assert len(dataset) == 5
    [other[i] for i in (3, 0)]
    drawn = {index: stems_of(dataset, index) for index in (0, 5, 10, 1234567)}
    assert {i: stems_of(other, i) for i in reversed(drawn)} == drawn
    assert len({tuple(stems) for stems in drawn.values()}) == 4
    assert stems_of(mosaics(mode="resample", mosaics=5, seed=3), 0) != drawn[0]
    # How many make an epoch is bookkeeping and changes no sample.
    assert stems_of(mosaics(mode="resample", mosaics=50, seed=2), 5) == drawn[5]


def loaded(dataset, workers: int, *, start: int = 0, count: int = 5) -> list[str]:
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=GlobalIndexSampler(dataset, seed=1, start=start),
        num_workers=workers,
        collate_fn=pseudo_collate,
        multiprocessing_context="fork" if workers else None,
    )
    digests = []
    for batch in islice(loader, count):
        pairs = zip(batch["inputs"], batch["data_samples"], strict=True)
        digests += [digest(dict(inputs=i, data_samples=s)) for i, s in pairs]
    return digests


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("mode", ["resample", "fixed"])
def test_workers_and_restarts_change_no_byte(mosaics, mode):
    def dataset():
        return mosaics(mode=mode, mosaics=3, seed=4, **AUGMENTED)

    alone = loaded(dataset(), 0)
    assert len(set(alone)) == 10
    assert loaded(dataset(), 0) == alone
    for workers in (1, 2):
        assert loaded(dataset(), workers) == alone
    assert loaded(dataset(), 0, start=4, count=3) == alone[4:]


def test_enhancement_sees_each_cell_before_it_is_composed(mosaics, registered):
    plain = mosaics(fill=255)
    enhanced = mosaics(enhance=dict(type="leuko_mm.InvertForTest"), fill=0)
    for index in range(2 * len(plain)):
        sample = enhanced[index]
        # Linear resizing commutes with inversion, up to rounding.
        difference = 255 - sample["img"].astype(int) - plain[index]["img"]
        assert np.abs(difference).max() <= 1
        assert (sample["gt_seg_map"] == plain[index]["gt_seg_map"]).all()
    assert registered.shapes == [(20, 24, 3)] * 20  # once a cell, at its own size


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s: {**s, "img": s["img"] / 255}, r"img float64 \("),
        (lambda s: {**s, "img": s["img"][4:]}, r"img uint8 \(.*gt_seg_map uint8 \("),
        (lambda s: None, "img NoneType"),
    ],
)
@pytest.mark.parametrize("where", ["tile_pipeline", "tile_augmentation"])
def test_steps_that_spoil_a_tile_are_refused_by_name(mosaics, where, spoil, said):
    dataset = mosaics(tile_pipeline=LOADING)
    getattr(dataset, where).transforms.append(spoil)
    with pytest.raises(ValueError, match=rf"{where} \(.*function\) gives {said}"):
        dataset[0]


# What the defaults make, as bytes: (options, sha256 of the first three mosaics).
PINNED = [
    (dict(mode="fixed", mosaics=3, n=2), "8b4fd7715288554e"),
    (dict(mode="resample", mosaics=3, n=3), "1739f614899ea261"),
    (dict(mode="every", n=4, size=53), "1149833599ee28cd"),
]


@pytest.mark.parametrize(("options", "expected"), PINNED)
def test_the_defaults_make_what_they_always_made(mosaics, options, expected):
    dataset, found = mosaics(**options), hashlib.sha256()
    for index in range(min(3, len(dataset))):
        sample = dataset.compose(index)
        stems = [tile["stem"] for tile in sample["tiles"]]
        boxes = [tile["box"] for tile in sample["tiles"]]
        found.update(repr((stems, boxes, sample["spare_tiles"])).encode())
        found.update(sample["gt_seg_map"].tobytes())
    assert found.hexdigest()[:16] == expected


def test_smears_are_composed_of_the_same_cells(mosaics):
    options = dict(mode="resample", mosaics=5, size=96, seed=3)
    grid, smear = mosaics(**options), mosaics(layout="smear", **options)
    for index in (0, 4, 11):
        sample = smear.compose(index)
        assert stems_of(grid, index) == [tile["stem"] for tile in sample["tiles"]]
        assert sample["spare_tiles"] == []
        for tile in sample["tiles"]:
            x0, y0, x1, y1 = tile["box"]
            ids = set(np.unique(sample["gt_seg_map"][y0:y1, x0:x1]).tolist())
            assert x0 == x1 or class_id(tile["class_name"]) in ids
        assert (smear.compose(index)["img"] == sample["img"]).all()
    bare = mosaics(layout="smear", smear=dict(bare=1), **options)
    assert not bare.compose(0)["gt_seg_map"].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(n=5, mode="fixed", mosaics=2), "25 tiles needs as many cells, got 20"),
        (dict(mode="all"), "mode must be one of"),
        (dict(n=3, size=2), "at most size"),
        (dict(mode="fixed"), "needs the number of mosaics, 1 or more; got None"),
        (dict(fill=256), "grey level of 0 to 255, got 256"),
        (dict(layout="voronoi"), "layout must be one of"),
        (dict(mode="resample", mosaics=2, fields=1.0), "below 1, got 1.0"),
        (dict(fields=0.1), "use mode 'resample' without enhance, not 'every'"),
        (dict(layout="smear", test_mode=True), "on the grid as they are"),
        (dict(class_balanced=True), "use mode 'resample', not 'every'"),
    ],
)
def test_wrong_arguments_are_named(mosaics, options, words):
    with pytest.raises(ValueError, match=words):
        mosaics(**options)


def test_loops_end_and_test_indices_have_a_bound(mosaics):
    for test_mode in (False, True):
        dataset = mosaics(test_mode=test_mode)
        assert len(list(dataset)) == 5
    with pytest.raises(IndexError, match="mosaic 5 of 5"):
        dataset[5]


@pytest.mark.parametrize("scope", ["mmseg", "mmengine", None])
def test_it_builds_under_any_default_scope(mosaics, tiny_dataset, scope):
    with DefaultScope.overwrite_default_scope(scope):
        if scope == "mmseg":
            config = dict(dataset=dict(name=str(tiny_dataset)), size=48, mode="every")
            config.update(type="leuko_mm.MosaicDataset", tile_pipeline=LOADING)
            dataset = DATASETS.build(dict(**config, **AUGMENTED))
        else:
            dataset = mosaics(**AUGMENTED)
        sample = dataset[0]
    assert sample["inputs"].shape == (3, 48, 48)
    assert sample["data_samples"].gt_sem_seg.shape == (48, 48)


class GreyCells:
    """Five cells of one grey level each."""

    def get_data_info(self, cell: int) -> dict:
        return dict(cell=cell)


class Loading:
    """A pipeline that counts its calls and, if asked to, draws a number."""

    def __init__(self, draws: bool = False):
        self.calls, self.draws = 0, draws

    def __call__(self, info: dict) -> dict:
        self.calls += 1
        image = np.full((8, 8, 3), 10 * info["cell"], np.uint8)
        if self.draws:
            image += np.random.randint(0, 255, image.shape, dtype=np.uint8)
        return dict(info, img=image, gt_seg_map=np.full((8, 8), 3, np.uint8))


def test_memory_is_bounded_and_does_not_show():
    loading = Loading()
    small = TileStore(GreyCells(), loading, limit=2 * 64)
    tiles = [small.tile(cell % 5, 4, 4)[0] for cell in range(10)]
    assert small.used == 128
    assert loading.calls == 8  # two of the five are kept
    large = TileStore(GreyCells(), Loading())
    for cell, tile in enumerate(tiles):
        assert (tile == large.tile(cell % 5, 4, 4)[0]).all()


def test_what_a_pipeline_draws_belongs_to_the_cell():
    one, other = (TileStore(GreyCells(), Loading(draws=True), seed=1) for _ in range(2))
    state = np.random.get_state()[1].copy()
    forward = [one.tile(cell, 8, 8)[0] for cell in range(5)]
    backward = [other.tile(cell, 8, 8)[0] for cell in reversed(range(5))]
    for a, b in zip(forward, reversed(backward), strict=True):
        assert (a == b).all()
    assert (forward[0] != forward[1]).any()
    assert (np.random.get_state()[1] == state).all()


def test_images_are_averaged_and_labels_are_not_mixed():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 200
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 4:] = 5
    small, ids = resize_tile(image, labels, 2, 3)
    assert small[0, :, 0].tolist() == [0, 100, 200]
    assert set(np.unique(ids)) == {0, 5}
    large, ids = resize_tile(image, labels, 21, 17)
    assert large.shape == (21, 17, 3)
    assert set(np.unique(ids)) == {0, 5}
    assert (resize_tile(image, labels, 8, 8)[0] == image).all()


def test_labels_stay_where_the_image_is():
    rows, columns = np.mgrid[:60, :60]
    inside = ((rows - 20) ** 2 + (columns - 35) ** 2 < 150).astype(np.uint8)
    image = np.repeat(255 * inside[..., None], 3, axis=-1)
    for height, width in ((30, 30), (23, 31), (97, 81)):
        small, ids = resize_tile(image, inside, height, width)
        centre = cv2.moments(small[..., 0] / 255.0)
        other = cv2.moments(ids.astype(float))
        for axis in ("m10", "m01"):
            shift = centre[axis] / centre["m00"] - other[axis] / other["m00"]
            assert abs(shift) < 0.3


def test_a_frame_of_255_does_not_move_a_cell_out_of_its_tile():
    labels = np.full((60, 80), 255, np.uint8)
    labels[5:55, 5:75] = 0
    labels[8:18, 50:62] = 2
    image = np.repeat(labels[..., None], 3, axis=-1)
    _, tile = scale_tile(image, labels, (30, 30), factor=1.0)
    assert (tile == 2).sum() == 10 * 12
    # 255 is the cell where nothing else is labelled.
    alone = np.where(labels == 2, 255, 0).astype(np.uint8)
    _, tile = scale_tile(image, alone, (30, 30), factor=1.0)
    assert (tile == 255).sum() == 10 * 12


FIELD = (80, 60)


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Two fields; of the first, a cell of 16 px shows 32 px at half size."""
    labels = np.full(FIELD[::-1], 255, np.uint8)
    labels[12:44, 8:40] = 0
    labels[20:30, 20:30] = 1
    image = np.full((*FIELD[::-1], 3), (200, 100, 50), np.uint8)
    field = PreparedCell("f1", "", "s1", image, labels, kind="field")
    cell = PreparedCell("c1", "baso", "s1", image[:16, :16], labels[12:44:2, 8:40:2])
    root = tmp_path_factory.mktemp("fields") / "smears"
    write_prepared(
        root,
        [
            replace(cell, place=Place("f1", 8, 12, 0.5)),
            replace(cell, stem="c2", group="s2"),
            replace(cell, stem="c3"),
            field,
            replace(field, stem="f2", group="s2"),
        ],
        name="smears",
        source="numbers",
        licence="CC0-1.0",
        citation="none",
        splits={
            "fold1": {"c1": "train", "c2": "test"},
            "divided": {"c1": "train", "c2": "train", "c3": "test"},
        },
    )
    return root


def test_only_fields_of_the_training_slides_with_a_placed_cell_are_shown(fields):
    windows = FieldWindows(fields, {"s1", "s2"}, size=16, cell_px=16)
    assert [row.stem for row, _ in windows.fields] == ["f1"]
    tested = dict(name=str(fields), split="fold1", part="test")
    options = dict(n=1, size=16, mode="resample", mosaics=1, fields=0.5)
    with pytest.raises(DatasetError, match=r"no field of the 1 slides.*fields=0"):
        MosaicDataset(tested, **options)
    # A field of a slide that the split divides shows tested cells, too.
    divided = dict(tested, split="divided", part="train")
    with pytest.raises(DatasetError, match="no field of the 2 slides"):
        MosaicDataset(divided, **options)


def test_a_field_has_the_scale_of_the_cells(fields):
    image, labels = FieldWindows(fields, {"s1"}, size=16, cell_px=8).field(0)
    # A cell of 16 px shows 32 px of the field, and is seen with 8: a quarter.
    assert labels.shape == (FIELD[1] // 4, FIELD[0] // 4)
    assert image[0, 0].tolist() == [50, 100, 200]  # BGR


def test_every_window_shows_a_labelled_pixel_and_keeps_the_others(fields):
    windows = FieldWindows(fields, {"s1"}, size=12, cell_px=16)
    rng = np.random.default_rng(0)
    for _ in range(10):
        image, labels = windows.window(rng)
        assert image.shape == (12, 12, 3)
        assert (labels != 255).any()
        assert set(np.unique(labels)) <= {0, 1, 255}


def test_a_window_larger_than_its_field_is_filled_up_and_ignored_there(fields):
    rng = np.random.default_rng(0)
    _, labels = FieldWindows(fields, {"s1"}, size=64, cell_px=16).window(rng)
    assert labels.shape == (64, 64)
    assert (labels[30:] == 255).all()


@pytest.mark.parametrize("binary", [False, True])
def test_a_share_of_the_images_are_windows(fields, binary):
    dataset = MosaicDataset(
        dict(name=str(fields), split="fold1", binary=binary),
        n=1,
        size=64,
        mode="resample",
        mosaics=2,
        fields=0.5,
        tile_pipeline=LOADING,
    )
    shown = [dataset.compose(i) for i in range(30)]
    windows = [not sample["tiles"] for sample in shown]
    assert 6 < sum(windows) < 24
    assert windows == [not dataset.compose(i)["tiles"] for i in range(30)]
    labels = shown[windows.index(True)]["gt_seg_map"]
    assert set(np.unique(labels)) == {0, 1, 255}


@pytest.mark.parametrize("enhance", [None, dict(type="InvertForTest")])
def test_mmsegs_inference_gets_the_tile_that_a_test_shows(mosaics, registered, enhance):
    dataset = mosaics(dict(part="test"), test_mode=True, enhance=enhance)
    shown = dict(size=32, n=2, enhance=enhance, tile_pipeline=LOADING)
    steps = image_pipeline(dict(test_dataloader=dict(dataset=shown)))
    assert [step["type"] for step in steps].count("LoadAnnotations") == 0
    pipeline = build_pipeline(steps)
    for cell in range(len(dataset.cells)):
        image = pipeline(dict(img_path=dataset.cells.get_data_info(cell)["img_path"]))
        expected = dataset.store.tile(cell, 16, 16)[0]
        assert (image["inputs"].permute(1, 2, 0).numpy() == expected).all()


def test_mmsegs_inference_gets_single_cells_as_a_test_resizes_them():
    resize, enhance = dict(type="Resize", scale=(64, 64)), dict(type="e")
    pipeline = [LOADING[0], resize, LOADING[1], dict(type="PackSegInputs")]
    shown = dict(test_dataloader=dict(dataset=dict(pipeline=pipeline, enhance=enhance)))
    steps = image_pipeline(shown)
    assert steps == [LOADING[0], resize, enhance, dict(type="PackSegInputs")]
    steps[0]["type"] = "LoadImageFromNDArray"
    assert pipeline[0] == LOADING[0]
