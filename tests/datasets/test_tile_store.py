"""Tiles: the same for a cell every time, whether kept in memory or made again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leuko_mm.datasets.tile_store import TileStore, resize_tile


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


def test_a_tile_is_loaded_once_a_size():
    loading = Loading()
    store = TileStore(GreyCells(), loading)
    first = store.tile(2, 4, 4)
    assert store.tile(2, 4, 4) is first
    assert loading.calls == 1
    assert store.tile(2, 4, 5)[0].shape == (4, 5, 3)
    assert loading.calls == 2
    assert (first[0] == 20).all()
    assert (first[1] == 3).all()


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


@pytest.mark.parametrize("key", ["img", "gt_seg_map"])
def test_a_pipeline_that_loads_nothing_is_named(key):
    def forgets(info):
        sample = Loading()(info)
        del sample[key]
        return sample

    with pytest.raises(ValueError, match=f"gives no {key}; expected at least"):
        TileStore(GreyCells(), forgets).tile(0, 4, 4)


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
