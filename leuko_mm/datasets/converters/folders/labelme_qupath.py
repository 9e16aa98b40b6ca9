"""One JSON file an image: LabelMe's shapes, and the GeoJSON that QuPath exports."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Patch,
    Reader,
    as_points,
    check_size,
    expect,
    fill_circle,
    fill_rings,
    paint,
    share_inside,
    union,
)
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.files import read_any_json

UNNAMED = "unclassified"


def load_json(path: Path) -> object:
    """Return the content of a JSON file."""
    try:
        return read_any_json(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as JSON ({error})") from None


def is_labelme(content: object) -> bool:
    """Tell whether a JSON file is one of LabelMe."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def is_geojson(content: object) -> bool:
    """Tell whether a JSON file holds features: a collection, a list, or one."""
    first = content[0] if isinstance(content, list) and content else content
    kinds = ("FeatureCollection", "Feature")
    return content == [] or (isinstance(first, dict) and first.get("type") in kinds)


def labelme_reader(path: Path) -> Reader:
    """Return the reader of a LabelMe file: polygons, rectangles, circles and masks."""

    def read(height: int, width: int) -> Annotation:
        content = load_json(path)
        if not is_labelme(content):
            raise DatasetError(f"{path} is no LabelMe file; it has no list 'shapes'")
        size = content.get("imageHeight"), content.get("imageWidth")
        if None not in size:
            check_size(path, size, height, width)
        return _painted(path, _labelme_patches(content, height, width), height, width)

    return read


def geojson_reader(path: Path) -> Reader:
    """Return the reader of a GeoJSON file as QuPath exports it, in pixels."""

    def read(height: int, width: int) -> Annotation:
        content = load_json(path)
        if not is_geojson(content):
            raise DatasetError(f"{path} holds no GeoJSON features")
        features = content
        if isinstance(content, dict):
            features = content.get("features", [content])
        return _painted(path, _geojson_patches(features, height, width), height, width)

    return read


def _painted(
    path: Path, patches: Iterator[Patch], height: int, width: int
) -> Annotation:
    try:
        return paint(patches, height, width)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _labelme_patches(content: dict, height: int, width: int) -> Iterator[Patch]:
    image = dict(height=height, width=width)
    for number, shape in enumerate(content["shapes"]):
        expect(shape, dict, f"shape {number}")
        label = shape.get("label")
        key = UNNAMED if label is None else str(label).strip() or UNNAMED
        kind = shape.get("shape_type") or "polygon"
        points = expect(
            shape.get("points"), list, f"points of shape {number} ({key!r})"
        )
        if kind == "polygon" or (kind == "rectangle" and len(points) == 4):
            yield fill_rings(key, [points], **image)
        elif kind == "rectangle" and len(points) == 2:
            (ax, ay), (bx, by) = as_points(points)
            corners = [(ax, ay), (bx, ay), (bx, by), (ax, by)]
            yield fill_rings(key, [corners], **image)
        elif kind == "circle" and len(points) == 2:
            yield fill_circle(key, *points, **image)
        elif kind == "mask" and shape.get("mask") and points:
            yield _stored_mask(key, shape["mask"], points, **image)
        else:
            raise ValueError(
                f"shape {number} ({key!r}) is a {str(kind)[:20]} of {len(points)} "
                "point(s); expected a polygon, a rectangle or circle of two points, or "
                "a mask, which have an inside"
            )


def _stored_mask(
    key: str, text: str, points: list, *, height: int, width: int
) -> Patch:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as image:
            inside = np.array(image.convert("L")) > 0
    except Exception:  # decoders raise anything on broken content
        raise ValueError(f"the mask of {key!r} is no PNG in base64") from None
    x, y = (round(value) for value in as_points(points[:1])[0].tolist())
    low, high = np.array([x, y]), np.array([x + inside.shape[1], y + inside.shape[0]])
    return Patch(key, x, y, inside, kept=share_inside(low, high, (width, height)))


def _geojson_patches(features: object, height: int, width: int) -> Iterator[Patch]:
    for number, feature in enumerate(expect(features, list, "'features'")):
        expect(feature, dict, f"feature {number}")
        key = _classification(feature, number)
        what = f"geometry of feature {number} ({key!r})"
        geometry = expect(feature.get("geometry"), dict, what)
        kind, coordinates = geometry.get("type"), geometry.get("coordinates")
        if kind not in ("Polygon", "MultiPolygon"):
            raise ValueError(
                f"feature {number} ({key!r}) is a {str(kind)[:20]}; expected a Polygon "
                "or MultiPolygon, which have an inside"
            )
        parts = expect(coordinates, list, f"coordinates of the {what}")
        parts = [parts] if kind == "Polygon" else parts
        patches = [
            fill_rings(key, expect(rings, list, what), height=height, width=width)
            for rings in parts
        ]
        yield union(key, patches, height, width)


def _classification(feature: dict, number: int) -> str:
    what = f"of feature {number}"
    properties = expect(feature.get("properties") or {}, dict, f"properties {what}")
    named = properties.get("classification") or {}
    if isinstance(named, str):
        named = dict(name=named)
    expect(named, dict, f"classification {what}")
    # Newer QuPath writes "names", with the derived classes after the first.
    names = named.get("names") or [named.get("name") or properties.get("name") or ""]
    expect(names, list, f"names {what}")
    return ": ".join(str(name).strip() for name in names) or UNNAMED
