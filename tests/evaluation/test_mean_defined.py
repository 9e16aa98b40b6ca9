"""The mean over what is defined."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.evaluation.mean_defined import mean_defined


def test_of_any_shape_over_the_last_axis():
    values = np.random.default_rng(0).random((4, 3, 5))
    assert mean_defined(values) == pytest.approx(values.mean(axis=-1))
    values[1, 2, [0, 3]] = np.nan
    assert mean_defined(values)[1, 2] == pytest.approx(values[1, 2, [1, 2, 4]].mean())
    values[0, 0] = np.nan
    assert np.isnan(mean_defined(values)).tolist() == [[True, False, False]] + (
        [[False] * 3] * 3
    )
