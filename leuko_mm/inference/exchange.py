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

import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.datasets.converters.folders.coco import run_lengths
from leuko_mm.files import write_text
from leuko_mm.inference.outputs import pixel_rings

COCO, GEOJSON = "coco.json", "geojson"
MEASURED = ("area", "eccentricity", "solidity", "circularity")


def coco_content(records: Sequence[Mapping], classes: Sequence[str]) -> dict:
    """Return all cells of all images as one COCO file has them."""
    categories = [
        {"id": number, "name": name}
        for number, name in enumerate(classes)
        if number != BACKGROUND
    ]
    images, annotations = [], []
    for number, record in enumerate(records, 1):
        height, width = record["height"], record["width"]
        images.append(
            {
                "id": number,
                "file_name": record["image"],
                "width": width,
                "height": height,
            }
        )
        for cell in record["cells"]:
            x0, y0, x1, y1 = cell["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": cell["class_id"],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": cell["area"],
                    "iscrowd": 0,
                    "segmentation": {"size": [height, width], "counts": cell["runs"]},
                    "score": cell["confidence"],
                    "cell": cell["id"],
                }
            )
    return {"images": images, "annotations": annotations, "categories": categories}


def geojson_content(record: Mapping) -> dict:
    """Return the cells of one image as QuPath exports and imports objects."""
    return {
        "type": "FeatureCollection",
        "features": [_feature(cell, record) for cell in record["cells"]],
    }


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
    colour = record["colours"][cell["class_id"]]
    identity = f"{record['image']!r} {cell['id']}"
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
        "geometry": geometry,
        "properties": {
            "objectType": "annotation",
            "name": str(cell["id"]),
            "classification": {"name": cell["class"], "color": colour},
            "measurements": {
                "confidence": cell["confidence"],
                **{key: cell[key] for key in MEASURED},
            },
        },
    }


def inside_box(cell: Mapping, height: int) -> np.ndarray:
    """Return which pixels of its box a recorded cell covers, bool (h, w).

    Args:
        cell: of a record.
        height: of its image.
    """
    x0, y0, x1, y1 = cell["box"]
    ends = np.cumsum(run_lengths(cell["runs"]))
    columns, rows = np.mgrid[x0:x1, y0:y1]
    # A pixel lies in the run whose end is the first beyond it; odd runs are inside.
    run = np.searchsorted(ends, columns * height + rows, side="right")
    return (run % 2 == 1).T


def write_exchange(
    out: Path,
    records: Sequence[Mapping],
    classes: Sequence[str],
    *,
    coco: bool,
    geojson: bool,
) -> None:
    """Write what was asked for; the GeoJSON files appear together."""
    if coco:
        write_text(out / COCO, json.dumps(coco_content(records, classes)) + "\n")
    if not geojson:
        return
    building = out / f".{GEOJSON}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    for record, name in zip(records, geojson_names(records), strict=True):
        path = building / PurePosixPath(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(geojson_content(record)) + "\n", encoding="utf-8")
    shutil.rmtree(out / GEOJSON, ignore_errors=True)
    building.replace(out / GEOJSON)


def geojson_names(records: Sequence[Mapping]) -> list[str]:
    """Return a file name an image: its own, with the suffix only where needed.

    Example:
        >>> geojson_names([{"image": n} for n in ("a/1.png", "2.png", "2.jpg")])
        ['a/1.geojson', '2.png.geojson', '2.jpg.geojson']
    """
    bare = [PurePosixPath(record["image"]).with_suffix("") for record in records]
    often = Counter(str(path).lower() for path in bare)
    return [
        f"{path if often[str(path).lower()] == 1 else record['image']}.geojson"
        for path, record in zip(bare, records, strict=True)
    ]
