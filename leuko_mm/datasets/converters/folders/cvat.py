"""XML: what CVAT exports for images; boxes of Pascal VOC and others are named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from leuko_mm.datasets.converters.folders.annotation import (
    MIN_KEPT,
    Annotation,
    Patch,
    Reader,
    check_size,
    fill_rings,
    paint,
    share_inside,
)
from leuko_mm.datasets.prepared import DatasetError

Element = ElementTree.Element
MASKS_INSTEAD = "export masks, COCO segmentation or another form of outlines"


def load_xml(path: Path) -> Element:
    """Return the root of an XML file; refuse one that declares entities."""
    try:
        content = path.read_bytes()
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.Parse(content, True)
        return ElementTree.fromstring(content)
    except (OSError, ValueError, LookupError, SyntaxError, expat.ExpatError) as error:
        raise DatasetError(f"{path} cannot be read as XML ({error})") from None


def _refuse_doctype(*_: object) -> None:
    raise ValueError("it has a DOCTYPE, which can expand without end; remove that")


def is_xml(content: object) -> bool:
    """Tell whether a file that was loaded is XML."""
    return isinstance(content, Element)


def cvat_images(path: Path, root: Element) -> list[tuple[str, Reader]]:
    """Return name and reader of every image that a file of CVAT lists."""
    if root.tag == "annotations" and root.find("track") is not None:
        raise DatasetError(f"{path}: CVAT for video; export 'CVAT for images 1.1'")
    if root.tag == "annotation":
        boxes = root.find(".//bndbox") is not None
        kind = "boxes of Pascal VOC, which have no outline" if boxes else "no CVAT"
        raise DatasetError(f"{path}: {kind}; {MASKS_INSTEAD}")
    images = root.findall("image") if root.tag == "annotations" else []
    if not images or any(not image.get("name") for image in images):
        raise DatasetError(
            f"{path}: XML of <{root.tag[:40]}> without <image name=...>; expected "
            f"'CVAT for images 1.1'; {MASKS_INSTEAD}"
        )
    return [(image.get("name"), _reader(path, image)) for image in images]


def _reader(path: Path, image: Element) -> Reader:
    def read(height: int, width: int) -> Annotation:
        what = f"{path}: {image.get('name')}"
        check_size(what, (image.get("height"), image.get("width")), height, width)
        try:
            return paint(_patches(image, height, width), height, width)
        except ValueError as error:
            raise DatasetError(f"{what}: {error}") from None

    return read


def _patches(image: Element, height: int, width: int) -> Iterator[Patch]:
    shapes = [shape for shape in image if shape.tag != "tag"]
    for shape in sorted(shapes, key=lambda shape: _number(shape, "z_order", "0")):
        key = (shape.get("label") or "").strip()
        if not key:
            raise ValueError(f"a {shape.tag} without a label")
        if shape.tag == "polygon":
            text = shape.get("points", "").rstrip(";")
            points = [point.split(",") for point in text.split(";")]
            if any(len(point) != 2 for point in points):
                raise ValueError(
                    f"a polygon of {key!r} has the points {text[:40]!r}; expected "
                    "'x,y;x,y;...'"
                )
            yield fill_rings(key, [points], height=height, width=width)
        elif shape.tag == "mask":
            yield _mask(key, shape, height, width)
        else:
            raise ValueError(
                f"{shape.tag} of {key!r}, which is no outline; expected polygons and "
                "masks: draw those, or leave the others out"
            )


def _number(shape: Element, name: str, default: str | None = None) -> int:
    text = shape.get(name, default)
    try:
        return int(text if len(text) < 10 else "")
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} of a {shape.tag} is {str(text)[:20]!r}; expected a whole number"
        ) from None


def _mask(key: str, shape: Element, height: int, width: int) -> Patch:
    x, y, columns, rows = (
        _number(shape, name) for name in ("left", "top", "width", "height")
    )
    texts = shape.get("rle", "").split(",")
    runs = [int(text) for text in texts if text.strip().isdigit() and len(text) < 10]
    if len(runs) != len(texts) or sum(runs) != rows * columns or min(rows, columns) < 1:
        raise ValueError(
            f"a mask of {key!r} has run lengths of {sum(runs)} pixels; expected "
            f"{columns}x{rows}"
        )
    ends = np.array([x, y]), np.array([x + columns, y + rows])
    kept = share_inside(*ends, (width, height))
    if kept < MIN_KEPT:  # which is refused, and may be of any size
        return Patch(key, x, y, np.zeros((0, 0), bool), kept=kept)
    # Runs of outside and inside, row by row.
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(rows, columns)
    return Patch(key, x, y, inside, kept=kept)
