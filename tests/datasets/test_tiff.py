"""TIFF files read to the pixels that tifffile wrote, or are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import tiff_variants

from leuko_mm.datasets.images import ImageFileError, read_image, read_mask_file

tifffile = pytest.importorskip("tifffile", reason="tifffile writes the variants")
RNG = np.random.default_rng(0)
WIDE = RNG.integers(5000, 65536, (40, 56, 3), dtype=np.uint16)


@pytest.mark.parametrize(
    ("first", "count"),
    [(0, 60), pytest.param(60, 2000, marks=pytest.mark.slow)],
)
def test_any_layout_is_read_right_or_refused(tmp_path, first, count):
    read = 0
    for seed in range(first, first + count):
        path = tmp_path / f"{seed}.tif"
        rng = np.random.default_rng(seed)
        samples, written = tiff_variants.write_variant(path, rng)
        readers = {
            read_image: tiff_variants.as_image,
            lambda path: read_mask_file(path).values: tiff_variants.as_mask,
        }
        for reader, rule in readers.items():
            if rule is tiff_variants.as_mask and samples.shape[2] > 1:
                continue  # colours are no values of a mask
            try:
                found = reader(path)
            except ImageFileError as error:
                if "Error" in str(error):  # Pillow's words instead of the layout
                    pytest.fail(f"{error}: {written}")
            else:
                read += 1
                expected = rule(samples, written)
                assert expected is not None, ("not refused", seed, written)
                assert np.array_equal(found, expected), (seed, written)
        path.unlink()
    assert read > 0.5 * count


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}])
@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colours(tmp_path, tile, options, order):
    path = tmp_path / "a.tif"
    layout = {"photometric": "rgb", "tile": tile, "byteorder": order, **options}
    tifffile.imwrite(path, WIDE, **layout)
    np.testing.assert_array_equal(read_image(path), np.rint(WIDE / 257))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ImageFileError):
        read_image(path)
    planes = np.moveaxis(WIDE, 2, 0)
    tifffile.imwrite(path, planes, planarconfig="separate", **layout)
    with pytest.raises(ImageFileError, match="16 bits a channel, in separate planes"):
        read_image(path)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16"])
def test_white_is_zero_is_inverted_at_any_depth(tmp_path, dtype):
    grey = WIDE[..., 0]
    grey = {"bool": grey > 32000, "uint8": grey >> 8, "uint16": grey}[dtype]
    grey = grey.astype(dtype)
    pictures = []
    for photometric in ("minisblack", "miniswhite"):
        path = tmp_path / f"{photometric}.tif"
        stored = grey if photometric == "minisblack" else ~grey
        tifffile.imwrite(path, stored, photometric=photometric)
        pictures += [read_image(path)[..., 0], read_mask_file(path).values]
    np.testing.assert_array_equal(pictures[0], pictures[2])
    np.testing.assert_array_equal(pictures[1], pictures[3])


@pytest.mark.parametrize(
    ("dtype", "options", "says"),
    [
        ("int8", {}, "signed"),
        ("int16", {}, "signed"),
        ("float16", {}, "float"),
        ("uint16", {"photometric": "miniswhite", "byteorder": ">"}, "white is zero"),
        ("uint8", {"bigtiff": True, "byteorder": ">"}, "BigTIFF"),
    ],
)
def test_the_refusal_names_the_layout(tmp_path, dtype, options, says):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((12, 16), dtype), **options)
    with pytest.raises(ImageFileError, match=f"a TIFF of .*{says}.*export it"):
        read_image(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32"])
def test_masks_of_many_kinds_of_whole_numbers(tmp_path, dtype, order):
    labels = RNG.integers(0, 6, (12, 16)).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, labels, photometric="minisblack", byteorder=order)
    if (dtype, order) != ("uint32", ">"):
        np.testing.assert_array_equal(read_mask_file(path).values, labels)
    labels[0, 0] = {"uint32": 4_000_000_000}.get(dtype, -1)
    tifffile.imwrite(path, labels, photometric="minisblack")
    if dtype in ("int8", "uint32"):
        with pytest.raises(ImageFileError, match="values below 0"):
            read_mask_file(path)
    else:
        assert read_mask_file(path).values[0, 0] == -1


def test_smaller_copies_are_no_pages(tmp_path):
    path, pixels = tmp_path / "a.tif", WIDE.astype(np.uint8)
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, photometric="rgb")
        file.write(pixels[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(read_image(path), pixels)
    with tifffile.TiffWriter(path, append=True) as file:
        file.write(pixels, photometric="rgb")
    with pytest.raises(ImageFileError, match="2 frames or pages"):
        read_image(path)
