"""What is kept of one image: its files in one folder, which appears whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from leuko_mm.datasets.cell_outlines import run_length_text
from leuko_mm.inference.prediction import Cell, Prediction
from leuko_mm.report.cell_overlay import DrawnCell, cell_overlay, reduced
from leuko_mm.report.palette import save_palette_png

SCHEMA = 1
RECORD, LABELS, OVERLAY, CUTOUTS = "record.json", "labels.png", "overlay.png", "cells"
IMAGES = "images"
BUILDING = ".building"
# Overlays are to be looked at: larger ones are shrunk by a whole number.
OVERLAY_PIXELS = 36_000_000
MARGIN = 0.12  # around a cut-out, of the cell's longer side
DIGITS = 6


def folder_of(out: Path, name: str) -> Path:
    """Return the folder of an image's files."""
    return out / IMAGES / PurePosixPath(name)


def write_image_files(
    out: Path,
    name: str,
    *,
    pixels: np.ndarray,
    prediction: Prediction,
    facts: Mapping,
) -> dict:
    """Write labels, overlay, cut-outs and the record of one image, all or nothing.

    Args:
        out: folder of the results.
        name: of the image.
        pixels: the image, uint8 RGB.
        prediction: of it.
        facts: on the file, for the record.

    Returns:
        The record.

    Raises:
        OSError: if it cannot be written; nothing is left then.
    """
    building = out / BUILDING
    shutil.rmtree(building, ignore_errors=True)
    (building / CUTOUTS).mkdir(parents=True)
    try:
        save_palette_png(building / LABELS, prediction.labels, prediction.colours)
        factor = _write_overlay(building / OVERLAY, pixels, prediction)
        for cell in prediction.cells:
            file = building / CUTOUTS / cutout_name(cell, prediction.classes)
            Image.fromarray(cut_out(pixels, cell.box)).save(file)
        record = _record(name, prediction, {**facts, "overlay_shrunk": factor})
        text = json.dumps(record, indent=1) + "\n"
        (building / RECORD).write_text(text, encoding="utf-8")
        place = folder_of(out, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(building, place)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return record


def _write_overlay(path: Path, pixels: np.ndarray, prediction: Prediction) -> int:
    factor = 1
    while pixels.shape[0] * pixels.shape[1] > OVERLAY_PIXELS * factor**2:
        factor += 1
    image, instances = reduced(pixels, prediction.instances, factor)
    height, width = instances.shape
    limits = (width, height, width, height)
    cells = [
        DrawnCell(
            cell.id,
            prediction.colours[cell.class_id],
            tuple(
                min(side // factor + (factor > 1 and end > 1), limit)
                for end, (side, limit) in enumerate(zip(cell.box, limits, strict=True))
            ),
        )
        for cell in prediction.cells
    ]
    # Level 3: a tenth larger than the usual 6, in half the time.
    drawn = Image.fromarray(cell_overlay(image, instances, cells))
    drawn.save(path, compress_level=3)
    return factor


def cutout_name(cell: Cell, classes: tuple[str, ...]) -> str:
    """Return the file name of a cell's cut-out, such as ``003_monocyte.png``."""
    return f"{cell.id:03}_{classes[cell.class_id]}.png"


def cut_out(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return the window around a cell, with a little of what surrounds it.

    Example:
        >>> cut_out(np.zeros((100, 80, 3), np.uint8), (10, 0, 60, 50)).shape
        (56, 62, 3)
    """
    x0, y0, x1, y1 = box
    margin = round(MARGIN * max(x1 - x0, y1 - y0))
    rows = slice(max(0, y0 - margin), y1 + margin)
    return np.ascontiguousarray(pixels[rows, max(0, x0 - margin) : x1 + margin])


def _record(name: str, prediction: Prediction, facts: Mapping) -> dict:
    height, width = prediction.labels.shape
    return {
        "schema": SCHEMA,
        "image": name,
        "width": width,
        "height": height,
        **facts,
        "classes": list(prediction.classes),
        "colours": [list(colour) for colour in prediction.colours],
        "scale": _rounded(asdict(prediction.scale)),
        "cells": [_cell(cell, prediction) for cell in prediction.cells],
    }


def _cell(cell: Cell, prediction: Prediction) -> dict:
    height, width = prediction.labels.shape
    x0, y0, x1, y1 = cell.box
    inside = prediction.instances[y0:y1, x0:x1] == cell.id
    return {
        **_rounded(asdict(cell)),
        "class": prediction.classes[cell.class_id],
        "runs": run_length_text(inside, x0, y0, height=height, width=width),
    }


def _rounded(value: object) -> object:
    """Return plain data without numpy's types, floats to ``DIGITS`` digits."""
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_rounded(part) for part in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), DIGITS)
    return value


def forget(out: Path, name: str) -> None:
    """Remove the files of an image that cannot be used any more."""
    if (folder_of(out, name) / RECORD).is_file():
        shutil.rmtree(folder_of(out, name))


def read_record(folder: Path) -> dict | None:
    """Return the record in an image's folder, None if there is none of this version."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and record.get("schema") == SCHEMA
    return record if whole else None


def records_below(out: Path) -> Iterator[dict]:
    """Yield the records of a folder of results, by the names of their images."""
    found = [read_record(file.parent) for file in (out / IMAGES).rglob(RECORD)]
    yield from sorted(filter(None, found), key=lambda record: record["image"])
