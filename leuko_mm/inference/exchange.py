"""Predictions for other programs: one COCO file, or a GeoJSON file an image (QuPath).

Both give every pixel of every cell back; ``leuko prepare folders`` reads them.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND, OTHER, OTHER_COLOUR, UNSURE
from leuko_mm.datasets.converters.folders.class_map import IGNORE
from leuko_mm.datasets.converters.folders.coco import run_lengths
from leuko_mm.files import fitting_name, write_text

MEASURED = ("area", "eccentricity", "solidity", "circularity")
# Only of models that answer more than the classes.
ANSWERED = ("answer", "other")
Ring = list[tuple[int, int]]


def write_coco(
    file: Path,
    records: Sequence[Mapping],
    classes: Sequence[str],
    *,
    ignore_unsure: bool = False,
) -> None:
    """Write all cells of all images as one COCO file.

    Args:
        file: is replaced.
        records: of the images, in order.
        classes: names by id, the background first.
        ignore_unsure: give unsure cells the category ``ignore``, which
            ``leuko prepare folders`` knows, and not that of their likeliest class.
    """
    categories = [
        {"id": number, "name": name}
        for number, name in enumerate(classes)
        if number != BACKGROUND
    ]
    numbers = {}
    if any(OTHER in record.get("answers", ()) for record in records):
        numbers[OTHER] = len(classes)
        categories.append({"id": len(classes), "name": OTHER})
    if ignore_unsure:
        numbers[UNSURE] = len(classes) + 1
        categories.append({"id": len(classes) + 1, "name": IGNORE})
    images, annotations = [], []
    for number, record in enumerate(records, 1):
        height, width = record["height"], record["width"]
        image = {"id": number, "file_name": record["image"]}
        images.append({**image, "width": width, "height": height})
        for cell in record["cells"]:
            x0, y0, x1, y1 = cell["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": numbers.get(cell.get("answer"), cell["class_id"]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": cell["area"],
                    "iscrowd": 0,
                    "segmentation": {"size": [height, width], "counts": cell["runs"]},
                    "score": cell["confidence"],
                    "cell": cell["id"],
                    **{key: cell[key] for key in ANSWERED if key in cell},
                }
            )
    content = dict(images=images, annotations=annotations, categories=categories)
    write_text(file, json.dumps(content) + "\n")


def write_geojson(folder: Path, records: Sequence[Mapping]) -> None:
    """Write a file an image as QuPath imports it; the folder is replaced as a whole."""
    building = folder.with_name(f".{folder.name}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    for record, name in zip(records, geojson_names(records), strict=True):
        features = [_feature(cell, record) for cell in record["cells"]]
        content = {"type": "FeatureCollection", "features": features}
        path = building / PurePosixPath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    building.replace(folder)


def geojson_names(records: Sequence[Mapping]) -> list[str]:
    """Return a file name an image: its own, with the suffix only where needed.

    One that would be too long is cut.
    """
    bare = [PurePosixPath(record["image"]).with_suffix("") for record in records]
    often = Counter(str(path).lower() for path in bare)
    whole = [PurePosixPath(record["image"]) for record in records]
    # `a.png.jpg` without its suffix is another image's name with it.
    often.update(str(path).lower() for path in whole)
    chosen = [
        path if often[str(path).lower()] == 1 else own
        for path, own in zip(bare, whole, strict=True)
    ]
    return [str(p.with_name(fitting_name(p.name, ".geojson"))) for p in chosen]


def _feature(cell: Mapping, record: Mapping) -> dict:
    # Each polygon is its outer ring and its holes; a ring ends where it begins.
    polygons = [
        [[list(point) for point in [*ring, ring[0]]] for ring in rings]
        for rings in pixel_rings(inside_box(cell, record["height"]), *cell["box"][:2])
    ]
    single = len(polygons) == 1
    geometry = {
        "type": "Polygon" if single else "MultiPolygon",
        "coordinates": polygons[0] if single else polygons,
    }
    name, colour = cell["class"], record["colours"][cell["class_id"]]
    if cell.get("answer") == OTHER:
        name, colour = OTHER, list(OTHER_COLOUR)
    identity = f"{record['image']!r} {cell['id']}"
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "name": str(cell["id"]),
            "classification": {"name": name, "color": colour},
            **({"answer": cell["answer"]} if "answer" in cell else {}),
            "measurements": {
                "confidence": cell["confidence"],
                **{key: cell[key] for key in (*MEASURED, "other") if key in cell},
            },
        },
    }


def inside_box(cell: Mapping, height: int) -> np.ndarray:
    """Return which pixels of its box a recorded cell covers, bool (h, w)."""
    x0, y0, x1, y1 = cell["box"]
    ends = np.cumsum(run_lengths(cell["runs"]))
    columns, rows = np.mgrid[x0:x1, y0:y1]
    # A pixel lies in the run whose end is the first beyond it; odd runs are inside.
    run = np.searchsorted(ends, columns * height + rows, side="right")
    return (run % 2 == 1).T


def pixel_rings(inside: np.ndarray, x: int = 0, y: int = 0) -> list[list[Ring]]:
    """Return the outlines of a cell along the edges of its pixels.

    Args:
        inside: bool (h, w), the cell in its box.
        x, y: the box's upper left corner in the image, in pixels.

    Returns:
        For every piece (4 neighbours) its rings: the outer one, clockwise as seen, then
        its holes. A ring's first point is not repeated.
    """
    number, pieces = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    polygons = []
    for piece in range(1, number):
        rings = [
            [(px + x, py + y) for px, py in ring] for ring in _rings(pieces == piece)
        ]
        polygons.append(sorted(rings, key=_signed_area, reverse=True))
    return polygons


def _rings(inside: np.ndarray) -> list[Ring]:
    # Follows the edges between inside and outside, the inside on the right hand.
    padded = np.pad(inside, 1)
    # A side's outer neighbours, its start and its end from the pixel's corner.
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for outer, (sx, sy), (ex, ey) in sides:
        for row, column in np.argwhere(inside & ~outer).tolist():
            start, end = (column + sx, row + sy), (column + ex, row + ey)
            ends.setdefault(start, []).append(end)
    rings = []
    while ends:
        rings.append(_ring(ends))
    return rings


def _ring(ends: dict[tuple[int, int], list[tuple[int, int]]]) -> Ring:
    start = here = min(ends)
    ring: Ring = []
    direction = (0, 0)
    while True:
        choices = ends[here]
        # Where two pixels touch by a corner alone, turn right: they are not neighbours.
        right = (here[0] - direction[1], here[1] + direction[0])
        end = right if len(choices) > 1 and right in choices else choices[0]
        choices.remove(end)
        if not choices:
            del ends[here]
        step = (end[0] - here[0], end[1] - here[1])
        if step != direction:
            ring.append(here)
        here, direction = end, step
        if here == start:
            return ring


def _signed_area(ring: Ring) -> int:
    pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)
