"""The intervals cover the truth as often as they say, where slides differ."""

import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.evaluation.statistics import bootstrap_interval


@pytest.fixture(scope="module")
def measuring():
    module = load_tool("paper/interval_coverage")
    module.METRICS, module.TRUTH_SLIDES = ("mIoU",), 2000
    return module


@pytest.mark.parametrize("between", [0.5, 1.5])
def test_at_fifty_slides_nine_in_ten_intervals_cover_the_truth(measuring, between):
    found = measuring.coverage(10, between=between, resamples=400)["mIoU"]
    print(f"50 slides, {between} between them: {100 * found.covered:.1f} % covered")
    assert found.covered >= 0.9
    # Nor is that bought by intervals of any width.
    assert found.width < 1.4 * found.ideal


def test_the_coverage_at_ten_slides_is_told(measuring):
    found = measuring.coverage(2, between=1.5, resamples=400)["mIoU"]
    print(f"10 slides, 1.5 between them: {100 * found.covered:.1f} % covered")
    assert 0.8 <= found.covered < 0.95


def test_one_set_of_weights_gives_what_every_interval_would(measuring):
    slide, classes = measuring.slide_of_cells(3)
    ends = []
    for seed in range(3):
        cells = measuring.simulated_cells(slide, classes, between=1.0, seed=seed)
        assert (cells.sum(axis=2)[:, 1:].argmax(axis=1) + 1 == classes).all()
        ends.append(bootstrap_interval(cells, slide, "mIoU", resamples=99))
    found = measuring.coverage(3, between=1.0, simulations=3, resamples=99)["mIoU"]
    assert found.width == pytest.approx(np.mean([e.high - e.low for e in ends]))
