"""Contact sheets: layout, proportions, captions and files; their page."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from leuko_mm.report.contact_sheet import contact_sheet, write_sheet

GAP, STRIP = 6, 18
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour, height=8, width=8):
    return np.full((height, width, 3), colour, np.uint8)


def test_images_fill_the_sheet_row_by_row():
    images = [plain(RED), plain(GREEN), plain(BLUE)]
    sheet = contact_sheet(images, [""] * 3, columns=2, tile=10)
    step = 10 + STRIP + GAP
    assert sheet.shape == (2 * step + GAP, 2 * (10 + GAP) + GAP, 3)
    assert sheet[11, 11].tolist() == list(RED)
    assert sheet[11, 27].tolist() == list(GREEN)
    assert sheet[11 + step, 11].tolist() == list(BLUE)
    assert sheet[11 + step, 27].tolist() == [255, 255, 255]  # no fourth image
    assert sheet[3, 11].tolist() == sheet[11, 18].tolist() == [255, 255, 255]  # gaps


def test_a_wide_image_keeps_its_proportions():
    sheet = contact_sheet([plain(RED, 10, 40)], [""], tile=40)
    painted = (sheet == RED).all(axis=2)
    assert painted.sum() == 40 * 10
    assert painted[GAP + 15 : GAP + 25, GAP : GAP + 40].all()


def test_captions_are_below_their_own_image():
    sheet = contact_sheet([plain(RED)] * 2, ["", "monocyte"], tile=64)
    strip = sheet[GAP + 64 : -GAP]
    assert strip.shape[0] == STRIP
    assert (strip[:, GAP : GAP + 64] == 255).all()
    assert (strip[:, 2 * GAP + 64 :] < 128).any()


def test_a_png_comes_back_as_written(tmp_path):
    sheet = contact_sheet([plain(RED), plain(GREEN)], ["a", "b"], tile=9)
    write_sheet(tmp_path / "sheet.PNG", sheet)
    with Image.open(tmp_path / "sheet.PNG") as image:
        np.testing.assert_array_equal(np.asarray(image), sheet)


def test_the_page_shows_every_figure_as_it_was_given(browse_data, pages):
    text = pages["browse"]
    assert text.count("<figure>") == 15
    for words in ("baso_0", "slide 3", "mosaic 2", "Masks &amp; more", "fold1"):
        assert words in text
    assert text.count('href="./mosaics.png"') == 1
    uris = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    given = [p for s in browse_data.sheets for f in s.figures for p in f.pictures]
    for uri, picture in zip(uris, given, strict=True):
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))))
        assert np.abs(seen.astype(int) - picture).mean() < 3
