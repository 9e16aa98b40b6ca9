"""The page of contact sheets: words are escaped, pictures are the given ones.

Contact sheets: layout, proportions, captions, files.
"""

from __future__ import annotations

import base64
import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from leuko_mm.report.contact_sheet import (
    contact_sheet,
    draw_sheet,
    main,
    read_images,
    render_browse_page,
    write_sheet,
)

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


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour, height=8, width=8):
    return np.full((height, width, 3), colour, np.uint8)


def test_images_fill_the_sheet_row_by_row():
    images = [plain(RED), plain(GREEN), plain(BLUE)]
    page = contact_sheet(images, columns=2, tile=10, gap=2)
    assert page.shape == (26, 26, 3)
    assert page[7, 7].tolist() == list(RED)
    assert page[7, 19].tolist() == list(GREEN)
    assert page[19, 7].tolist() == list(BLUE)
    assert page[19, 19].tolist() == [255, 255, 255]  # no fourth image
    assert page[1, 7].tolist() == page[7, 12].tolist() == [255, 255, 255]  # gaps


def test_a_wide_image_keeps_its_proportions():
    page = contact_sheet([plain(RED, 10, 40)], tile=40, gap=0)
    painted = (page == RED).all(axis=2)
    assert painted.sum() == 40 * 10
    assert painted[15:25].all()


def test_captions_take_a_strip_below_their_own_image():
    images = [plain(RED), plain(RED)]
    without = contact_sheet(images, tile=64, gap=4)
    page = contact_sheet(images, ["", "monocyte"], tile=64, gap=4)
    assert page.shape[0] > without.shape[0]
    strip = page[68 : page.shape[0] - 4]
    assert (strip[:, 4:68] == 255).all()
    assert (strip[:, 72:136] < 128).any()


def test_a_long_caption_stays_within_its_tile():
    page = contact_sheet([plain(RED)] * 2, ["a very long caption" * 5, ""], tile=50)
    strip = page[6 + 50 : -6]
    assert (strip[:, 6:56] < 128).any()
    assert (strip[:, 56:] == 255).all()


def test_captions_show_on_black_paper():
    page = contact_sheet([plain(RED)], ["cell"], tile=50, paper=(0, 0, 0))
    assert (page[6 + 50 : -6] > 128).all(axis=2).any()


@pytest.mark.parametrize(
    ("images", "captions", "options", "message"),
    [
        ([], None, {}, "0 images"),
        ([plain(RED)], None, {"columns": 0}, "0 columns"),
        ([plain(RED)], ["a", "b"], {}, "2 captions for 1 images"),
        ([np.zeros((4, 4), np.uint8)], None, {}, "image 0"),
        ([np.zeros((4, 4, 3))], None, {}, "float64"),
    ],
)
def test_what_does_not_fit_is_named(images, captions, options, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(images, captions, **options)


def test_a_png_comes_back_as_written(tmp_path):
    page = contact_sheet([plain(RED), plain(GREEN)], tile=9)
    write_sheet(tmp_path / "new" / "page.png", page)
    (again,) = read_images([tmp_path / "new" / "page.png"])
    np.testing.assert_array_equal(again, page)


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.jpeg"):
        write_sheet(tmp_path / "page.gif", plain(RED))


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.png"):
        read_images([tmp_path / "absent.png"])


def test_the_command_orders_by_number(tmp_path):
    for name, colour in (("c_10", RED), ("c_2", GREEN)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), plain(colour)[..., ::-1])
    files = sorted(str(file) for file in tmp_path.glob("*.png"))
    out = tmp_path / "sheet" / "page.png"
    main([str(out), *files, "--columns", "2", "--tile", "20"])
    (page,) = read_images([out])
    assert page[16, 16].tolist() == list(GREEN)
    assert page[16, 42].tolist() == list(RED)
