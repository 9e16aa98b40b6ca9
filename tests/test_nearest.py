"""What a misspelt name was meant to be."""

import pytest

from leuko_mm.errors import did_you_mean, nearest

SPLITS = ["fold1", "fold2", "paper", "paper_mosaics", "development"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("papr", "paper"),
        ("developement", "development"),
        ("PAPER", "paper"),
        ("paper-mosaic", "paper_mosaics"),
    ],
)
def test_the_nearest_name_is_found(word, meant):
    assert nearest(word, SPLITS) == [meant]
    assert did_you_mean(word, SPLITS) == f" (did you mean '{meant}'?)"


def test_several_may_be_asked_for():
    assert set(nearest("fold", SPLITS, count=2)) == {"fold1", "fold2"}


def test_where_nothing_is_near_nothing_is_said():
    assert nearest("zzz", SPLITS) == []
    assert did_you_mean("zzz", SPLITS) == ""
    assert did_you_mean("fold1", []) == ""


def test_another_number_is_no_slip():
    assert nearest("fold9", SPLITS) == []
    assert nearest("unet2", ["unet"]) == ["unet"]
