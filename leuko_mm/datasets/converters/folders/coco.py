"""COCO: one JSON file for all images, with polygons or run lengths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Annotations,
    Patch,
    Reader,
    SourceImage,
    check_size,
    fill_rings,
    paint,
    union,
)
from leuko_mm.datasets.prepared import DatasetError

SHOWN = 6  # ids
SIDES = ("height", "width")


def is_coco(content: object) -> bool:
    """Tell whether a JSON file has COCO's three tables."""
    tables = ("images", "annotations", "categories")
    return isinstance(content, dict) and all(
        isinstance(content.get(table), list) for table in tables
    )


def coco_annotations(
    path: Path, content: Mapping, images: Sequence[SourceImage]
) -> Annotations:
    """Return the annotations of a COCO file, matched to images by file name.

    An image that the file lists without annotations has no leukocyte; one that it
    does not list is not annotated.
    """
    by_path = {image.relative: image for image in images}
    by_file_name = defaultdict(list)
    for image in images:
        by_file_name[image.path.name].append(image)
    try:
        names = _by_id(path, content["categories"], "name")
        listed = _by_id(path, content["images"], "file_name")
        drawn = _drawn(path, content["annotations"], listed, names)
        readers, unused = {}, []
        for entry in content["images"]:
            name = str(entry["file_name"]).replace("\\", "/")
            same = by_file_name[PurePosixPath(name).name]
            image = by_path.get(name) or (same[0] if len(same) == 1 else None)
            if image is None:
                unused.append(name)
            elif image.name in readers:
                raise DatasetError(f"{path} lists {name} twice")
            else:
                readers[image.name] = _reader(path, entry, drawn[id_text(entry["id"])])
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: an entry lacks {error}; expected images, annotations and "
            "categories as COCO has them"
        ) from None
    form = f"COCO polygons or run lengths ({path.name})"
    sizes = [entry.get(side) for entry in content["images"] for side in SIDES]
    sources = dict.fromkeys(readers, str(path))
    return Annotations(form, readers, sources, unused=unused, sized=None not in sizes)


def id_text(number: object) -> str:
    """Return an id as text: 8, 8.0 and "8" are one, whichever table has which."""
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        raise TypeError(f"an id, having {number!r}; expected a number or text")
    return str(number).strip()


def _by_id(path: Path, entries: list[Mapping], value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        number, text = id_text(entry["id"]), str(entry[value]).strip()
        if found.setdefault(number, text) != text:
            raise DatasetError(
                f"{path}: id {number} is that of the {value} {found[number][:40]!r} "
                f"and of {text[:40]!r}; expected one id each: number joined exports "
                "again, in all tables"
            )
    return found


def _drawn(
    path: Path, entries: list[Mapping], images: Mapping, names: Mapping
) -> dict[str, list]:
    """Return category and entry of the annotations of each image."""
    drawn = defaultdict(list)
    outlined = [e for e in entries if {"id", "segmentation"} <= e.keys()]
    _by_id(path, outlined, "segmentation")
    for entry in entries:
        image, category = id_text(entry["image_id"]), id_text(entry["category_id"])
        tables = ("images", images, image), ("categories", names, category)
        for table, known, number in tables:
            if number not in known:
                there = ", ".join(list(known)[:SHOWN]) or "nothing"
                raise DatasetError(
                    f"{path}: annotation {entry.get('id')} names {number!r}, which is "
                    f"not in {table}; they have {there}"
                )
        drawn[image].append((names[category], entry))
    return drawn


def _reader(path: Path, entry: Mapping, drawn: list) -> Reader:
    def read(height: int, width: int) -> Annotation:
        size = [entry.get(side) for side in SIDES]
        if None not in size:
            check_size(f"{path}: {entry['file_name']}", size, height, width)
        try:
            return paint(_patches(drawn, height, width), height, width)
        except ValueError as error:
            raise DatasetError(f"{path}: {entry['file_name']}: {error}") from None

    return read


def _patches(drawn: list, height: int, width: int) -> Iterator[Patch]:
    for key, entry in drawn:
        single = not entry.get("iscrowd")
        try:
            patch = coco_inside(entry.get("segmentation"), height, width)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            own = entry.get("id")
            raise ValueError(f"annotation {own} ({key!r}): {error}") from None
        yield Patch(key, patch.x, patch.y, patch.inside, single, patch.kept)


def coco_inside(segmentation: object, height: int, width: int) -> Patch:
    """Return what a COCO segmentation covers: polygons, or run lengths."""
    if isinstance(segmentation, Mapping):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(
                f"run lengths of a {segmentation['size'][::-1]} image, which has "
                f"{width}x{height}"
            )
        counts = segmentation["counts"]
        if isinstance(counts, (str, bytes)):
            counts = run_lengths(counts)
        runs = np.array(counts, dtype=np.int64)
        if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
            raise ValueError(
                f"run lengths of {runs.sum()} pixels; the image has {height * width}"
            )
        # Runs of outside and inside, column by column.
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return Patch("", 0, 0, inside.reshape(width, height).T)
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError(
            "no outline; expected polygons or run lengths, not a box alone"
        )
    rings = [list(zip(ring[::2], ring[1::2], strict=True)) for ring in segmentation]
    # Several polygons are parts of one thing, never holes.
    parts = [fill_rings("", [ring], height=height, width=width) for ring in rings]
    return union("", parts, height, width)


def run_lengths(text: str | bytes) -> list[int]:
    """Return the run lengths in COCO's compressed text.

    Every character carries five bits of a number, the lowest first, and whether more
    follow; from the fourth number on, the difference to the last but one is stored.
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode() if isinstance(text, str) else text:
        bits = code - 48
        if not 0 <= bits < 64:
            raise ValueError(f"run lengths with the character {chr(code)!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths that are cut short")
    return counts
