"""The page of contact sheets: words are escaped, pictures are the given ones."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from leuko_mm.report.browse_page import draw_sheet, render_browse_page

EVIL = "<script>alert('x')</script>\"&"


def test_every_figure_is_there_with_its_words(browse_data):
    text = render_browse_page(browse_data)
    assert text.count("<figure>") == 15
    assert text.count("<img") == 12 + 2 * 3
    for words in ("baso_0", "slide 3", "mosaic 2", "Masks &amp; more", "fold1"):
        assert words in text
    assert text.count('href="./mosaics.png"') == 1
    assert re.findall('<section id="([a-z]+)"', text) == [
        "cells",
        "mosaics",
        "facts",
        "files",
    ]


def test_nothing_of_the_data_becomes_markup(browse_data):
    text = render_browse_page(browse_data)
    assert EVIL not in text
    assert "&lt;script&gt;alert(" in text
    assert "<script" not in text


def test_pictures_are_those_that_were_given(browse_data):
    text = render_browse_page(browse_data)
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    given = [p for s in browse_data.sheets for f in s.figures for p in f.pictures]
    for uri, picture in zip(uris, given, strict=True):
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))
        assert np.abs(seen.astype(int) - picture).mean() < 3


def test_large_pictures_keep_their_pixels_on_a_sheet(browse_data):
    large = browse_data.sheets[1]
    sheet = draw_sheet(large)
    side, gap, words = 96, 6, 18
    for number, picture in enumerate(p for f in large.figures for p in f.pictures):
        top = gap + number // 4 * (side + words + gap)
        left = gap + number % 4 * (side + gap)
        assert (sheet[top : top + side, left : left + side] == picture).all()


@pytest.mark.parametrize("number", [0, 1])
def test_a_sheet_has_a_tile_for_every_picture(browse_data, number):
    height, width, _ = draw_sheet(browse_data.sheets[number]).shape
    expected = [(2 * (160 + 24) + 6, 8 * 166 + 6), (2 * (96 + 24) + 6, 4 * 102 + 6)]
    assert (height, width) == expected[number]
