"""What scale is used, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from test_red_cells import drawn

from leuko_mm.inference.checkpoint import Checkpoint
from leuko_mm.inference.scale import check_scale, find_scale


def a_checkpoint(**scale) -> Checkpoint:
    told = dict(px_per_um=None, rbc_px=20.0, cell_px=128) | scale
    return Checkpoint(None, dict(scale=told), None)


BARE = np.full((90, 90, 3), 200, np.uint8)


def test_auto_compares_red_cells_with_those_of_the_training():
    found = find_scale(drawn(40), a_checkpoint())
    assert found.factor == pytest.approx(0.5, rel=0.06)
    assert (found.how, found.red_cells >= 6) == ("red cells", True)
    assert found.red_cell_px == pytest.approx(40, rel=0.06)
    assert "red cells" in found.note


def test_where_auto_sees_nothing_it_says_so():
    found = find_scale(BARE, a_checkpoint())
    assert (found.factor, found.how, found.confidence) == (0.5, "assumed", 0.0)
    assert "--scale" in found.note


def test_a_sidecar_that_has_not_measured_takes_the_usual_share():
    found = find_scale(drawn(40), a_checkpoint(rbc_px=None))
    assert found.factor == pytest.approx(0.204 * 128 / 40, rel=0.06)


def test_what_the_user_says_is_used():
    found = find_scale(drawn(40), a_checkpoint(), scale=0.3)
    assert (found.factor, found.how, found.confidence) == (0.3, "factor", 1.0)
    found = find_scale(BARE, a_checkpoint(px_per_um=4.0), um_per_px=0.1)
    assert (found.factor, found.how) == (pytest.approx(0.4), "um_per_px")
    found = find_scale(BARE, a_checkpoint(), um_per_px=0.1)
    assert found.factor == pytest.approx(20 / 7.5 * 0.1)
    assert "7.5 um" in found.note


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "big"])
@pytest.mark.parametrize("name", ["scale", "um_per_px"])
def test_what_is_no_scale_is_refused(name, value):
    given = dict(scale="auto", um_per_px=None) | {name: value}
    with pytest.raises(ValueError, match=name):
        check_scale(**given)


def test_two_scales_are_refused():
    with pytest.raises(ValueError, match="not both"):
        check_scale(0.5, 0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(um_per_px=65), "red cell would be 0.115 pixels wide"),
        (dict(um_per_px=6.5e-5), "in micrometres"),
        (dict(scale=500), "expected 0.03125 to 16"),
        (dict(scale=0.001), "expected 0.03125 to 16"),
    ],
)
def test_nanometres_and_other_slips_are_refused_at_once(given, said):
    """65 for 0.065 would show the network an image a million pixels wide."""
    with pytest.raises(ValueError, match=said):
        check_scale(**(dict(scale=None, um_per_px=None) | given))


def test_a_factor_beyond_any_smear_is_refused_for_its_network():
    with pytest.raises(ValueError, match="would scale the image by 120"):
        find_scale(BARE, a_checkpoint(px_per_um=40.0), um_per_px=3.0)
