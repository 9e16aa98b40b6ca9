"""The mean over what is defined."""

from __future__ import annotations

import numpy as np


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is no NaN; NaN where all are.

    Example:
        >>> mean_defined(np.array([[1.0, np.nan, 2.0], [np.nan] * 3])).tolist()
        [1.5, nan]
    """
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
