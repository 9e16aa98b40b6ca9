"""The part of a model that a name means, and where its weights come from."""

from __future__ import annotations

import pytest
from torch import nn

from leuko_mm.engine.pretrained_part import find_part, is_pretrained

FROM_FILE = dict(type="leuko_mm.EncoderWeights", checkpoint="vgg16")
RANDOM = dict(type="Kaiming", layer="Conv2d")


def model_with(**recipes) -> nn.Module:
    model = nn.Module()
    model.outer = nn.Module()
    model.outer.inner = nn.Linear(2, 2)
    model.other = nn.Linear(2, 2)
    parts = dict(model=model, outer=model.outer, inner=model.outer.inner)
    for name, recipe in recipes.items():
        parts[name].init_cfg = recipe
    return model


def test_a_dotted_name_finds_the_part():
    model = model_with()
    assert find_part(model, "outer.inner") is model.outer.inner


@pytest.mark.parametrize("look", [find_part, is_pretrained])
@pytest.mark.parametrize("name", ["encoder", "outer.encoder"])
def test_an_unknown_part_raises_with_those_there_are(look, name):
    with pytest.raises(ValueError, match=rf"no part '{name}'.*outer, other"):
        look(model_with(), name)


@pytest.mark.parametrize(
    ("recipes", "expected"),
    [
        ({}, False),
        (dict(inner=None), False),
        (dict(inner=RANDOM), False),
        (dict(inner=FROM_FILE), True),
        (dict(inner=[RANDOM, FROM_FILE]), True),
        (dict(inner=[RANDOM]), False),
        (dict(inner=dict(type="Pretrained", checkpoint=None)), False),
        (dict(outer=FROM_FILE), True),
        (dict(model=FROM_FILE), True),
    ],
)
def test_a_file_named_by_the_part_or_above_it_counts(recipes, expected):
    assert is_pretrained(model_with(**recipes), "outer.inner") is expected


def test_a_file_named_below_the_part_or_beside_it_does_not_count():
    model = model_with(inner=FROM_FILE)
    assert not is_pretrained(model, "outer")
    assert not is_pretrained(model, "other")
