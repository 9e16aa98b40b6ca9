"""Tables that a spreadsheet can open without harm."""

from __future__ import annotations

import pytest

from leuko_mm.files import printable
from leuko_mm.inference.outputs import harmless


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=x", "  =x", "\uff1dx"]
)
def test_formulas_are_made_harmless(text):
    assert harmless(text).startswith("'")


@pytest.mark.parametrize("value", ["", "a.png", "a=b", -0.5, 7, None])
def test_everything_else_stays(value):
    assert harmless(value) == value


def test_printable_keeps_every_writing_and_no_control():
    assert printable("größe 白血球 \u202f.png") == "größe 白血球 \u202f.png"
    assert printable("a\x1b\n\u202e.png") == "a\ufffd\ufffd\ufffd.png"
