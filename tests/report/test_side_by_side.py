import numpy as np
import pytest

from leuko_mm.report.side_by_side import GAP, side_by_side


def test_images_stand_in_order_with_white_between():
    images = [np.full((3, 4, 3), level, np.uint8) for level in (10, 20, 30)]
    row = side_by_side(images)
    assert row.shape == (3, 3 * 4 + 2 * GAP, 3)
    assert (row[:, :4] == 10).all()
    assert (row[:, 4 : 4 + GAP] == 255).all()
    assert (row[:, -4:] == 30).all()


@pytest.mark.parametrize("widths", [[], [4, 5]])
def test_raises_for_none_and_for_other_shapes(widths):
    with pytest.raises(ValueError, match="one shape"):
        side_by_side([np.zeros((3, width, 3), np.uint8) for width in widths])
