"""Tables that a spreadsheet can open without harm."""

from __future__ import annotations

import pytest

from leuko_mm.workflows.predict_tables import harmless


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=x", "  =x", "\uff1dx"]
)
def test_formulas_are_made_harmless(text):
    assert harmless(text).startswith("'")


@pytest.mark.parametrize("value", ["", "a.png", "a=b", -0.5, 7, None])
def test_everything_else_is_left_alone(value):
    assert harmless(value) == value
