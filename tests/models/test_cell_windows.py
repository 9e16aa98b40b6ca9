import numpy as np
import pytest

from leuko_mm.models.cell_windows import Box, find_cells, scale_box, windows_around


def mask_of(*boxes, size=(100, 120)):
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_cells_are_the_connected_pieces_largest_first():
    small, large = Box(10, 10, 20, 20), Box(40, 60, 70, 90)
    assert find_cells(mask_of(small, large)) == [large, small]
    assert find_cells(mask_of(small, large), max_cells=1) == [large]


def test_specks_are_no_cells():
    mask = mask_of((0, 0, 3, 3), (50, 50, 60, 60))  # 9 and 100 of 12,000 pixels
    assert find_cells(mask) == [Box(50, 50, 60, 60)]
    assert find_cells(np.zeros((10, 10), bool)) == []


def test_a_box_of_a_reduced_picture_is_rounded_out():
    assert scale_box(Box(1, 2, 3, 4), 4.1, 3.9) == Box(4, 7, 13, 16)


@pytest.mark.parametrize("context", [0.0, 0.25, 1.0])
def test_windows_hold_their_boxes_and_are_alike_and_inside(context):
    numbers = np.random.default_rng(0)
    for _ in range(50):
        height, width = numbers.integers(20, 200, 2)
        tops, lefts = numbers.integers(0, (height - 8, width - 8), (3, 2)).T
        boxes = [
            Box(t, le, min(t + 30, height), min(le + 9, width))
            for t, le in zip(tops.tolist(), lefts.tolist(), strict=True)
        ]
        windows = windows_around(boxes, (int(height), int(width)), context=context)
        sizes = {(w.bottom - w.top, w.right - w.left) for w in windows}
        assert len(sizes) == 1
        for box, window in zip(boxes, windows, strict=True):
            assert 0 <= window.top <= box.top < box.bottom <= window.bottom <= height
            assert 0 <= window.left <= box.left < box.right <= window.right <= width


def test_the_size_is_a_multiple_or_the_pictures():
    (window,) = windows_around([Box(40, 40, 60, 60)], (200, 50), context=0.25)
    assert (window.bottom - window.top, window.right - window.left) == (32, 32)
    (window,) = windows_around([Box(0, 0, 90, 30)], (100, 50), context=0.25)
    assert window == Box(0, 0, 100, 48)
    assert windows_around([], (10, 10)) == []
