"""Files of any origin become RGB, or are refused by name: one rule for each kind."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.images import (
    ImageFileError,
    image_facts,
    read_image,
    read_mask_file,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves pixels or a picture and returns the file."""

    def save(name: str, content=PIXELS, **options):
        path = tmp_path / name
        picture = (
            Image.fromarray(content) if isinstance(content, np.ndarray) else content
        )
        picture.save(path, **options)
        return path

    return save


def refused(path, reading=read_image) -> str:
    with pytest.raises(ImageFileError) as error:
        reading(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp"])
def test_lossless_files_give_their_pixels(saved, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    np.testing.assert_array_equal(read_image(saved(name, **options)), PIXELS)


def test_reading_checking_and_splitting_need_no_network_library():
    code = (
        "import sys, leuko_mm.split, leuko_mm.datasets.layouts\n"
        "print({'torch', 'mmengine', 'mmcv', 'mmseg', 'sklearn'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "set()\n", run.stderr


def test_grey_one_bit_and_palette_images_become_rgb(saved):
    grey = PIXELS[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(saved("g.png", grey)), expected)
    bits = Image.fromarray(grey > 127)
    assert set(np.unique(read_image(saved("b.png", bits)))) == {0, 255}
    few = np.where(PIXELS > 127, 200, 10).astype(np.uint8)
    palette = Image.fromarray(few).quantize(8)
    np.testing.assert_array_equal(read_image(saved("p.png", palette)), few)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_an_image_turned_by_exif_stands_upright(saved, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(name, exif=exif, **options)
    turned = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS, -1),
        7: np.rot90(PIXELS, 2).transpose(1, 0, 2),
        8: np.rot90(PIXELS),
    }
    np.testing.assert_array_equal(read_image(path), turned[orientation])
    np.testing.assert_array_equal(read_mask_file(path).values, turned[orientation])
    assert image_facts(path).turned == (orientation > 1)
    assert not image_facts(path).plain or orientation == 1


def test_alpha_is_dropped_where_opaque_and_refused_where_not(saved):
    opaque = np.dstack([PIXELS, np.full((12, 16), 255, np.uint8)])
    np.testing.assert_array_equal(read_image(saved("a.png", opaque)), PIXELS)
    assert not image_facts(saved("a.png", opaque)).plain
    opaque[3, 4, 3] = 254
    path = saved("b.png", opaque)
    assert "transparent" in refused(path)
    assert "transparent" in refused(path, read_mask_file)
    key = saved("c.png", PIXELS, transparency=tuple(PIXELS[0, 0].tolist()))
    assert "transparent" in refused(key)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name, channels):
    wide = RNG.integers(5000, 65536, (12, 16, channels), dtype=np.uint16)
    if channels == 4:
        wide[..., 3] = 65535
    path = tmp_path / name
    cv2.imwrite(str(path), wide)
    colours = wide[..., [0, 0, 0]] if channels == 1 else wide[..., 2::-1]
    np.testing.assert_array_equal(read_image(path), np.rint(colours / 257))
    assert image_facts(path).bits == 16
    assert not image_facts(path).plain


def test_twelve_bits_in_sixteen_are_refused(tmp_path):
    path = tmp_path / "dark.png"
    cv2.imwrite(str(path), RNG.integers(0, 4096, (12, 16, 3), dtype=np.uint16))
    assert "12 bits" in refused(path)


@pytest.mark.parametrize("what", ["hot pixels", "scale bar", "banner"])
def test_a_bright_pixel_or_bar_does_not_hide_twelve_bits(tmp_path, what):
    image = RNG.integers(0, 4096, (100, 120, 3), dtype=np.uint16)
    rows = {"banner": slice(0, 30), "scale bar": slice(90, 93), "hot pixels": 40}[what]
    image[rows, 3 if what == "hot pixels" else slice(None)] = 65535
    image[50, 7] = 30000
    path = tmp_path / "dark.png"
    cv2.imwrite(str(path), image)
    assert "12 bits" in refused(path)


def test_black_corners_and_a_bright_background_do_not_look_like_twelve_bits(tmp_path):
    image = np.full((100, 120, 3), 65535, np.uint16)
    image[:60] = RNG.integers(0, 3000, (60, 120, 3))
    image[70:80, 20:60] = RNG.integers(20000, 65536, (10, 40, 3))
    path = tmp_path / "eyepiece.png"
    cv2.imwrite(str(path), image)
    np.testing.assert_array_equal(read_image(path)[..., ::-1], np.rint(image / 257))


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "F", "I"])
def test_colours_that_depend_on_something_unknown_are_refused(saved, mode):
    grey = Image.fromarray(PIXELS[..., 0]).convert("I")
    picture = grey.convert(mode) if mode in "FI" else Image.new(mode, (16, 12))
    assert mode in refused(saved("a.tif", picture))


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_animations_and_pages_are_refused(saved, name):
    pages = [Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS[::-1].copy())]
    path = saved(name, save_all=True, append_images=pages)
    assert "3 frames" in refused(path)
    assert "3 frames" in refused(path, read_mask_file)


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp", "a.gif"]
)
def test_a_file_cut_short_is_refused(saved, name):
    large = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = saved(name, large)
    content = path.read_bytes()
    for kept in (0, 1, 10, len(content) // 3, len(content) * 2 // 3):
        path.write_bytes(content[:kept])
        refused(path)
        refused(path, read_mask_file)


def test_what_is_no_image_is_refused(saved, tmp_path):
    assert "1x1" in refused(saved("small.png", PIXELS[:1, :1]))
    path = tmp_path / "a.png"
    assert "missing" in refused(path)
    path.write_bytes(b"")
    assert "empty" in refused(path)
    path.write_text("%PDF-1.4 or whatever")
    assert "cannot be read" in refused(path)
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png")


def test_a_huge_header_is_refused_without_decoding(saved):
    path = saved("a.png")
    content = bytearray(path.read_bytes())
    for side in (10_000, 30_000):
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        path.write_bytes(content)
        assert "89 million" in refused(path)


def test_decoding_keeps_no_second_copy(saved):
    path = saved("a.tif", RNG.integers(0, 256, (4096, 4096, 3), dtype=np.uint8))
    # Pillow's own pixels are not counted; a copy as bytes or an array would be.
    tracemalloc.start()
    image = read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * image.nbytes


def test_masks_keep_values_and_palettes(saved):
    labels = RNG.integers(0, 6, (12, 16), dtype=np.uint8)
    np.testing.assert_array_equal(read_mask_file(saved("i.png", labels)).values, labels)
    coloured = Image.fromarray(labels)
    coloured.putpalette([9, 8, 7, 6, 5, 4, *range(12)])
    mask = read_mask_file(saved("p.png", coloured))
    np.testing.assert_array_equal(mask.values, labels)
    assert mask.palette[:2].tolist() == [[9, 8, 7], [6, 5, 4]]
    wide = labels.astype(np.uint16) * 1000
    np.testing.assert_array_equal(read_mask_file(saved("w.png", wide)).values, wide)
    bits = read_mask_file(saved("b.png", Image.fromarray(labels > 2))).values
    np.testing.assert_array_equal(bits, np.where(labels > 2, 255, 0))
