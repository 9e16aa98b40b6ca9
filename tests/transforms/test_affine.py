"""Cell affine: image and labels move together, and no new label appears."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.registry import TRANSFORMS
from leuko_mm.transforms import RandomCellAffine
from leuko_mm.transforms.affine import affine_about_centre

ROWS, COLUMNS = np.mgrid[:40, :56]
STILL = dict(scale=(1.0, 1.0), shift=0.0, turn=0.0, mirror=0.0)


def pattern() -> dict:
    """A sample whose labels tell the quarter, and whose image tells the place."""
    labels = (1 + (ROWS >= 20) + 2 * (COLUMNS >= 28)).astype(np.uint8)
    image = np.stack([6 * ROWS, 4 * COLUMNS, 60 * labels], axis=-1).astype(np.uint8)
    return dict(img=image, gt_seg_map=labels, seg_fields=["gt_seg_map"])


def moved(seed: int = 0, sample: dict | None = None, **options) -> dict:
    np.random.seed(seed)
    return RandomCellAffine(**options)(sample or pattern())


def mapped(matrix, x, y) -> list[float]:
    return np.round(matrix @ (x, y, 1), 6).tolist()


def test_the_matrix_turns_scales_shifts_and_mirrors_about_the_centre():
    size, centre = (5, 9), (4, 2)
    for options in (dict(degrees=77), dict(scale=1.7), dict(mirror=True)):
        assert mapped(affine_about_centre(size, **options), *centre) == [4, 2]
    # Counter-clockwise as seen: the right end goes up, and y grows downwards.
    assert mapped(affine_about_centre(size, degrees=90), 6, 2) == [4, 0]
    assert mapped(affine_about_centre(size, scale=2.0), 5, 3) == [6, 4]
    assert mapped(affine_about_centre(size, shift=(3, -1)), 1, 1) == [4, 0]
    assert mapped(affine_about_centre(size, mirror=True), 0, 3) == [8, 3]
    # The mirror image is made first, then turned, then shifted.
    both = affine_about_centre(size, degrees=90, mirror=True, shift=(1, 1))
    assert mapped(both, 2, 2) == [5, 1]


def test_nothing_to_move_moves_nothing():
    for options in (STILL, dict(prob=0.0)):
        for seed in range(4):
            sample, before = moved(seed, **options), pattern()
            assert (sample["img"] == before["img"]).all()
            assert (sample["gt_seg_map"] == before["gt_seg_map"]).all()


def test_a_mirror_image_alone_is_exact():
    sample, before = moved(**{**STILL, "mirror": 1.0}), pattern()
    assert (sample["img"] == before["img"][:, ::-1]).all()
    assert (sample["gt_seg_map"] == before["gt_seg_map"][:, ::-1]).all()


@pytest.mark.parametrize("seed", range(12))
def test_labels_follow_the_image(seed):
    sample = moved(seed)
    image, labels = sample["img"].astype(int), sample["gt_seg_map"]
    # Blue carries the labels through the image's own warp.
    carried = np.rint(image[..., 2] / 60)
    assert (carried == labels).mean() > 0.93
    # Away from the middle lines, red and green tell the quarter that labels name.
    red, green = image[..., 0] / 6, image[..., 1] / 4
    clear = (np.abs(red - 19.5) > 2) & (np.abs(green - 27.5) > 2)
    told = 1 + (red >= 20) + 2 * (green >= 28)
    assert clear.mean() > 0.5
    assert (told == labels)[clear].all()


@pytest.mark.parametrize("seed", range(12))
def test_no_new_label_appears_and_type_and_shape_stay(seed):
    sample = pattern()
    sample["gt_seg_map"][3:6, 3:6] = 255
    sample["gt_edge"] = sample["gt_seg_map"].copy()
    sample["seg_fields"].append("gt_edge")
    known = set(np.unique(sample["gt_seg_map"]))
    sample = moved(seed, sample)
    for key in ("gt_seg_map", "gt_edge"):
        assert set(np.unique(sample[key])) <= known
        assert sample[key].dtype == np.uint8
        assert sample[key].shape == (40, 56)
    assert (sample["gt_edge"] == sample["gt_seg_map"]).all()
    assert sample["img"].dtype == np.uint8
    assert sample["img"].shape == (40, 56, 3)


def test_what_moves_in_is_a_reflection_and_no_border():
    sample = moved(5, dict(img=np.full((40, 56, 3), 77, np.uint8)), scale=(0.5, 0.5))
    assert (sample["img"] == 77).all()


def test_the_move_is_given_by_numpys_seed():
    assert (moved(3)["img"] == moved(3)["img"]).all()
    assert (moved(3)["img"] != moved(4)["img"]).any()


def test_moves_lie_in_their_ranges():
    # A single bright pixel near the centre tells shift and scale.
    drawn = []
    for seed in range(60):
        image = np.zeros((41, 41, 3), np.uint8)
        image[18:23, 18:23] = 250
        out = moved(seed, dict(img=image), scale=(0.8, 1.2), shift=0.1)["img"]
        rows, columns = np.nonzero(out[..., 0] > 125)
        drawn.append((rows.mean() - 20, columns.mean() - 20, len(rows) / 25))
    dy, dx, area = np.array(drawn).T
    for offset in (dy, dx):
        assert 3 < np.abs(offset).max() <= 4.1 + 0.5
    assert 0.5 < area.min() < 0.9
    assert 1.2 < area.max() < 1.7


@pytest.mark.parametrize(
    "bad",
    [
        dict(scale=(0.0, 1.0)),
        dict(scale=(1.2, 0.8)),
        dict(scale=(1.0,)),
        dict(shift=2),
        dict(turn=-1),
        dict(prob=1.1),
        dict(mirror=-0.5),
    ],
)
def test_ranges_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"scale must be|RandomCellAffine: shift="):
        RandomCellAffine(**bad)


def test_it_is_registered():
    built = TRANSFORMS.build(dict(type="leuko_mm.RandomCellAffine", turn=10))
    assert isinstance(built, RandomCellAffine)
    assert "turn=10" in repr(built)
