"""What names an entry of the cache: all that its content follows from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmcv.transforms import BaseTransform

from leuko_mm.datasets import preprocessing_recipe
from leuko_mm.datasets.leukocyte_dataset import build_pipeline
from leuko_mm.datasets.preprocessing_recipe import cell_key, pipeline_recipe
from leuko_mm.transforms import AHERetinex, StainJitter, ValueEqualisation

LOADING = (dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"))
ENHANCE = dict(type="leuko_mm.AHERetinex")
# Of the image at the end: cache_version, and the means that it stands for.
MEANS = {
    AHERetinex: (
        2,
        [
            185.4,
            181.5,
            178.1,
            185.2,
            177.3,
            113.1,
            123.8,
            170.0,
            174.8,
            126.6,
            133.3,
            169.7,
            166.9,
            166.7,
            165.7,
            166.7,
        ],
    ),
    ValueEqualisation: (
        1,
        [
            193.9,
            190.8,
            188.6,
            193.9,
            185.1,
            131.2,
            141.7,
            181.1,
            182.7,
            143.6,
            151.1,
            180.1,
            175.2,
            174.9,
            174.5,
            175.2,
        ],
    ),
}


def recipe(*steps) -> str | None:
    return pipeline_recipe(build_pipeline([*LOADING, *steps]))


class Drawing(AHERetinex):
    """Derived from a step that promises to draw nothing, and promising nothing."""


class Promising(BaseTransform):
    """A step of a plug-in that promises to be deterministic."""

    cache_version = 4

    def transform(self, results):
        return results


def test_only_what_promises_to_be_the_same_is_cached():
    assert recipe(ENHANCE) is not None
    assert recipe(Promising()) is not None
    assert recipe(ENHANCE, StainJitter()) is None
    assert recipe(dict(type="RandomFlip", prob=0.5)) is None
    assert recipe(Drawing()) is None
    assert pipeline_recipe(lambda info: info) is None


def test_loading_alone_is_not_worth_a_cache():
    assert recipe() is None


def test_every_argument_and_version_counts(monkeypatch):
    first = recipe(ENHANCE)
    others = [
        recipe(dict(ENHANCE, reading="rgb")),
        recipe(dict(ENHANCE, window=128)),
        recipe(ENHANCE, ENHANCE),
        pipeline_recipe(build_pipeline([*reversed(LOADING), ENHANCE])),
    ]
    # The numbers behind a preset's name, too.
    changed = AHERetinex()
    changed.params = type(changed.params)(clip_limit=9.0)
    others.append(recipe(changed))
    monkeypatch.setattr(AHERetinex, "cache_version", 99)
    others.append(recipe(ENHANCE))
    monkeypatch.undo()
    monkeypatch.setattr(preprocessing_recipe, "__version__", "99")
    others.append(recipe(ENHANCE))
    monkeypatch.undo()
    assert recipe(ENHANCE) == first
    assert len({first, *others}) == len(others) + 1


@pytest.fixture
def info(tmp_path) -> dict:
    for name in ("image", "mask"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    return dict(
        img_path=str(tmp_path / "image.png"),
        seg_map_path=str(tmp_path / "mask.png"),
        label_map=None,
        sample_idx=3,
    )


def test_the_content_counts_and_the_place_does_not(info, tmp_path):
    first = cell_key("recipe", info)
    assert len(first) == 40
    (tmp_path / "copy.png").write_bytes(b"image")
    moved = dict(info, img_path=str(tmp_path / "copy.png"), sample_idx=5)
    assert cell_key("recipe", moved) == first
    keys = {
        first,
        cell_key("other", info),
        cell_key("recipe", {**info, "label_map": {1: 1}}),
    }
    (tmp_path / "image.png").write_bytes(b"imag")
    (tmp_path / "mask.png").write_bytes(b"emask")
    keys.add(cell_key("recipe", info))
    assert len(keys) == 4


def test_a_file_that_cannot_be_read_is_an_error(info):
    with pytest.raises(OSError, match="absent"):
        cell_key("recipe", dict(info, img_path="absent.png"))


def means_of_blocks(step) -> list[float]:
    # A smear in small: a ramp of light, a cell, its nucleus.
    image = np.full((64, 64, 3), (190, 180, 215), np.uint8)
    image -= np.arange(64, dtype=np.uint8)[:, None, None] // 4
    cv2.circle(image, (34, 30), 20, (200, 150, 190), -1)
    cv2.circle(image, (30, 30), 11, (130, 50, 110), -1)
    blocks = step(dict(img=image))["img"].reshape(4, 16, 4, 16, 3)
    return blocks.mean(axis=(1, 3, 4)).round(1).ravel().tolist()


@pytest.mark.parametrize("kind", list(MEANS))
def test_a_changed_enhancement_needs_a_new_number(kind):
    # Another rounding moves the mean of a block by far less.
    version, means = MEANS[kind]
    assert (kind.cache_version, means_of_blocks(kind())) == (
        version,
        pytest.approx(means, abs=0.5),
    ), f"{kind.__name__} changed: raise its cache_version, and state both here"
