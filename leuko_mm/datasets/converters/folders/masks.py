"""Masks as image files: values, a palette, colours, or one file a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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


def _read_mask(path: Path) -> MaskFile:
    mask = read_mask_file(path)
    form, lossy = image_facts(path).format, ""
    if form in ("JPEG", "MPO"):
        lossy = "JPEG"
    elif form == "WEBP" and b"VP8 " in path.read_bytes()[:64]:
        lossy = "lossy WebP"
    if lossy and len(np.unique(mask.values)) > 2:
        raise DatasetError(
            f"{path}: a {lossy} changes values, so what this mask says is not known; "
            "export masks as PNG"
        )
    return mask


def value_masks(masks: Mapping[str, Path]) -> Annotations:
    """Return the annotations of one mask an image, given by the image's name.

    They are read by value if they are grey, or if their palettes agree on the colours
    that are used; else by colour.
    """
    by_colour, all_palettes = False, True
    palette: dict[int, tuple] = {}
    for path in masks.values():
        mask = _read_mask(path)
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
    readers = {name: _value_reader(path, by_colour) for name, path in masks.items()}
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


def _value_reader(path: Path, by_colour: bool) -> Reader:
    def read(height: int, width: int) -> Annotation:
        mask = _read_mask(path)
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
    layers: Mapping[str, Mapping[str, Path]],
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
        {name: _layer_reader(masks) for name, masks in layers.items()},
        {name: ", ".join(map(str, masks.values())) for name, masks in layers.items()},
        files={name: list(masks.values()) for name, masks in layers.items()},
    )


def _layer_reader(masks: Mapping[str, Path]) -> Reader:
    order = sorted(masks)

    def read(height: int, width: int) -> Annotation:
        packed = np.zeros((height, width), np.int64)
        for bit, word in enumerate(order):
            values = _read_mask(masks[word]).values
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
