"""Masks as image files: values, a palette, colours, or one file a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Annotations,
    Reader,
    check_size,
)
from leuko_mm.datasets.images import MaskFile, image_facts, read_mask_file
from leuko_mm.datasets.prepared import DatasetError

MAX_VALUES = 300  # more of them in one mask are no classes, but a photograph
MAX_CLASSES = 40
SHOWN = 6
ROUNDED = 8  # grey levels by which files of other qualities differ
MOST_STRAY = 0.02  # share of a level's pixels that have the next value
MIN_CONTRAST = 64  # between two levels


Levels = tuple[int, int]  # of masks that JPEG has blurred


def find_levels(paths: Sequence[Path]) -> Levels:
    """Return the two grey levels of masks that were saved as JPEG.

    JPEG keeps a level where nothing else is near, up to a rounding that is the same
    all over a file; of neighbouring values, one of few pixels is no level.

    Raises:
        DatasetError: if masks have colours, or another number of levels.
    """
    found: dict[int, Path] = {}  # level -> the first file that has it
    square, everywhere = np.ones((5, 5), np.uint8), np.zeros(256, int)
    for path in paths:
        grey = _grey(path)
        everywhere += np.bincount(grey.ravel(), minlength=256)
        flat = cv2.dilate(grey, square) - cv2.erode(grey, square) <= 1
        counts, own = np.bincount(grey[flat], minlength=256), []
        for value in np.argsort(-counts)[: np.count_nonzero(counts)].tolist():
            near = [counts[level] for level in own if abs(level - value) <= 2]
            if counts[value] > MOST_STRAY * max(near, default=0):
                own.append(value)
        # Levels of one file that are near each other stay two; of two files, one.
        close = any(0 < abs(a - b) < MIN_CONTRAST for a in own for b in own)
        for value in own:
            if close or all(abs(value - level) > ROUNDED for level in found):
                found.setdefault(value, path)
    if len(found) == 1:  # things may be too small to have a plain area
        everywhere[np.abs(np.arange(256) - min(found)) < MIN_CONTRAST] = 0
        if everywhere.any():
            found[int(everywhere.argmax())] = paths[0]
    levels = sorted(found)
    if len(levels) != 2 or levels[1] - levels[0] < MIN_CONTRAST:
        found_in = ", ".join(f"{level} in {found[level]}" for level in levels[:SHOWN])
        raise DatasetError(
            f"--two-levels: {len(levels)} levels in {len(paths)} masks ({found_in}); "
            f"expected two, {MIN_CONTRAST} or more apart; export masks as PNG"
        )
    low, high = levels
    return 0 if low <= ROUNDED else low, 255 if high >= 255 - ROUNDED else high


def _grey(path: Path) -> np.ndarray:
    values = read_mask_file(path).values
    if values.ndim == 3 and np.ptp(values, axis=2).max() <= 2:
        values = values[..., 1]
    if values.ndim == 3 or values.max() > 255:
        raise DatasetError(
            f"{path}: --two-levels reads masks of grey levels from 0 to 255; this one "
            f"has {'colours' if values.ndim == 3 else values.max()}"
        )
    return values.astype(np.uint8)


def _read_mask(path: Path, levels: Levels | None) -> MaskFile:
    """Read a mask; with ``levels``, each pixel is the nearer one."""
    if levels:
        grey, (low, high) = _grey(path).astype(int), levels
        between = (2 * np.abs(2 * grey - low - high) < high - low).astype(np.uint8)
        # An edge that JPEG has blurred is thinner than 3 pixels.
        edges = dict(borderType=cv2.BORDER_CONSTANT, borderValue=0)
        if cv2.erode(between, np.ones((3, 3), np.uint8), **edges).any():
            raise DatasetError(
                f"{path}: --two-levels: an area is neither {low} nor {high}, but "
                "between; expected two levels; export masks as PNG"
            )
        return MaskFile(np.where(2 * grey > low + high, high, low).astype(np.uint8))
    mask = read_mask_file(path)
    jpeg = image_facts(path).format in ("JPEG", "MPO")
    if jpeg and len(np.unique(mask.values)) > 2:
        raise DatasetError(
            f"{path}: a JPEG changes values, so what this mask says is not known; "
            "export masks as PNG; if they are of two levels, such as black and white, "
            "--two-levels takes the nearer one"
        )
    return mask


def value_masks(masks: Mapping[str, Path], levels: Levels | None = None) -> Annotations:
    """Return the annotations of one mask an image, given by the image's name.

    They are read by value if they are grey, or if their palettes agree on the colours
    that are used; else by colour.
    """
    by_colour, all_palettes = False, True
    palette: dict[int, tuple] = {}
    for path in masks.values():
        mask = _read_mask(path, levels)
        by_colour |= _has_colours(mask.values)
        if mask.palette is None:
            all_palettes = False
            continue
        for value in np.unique(mask.values).tolist():
            colour = _palette_colour(path, mask.palette, value)
            by_colour |= palette.setdefault(value, colour) != colour
    form, colours = "masks of values", {}
    if by_colour:
        form = "masks of RGB colours"
    elif all_palettes:
        form = "palette masks"
        colours = {str(value): colour for value, colour in palette.items()}
    readers = {
        name: _value_reader(path, by_colour, levels) for name, path in masks.items()
    }
    sources = {name: str(path) for name, path in masks.items()}
    files = {name: [path] for name, path in masks.items()}
    return Annotations(form, readers, sources, colours, files=files)


def _has_colours(values: np.ndarray) -> bool:
    return values.ndim == 3 and bool((values != values[..., :1]).any())


def _palette_colour(path: Path, palette: np.ndarray, value: int) -> tuple:
    if value >= len(palette):
        raise DatasetError(
            f"{path}: value {value}, but its palette has {len(palette)} colours"
        )
    return tuple(palette[value].tolist())


def _value_reader(path: Path, by_colour: bool, levels: Levels | None) -> Reader:
    def read(height: int, width: int) -> Annotation:
        mask = _read_mask(path, levels)
        check_size(path, mask.values.shape[:2], height, width)
        if by_colour:
            packed, name = _packed_colours(path, mask), "#{:06x}".format
        else:
            values = mask.values
            packed, name = values if values.ndim == 2 else values[..., 0], str
        values, codes = np.unique(packed, return_inverse=True)
        if len(values) > MAX_VALUES:
            raise DatasetError(
                f"{path}: {len(values)} different values; expected one a class; a JPEG "
                "changes values, so export masks as PNG, and give every cell of a "
                "class the same one"
            )
        keys = tuple(name(value) for value in values.tolist())
        return Annotation(codes.reshape(height, width).astype(np.uint16) + 1, keys)

    return read


def _packed_colours(path: Path, mask: MaskFile) -> np.ndarray:
    values = mask.values
    if mask.palette is not None:
        for value in np.unique(values).tolist():
            _palette_colour(path, mask.palette, value)
        values = mask.palette[values]
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    red, green, blue = np.moveaxis(values.astype(np.uint32), -1, 0)
    return (red << 16) + (green << 8) + blue


def class_masks(
    layers: Mapping[str, Mapping[str, Path]], levels: Levels | None = None
) -> Annotations:
    """Return the annotations of several {0, 255} masks an image, one a class.

    Where masks of one image overlap, the pixels have a key of their own, such as
    ``cytoplasm+nucleus``, whose class is given and not guessed.
    """
    words = sorted({word for masks in layers.values() for word in masks})
    if len(words) > MAX_CLASSES:
        raise DatasetError(
            f"{len(words)} different words in the names of the masks "
            f"({', '.join(words[:SHOWN])}, ...); expected one a class: "
            "<image>_<class>.png or <class>/<image>.png"
        )
    return Annotations(
        f"one mask a class ({', '.join(words[:SHOWN])})",
        {name: _layer_reader(masks, levels) for name, masks in layers.items()},
        {name: ", ".join(map(str, masks.values())) for name, masks in layers.items()},
        files={name: list(masks.values()) for name, masks in layers.items()},
    )


def _layer_reader(masks: Mapping[str, Path], levels: Levels | None) -> Reader:
    order = sorted(masks)

    def read(height: int, width: int) -> Annotation:
        packed = np.zeros((height, width), np.int64)
        for bit, word in enumerate(order):
            values = _read_mask(masks[word], levels).values
            packed |= _layer(masks[word], values, height, width).astype(np.int64) << bit
        combinations, codes = np.unique(packed, return_inverse=True)
        keys = tuple(_key_of(order, int(c)) for c in combinations if c)
        first = 0 if combinations[0] == 0 else 1
        codes = codes.reshape(height, width).astype(np.uint16) + first
        return Annotation(codes, keys)

    return read


def _key_of(words: Sequence[str], combination: int) -> str:
    return "+".join(w for bit, w in enumerate(words) if combination >> bit & 1)


def _layer(path: Path, values: np.ndarray, height: int, width: int) -> np.ndarray:
    check_size(path, values.shape[:2], height, width)
    if values.ndim == 3:
        if _has_colours(values):
            raise DatasetError(f"{path} has colours; expected 0 and one other value")
        values = values[..., 0]
    others = np.unique(values[values != 0]).tolist()
    if len(others) > 1:
        raise DatasetError(
            f"{path}: values {others[:SHOWN]}; the mask of one class holds 0 and one "
            "other value"
        )
    return values != 0
