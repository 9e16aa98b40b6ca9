"""Probabilities kept in bounded memory, and what is summed of them."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.inference.evidence import Evidence


def random_probabilities(shape, classes=3):
    logits = np.random.default_rng(0).normal(size=(classes, *shape))
    shares = np.exp(logits)
    return (shares / shares.sum(axis=0)).astype(np.float32)


def kept(probabilities, heights, **options):
    evidence = Evidence(probabilities.shape[1:], len(probabilities), **options)
    first = 0
    for height in heights:
        evidence.add(first, probabilities[:, first : first + height])
        first += height
    return evidence


@pytest.mark.parametrize("heights", [(20,), (7, 1, 12), (1,) * 20])
def test_sums_are_those_of_the_pixels(heights):
    probabilities = random_probabilities((20, 30))
    evidence = kept(probabilities, heights)
    mask = np.random.default_rng(1).random((8, 9)) < 0.5
    sums = evidence.sums((3, 5, 12, 13), mask)
    wanted = probabilities[:, 5:13, 3:12][:, mask].sum(axis=1)
    np.testing.assert_allclose(sums, wanted, atol=mask.sum() / 500)
    np.testing.assert_array_equal(evidence.foreground, probabilities[0] < 0.5)


@pytest.mark.parametrize("heights", [(21,), (7, 1, 13), (1,) * 21])
def test_beyond_the_limit_blocks_are_kept(heights):
    probabilities = random_probabilities((21, 32))
    evidence = kept(probabilities, heights, limit=250)
    assert evidence.block == 3
    assert evidence._kept.nbytes <= 3 * 7 * 11
    block = np.ones((3, 3), bool)
    sums = evidence.sums((3, 6, 6, 9), block)
    wanted = probabilities[:, 6:9, 3:6].sum(axis=(1, 2))
    np.testing.assert_allclose(sums, wanted, atol=0.03)
    np.testing.assert_array_equal(evidence.foreground, probabilities[0] < 0.5)
    assert np.isfinite(evidence.sums((30, 19, 32, 21), np.ones((2, 2), bool))).all()
