"""Colours of groups, compared with numbers of the CIE and sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from leuko_mm.datasets.audit import group_stains, region_means, stain_findings

# sRGB red under D65: L* 53.24, a* 80.09, b* 67.20.
RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


def cell(light: float, a: float = 0.0) -> np.ndarray:
    """Return the means of a cell whose background is grey."""
    return np.array([[light, a, 0.0], [50.0, 20.0, -30.0]])


def test_means_are_cielab_and_ignored_pixels_count_nowhere():
    labels = np.zeros((8, 8), np.uint8)
    labels[:4] = 3
    labels[4, :] = 255
    image = RED.copy()
    image[:4], image[4] = 255, 0
    means = region_means(image, labels)
    np.testing.assert_allclose(means[0], (53.24, 80.09, 67.20), atol=0.05)
    np.testing.assert_allclose(means[1], (100, 0, 0), atol=0.05)


def test_a_region_of_few_pixels_has_no_colour():
    labels = np.zeros((8, 8), np.uint8)
    labels[0] = 2
    assert np.isnan(region_means(RED, labels)[1]).all()
    (stain,) = group_stains({"a": region_means(RED, labels)}, {"a": "s1"})
    assert stain.regions["cell"] is None
    assert stain.regions["background"].rgb == (255, 0, 0)


def test_mean_spread_and_distance_are_those_of_the_cells():
    means = {"a": cell(80), "b": cell(90), "c": cell(70), "d": cell(100)}
    groups = {"a": "s1", "b": "s1", "c": "s2", "d": "s3"}
    stains = group_stains(means, groups)
    assert [(s.group, s.cells) for s in stains] == [("s1", 2), ("s2", 1), ("s3", 1)]
    colours = [s.regions["background"] for s in stains]
    assert colours[0].lab == pytest.approx((85, 0, 0))
    assert colours[0].spread == pytest.approx(5)
    # The groups' means are 85, 70, 100; their median is 85.
    assert [colour.distance for colour in colours] == pytest.approx([0, 15, 15])
    assert not any(colour.far for colour in colours)  # of three groups


@pytest.mark.parametrize(("a", "found"), [(30, 1), (5, 0)])
def test_a_group_far_out_is_found_if_the_eye_can_see_it(a, found):
    means = {f"c{i}": cell(80 + i % 3) for i in range(12)} | {"odd": cell(80, a)}
    stains = group_stains(means, {stem: f"s_{stem}" for stem in means})
    findings = stain_findings(stains, {"s_odd": "odd"})
    words = "group s_odd: its background lies 30 delta E from the median group"
    assert [str(finding) for finding in findings] == [words] * found
    assert [(f.stems, f.severity) for f in findings] == [(("odd",), "note")] * found
