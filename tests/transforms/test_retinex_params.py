import pytest

from leuko_mm.transforms.retinex_params import PRESETS, RetinexParams


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigmas": ()},
        {"sigmas": (0.5,)},
        {"weights": (0.5, 0.5)},
        {"weights": (0.5, 0.2, 0.2)},
        {"alpha": 0},
        {"beta": -1},
        {"gain": 0},
        {"stretch": "gamma"},
        {"stretch": "percentile", "stretch_at": 0.5},
        {"stretch_at": 0},
        {"clip_limit": 0},
        {"grid": (0, 8)},
        {"min_tile": 0},
        {"grey_floor": 0},
    ],
)
def test_numbers_outside_their_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        RetinexParams(**wrong)


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ValueError, match="min_max"):
        RetinexParams.preset("minmax")


def test_presets_hold_the_scales_in_use():
    scales = {params.sigmas for params in PRESETS.values()}
    assert scales == {(15, 80, 250), (15, 80, 200), (12, 80, 250), (2, 82, 162)}
    assert RetinexParams.preset("sigma_12", clip_limit=3).clip_limit == 3


def test_tiles_keep_their_size_in_small_windows():
    assert RetinexParams().grid_for(256, 256) == (8, 8)
    assert RetinexParams().grid_for(512, 100) == (8, 3)
    assert RetinexParams().grid_for(1, 31) == (1, 1)
