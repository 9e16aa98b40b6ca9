"""TIFF files of random layouts, written by tifffile, and the pixels that they hold."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

# Without imagecodecs, tifffile writes no other compression.
COMPRESSIONS = [None, "zlib"]
if importlib.util.find_spec("imagecodecs"):
    COMPRESSIONS += ["lzw", "packbits", "lzma", "zstd"]
DTYPES = ["u1"] * 6 + ["u2"] * 8 + ["?", "i1", "i2", "u4", "i4", "f2", "f4"]
TILES = [None, None, (16, 16), (32, 16), (16, 48), (64, 64)]


def write_variant(path: Path, rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Write a file and return its samples (H, W, C) with what it was written with."""
    import tifffile

    dtype = np.dtype(rng.choice(DTYPES))
    photometric = rng.choice(["rgb", "minisblack", "miniswhite", "palette"])
    if photometric == "palette":
        dtype = np.dtype("u1")
    if dtype.kind == "b" and photometric == "rgb":
        photometric = "minisblack"
    colours = 3 if photometric == "rgb" else 1
    extras = {0: [], 1: ["unspecified"], 2: ["unassalpha"], 3: ["assocalpha"]}
    plain = photometric == "palette" or dtype.kind == "b"
    extra = [] if plain else extras[max(0, rng.integers(-4, 4))]
    height, width = (int(side) for side in rng.integers(8, 90, 2))
    shape = (height, width, colours + len(extra))
    samples = drawn(shape, dtype, rng)
    if extra and rng.random() < 0.6:
        samples[..., -1] = np.iinfo(dtype).max if dtype.kind in "iu" else 1
    planar = shape[2] > 1 and rng.random() < 0.5
    options = {
        "photometric": photometric,
        "compression": COMPRESSIONS[rng.integers(len(COMPRESSIONS))],
        "tile": TILES[rng.integers(len(TILES))],
        "byteorder": "<>"[rng.integers(2)],
        "bigtiff": bool(rng.random() < 0.2),
        "metadata": None,
        "software": False,
    }
    turn = int(rng.integers(2, 9)) if rng.random() < 0.2 else 1
    if turn > 1:
        options["extratags"] = [(274, "H", 1, turn, True)]
    if shape[2] > 1:
        options["planarconfig"] = "separate" if planar else "contig"
    if extra:
        options["extrasamples"] = extra
    if photometric == "palette":
        options["colormap"] = rng.integers(0, 65536, (3, 256), dtype=np.uint16)
    if options["compression"] and dtype.kind in "iu" and rng.random() < 0.5:
        options["predictor"] = options["compression"] != "packbits"
    if options["tile"] is None:
        options["rowsperstrip"] = int(rng.integers(1, height + 1))
    pyramid = ["none"] * 4 + ["below", "pages"]
    below = pyramid[rng.integers(len(pyramid))]
    stored = np.moveaxis(samples, 2, 0) if planar else samples
    if shape[2] == 1:
        stored = samples[..., 0]
    with tifffile.TiffWriter(
        path, bigtiff=options.pop("bigtiff"), byteorder=options.pop("byteorder")
    ) as file:
        file.write(stored, subifds=int(below == "below"), **options)
        if below != "none":
            rows = np.s_[:, ::2, ::2] if planar else np.s_[::2, ::2]
            options.pop("rowsperstrip", None)
            file.write(stored[rows], subfiletype=1, **options)
    return samples, {**options, "dtype": dtype, "below": below, "turn": turn}


def drawn(shape: tuple, dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
    """Return noise over a slope: it has no two equal rows, and no long runs."""
    unit = rng.random(shape) * 0.4 + np.linspace(0.1, 0.6, shape[1])[:, None]
    if dtype.kind == "b":
        return unit > 0.5
    return (unit * (np.iinfo(dtype).max if dtype.kind in "iu" else 1)).astype(dtype)


def upright(samples: np.ndarray, written: dict) -> np.ndarray:
    """Turn samples as the orientation tag says: flip, then transpose."""
    turn = written["turn"]
    if turn > 4:
        samples = samples.transpose(1, 0, 2)
    across, down = turn in (2, 3, 6, 7), turn in (3, 4, 7, 8)
    return samples[:: -1 if down else 1, :: -1 if across else 1]


def as_image(samples: np.ndarray, written: dict) -> np.ndarray | None:
    """Return the RGB that the file means, None for what is refused."""
    deep = samples.dtype == np.uint16
    planes = samples.shape[2] > 2 and written.get("planarconfig") == "separate"
    if deep and (written["turn"] > 1 or planes):
        return None
    samples = upright(samples, written)
    if samples.dtype.str[1:] not in ("b1", "u1", "u2"):
        return None
    top = 1 if samples.dtype.kind == "b" else np.iinfo(samples.dtype).max
    colours = 3 if written["photometric"] == "rgb" else 1
    alpha = written.get("extrasamples", ["unspecified"]) != ["unspecified"]
    if alpha and samples[..., -1].min() < top:
        return None
    if written["photometric"] == "palette":
        return (written["colormap"].T[samples[..., 0]] // 256).astype(np.uint8)
    image = samples[..., :colours].astype(np.float64)
    if written["photometric"] == "miniswhite":
        image = top - image
    return np.rint(image * 255 / top).astype(np.uint8).repeat(3 // colours, axis=2)


def as_mask(samples: np.ndarray, written: dict) -> np.ndarray | None:
    """Return the values of a grey mask, None for what is refused."""
    deep = samples.dtype.kind == "f" or written["photometric"] == "rgb"
    if deep or samples.shape[2] > 1:
        return None
    values = upright(samples, written)[..., 0].astype(np.int64)
    if written["photometric"] == "miniswhite":
        values = (
            1 if samples.dtype.kind == "b" else np.iinfo(samples.dtype).max
        ) - values
    return values * 255 if samples.dtype.kind == "b" else values
