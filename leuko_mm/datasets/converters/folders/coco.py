"""COCO: one JSON file for all images, with polygons or run lengths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Patch,
    Reader,
    check_size,
    expect,
    fill_rings,
    paint,
    union,
)
from leuko_mm.datasets.prepared import DatasetError

SHOWN = 6  # ids
TABLES = ("images", "annotations", "categories")
SIDES = ("height", "width")


def is_coco(content: object) -> bool:
    """Tell whether a JSON file has COCO's three tables."""
    return isinstance(content, dict) and all(
        isinstance(content.get(table), list) for table in TABLES
    )


def coco_images(path: Path, content: Mapping) -> list[tuple[str, Reader]]:
    """Return name and reader of every image that a COCO file lists.

    An image that the file lists without annotations has no leukocyte; one that it
    does not list is not annotated.
    """
    try:
        names = _by_id("categories", content, "name")
        listed = _by_id("images", content, "file_name")
        drawn = _drawn(content, listed, names)
        return [
            (str(entry["file_name"]), _reader(path, entry, drawn[id_text(entry["id"])]))
            for entry in content["images"]
        ]
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def is_sized(content: Mapping) -> bool:
    """Tell whether a COCO file says how large its images are."""
    return all(entry.get(side) for entry in content["images"] for side in SIDES)


def id_text(number: object) -> str:
    """Return an id as text: 8, 8.0 and "8" are one, whichever table has which."""
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        raise ValueError(f"an id is {number!r}; expected a number or text")
    return str(number).strip()


def _entries(content: Mapping, table: str, *needed: str) -> list[dict]:
    for number, entry in enumerate(content[table]):
        expect(entry, dict, f"entry {number} of {table}")
        for key in needed:
            if entry.get(key) is None:
                raise ValueError(f"entry {number} of {table} has no {key!r}")
    return content[table]


def _by_id(table: str, content: Mapping, value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in _entries(content, table, "id", value):
        number, text = id_text(entry["id"]), str(entry[value]).strip()
        if value != "segmentation" and not isinstance(entry[value], int):
            expect(entry[value], str, f"{value} of {table} {number}")
        if found.setdefault(number, text) != text:
            raise ValueError(
                f"id {number} is that of the {value} {found[number][:40]!r} "
                f"and of {text[:40]!r}; expected one id each: number joined exports "
                "again, in all tables"
            )
    return found


def _drawn(content: Mapping, images: Mapping, names: Mapping) -> dict[str, list]:
    """Return category and entry of the annotations of each image."""
    drawn = defaultdict(list)
    entries = _entries(content, "annotations", "image_id", "category_id")
    outlined = [e for e in entries if None not in (e.get("id"), e.get("segmentation"))]
    _by_id("annotations", dict(annotations=outlined), "segmentation")
    for entry in entries:
        image, category = id_text(entry["image_id"]), id_text(entry["category_id"])
        tables = ("images", images, image), ("categories", names, category)
        for table, known, number in tables:
            if number not in known:
                there = ", ".join(list(known)[:SHOWN]) or "nothing"
                raise ValueError(
                    f"annotation {entry.get('id')} names {number!r}, which is "
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
        except ValueError as error:
            own = entry.get("id")
            raise ValueError(f"annotation {own} ({key!r}): {error}") from None
        yield Patch(key, patch.x, patch.y, patch.inside, single, patch.kept)


def coco_inside(segmentation: object, height: int, width: int) -> Patch:
    """Return what a COCO segmentation covers: polygons, or run lengths."""
    if isinstance(segmentation, Mapping):
        counts = segmentation.get("counts")
        size = expect(segmentation.get("size"), list, "'size' of run lengths")
        if size != [height, width]:
            raise ValueError(
                f"run lengths of the size {size}; the image has {[height, width]}"
            )
        if isinstance(counts, (str, bytes)):
            counts = run_lengths(counts)
        counts = expect(counts, list, "'counts' of run lengths")
        area, numbers = height * width, (int, float)
        whole = (
            isinstance(c, numbers) and 0 <= c <= area and c == int(c) for c in counts
        )
        if not all(whole) or sum(counts) != area:
            raise ValueError(
                f"run lengths {str(counts)[:40]}; expected whole numbers with the sum "
                f"{area}, as the image has {area} pixels"
            )
        # Runs of outside and inside, column by column.
        inside = np.repeat(np.arange(len(counts)) % 2 == 1, list(map(int, counts)))
        return Patch("", 0, 0, inside.reshape(width, height).T)
    if segmentation in (None, []):
        raise ValueError(
            "no outline; expected polygons or run lengths, not a box alone"
        )
    polygons = expect(segmentation, list, "the segmentation")
    for ring in polygons:
        if not isinstance(ring, list) or len(ring) % 2 or len(ring) == 2:
            raise ValueError(
                f"segmentation {str(segmentation)[:40]}; expected a list of outlines, "
                "each with an even number of numbers: [[x1, y1, x2, y2, ...], ...]"
            )
    rings = [list(zip(ring[::2], ring[1::2], strict=True)) for ring in polygons]
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
