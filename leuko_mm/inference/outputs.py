"""The files of a prediction: one folder an image, tables, and the page.

What is written here is read back to the pixel by ``converters.folders.coco`` and
``converters.folders.labelme_qupath``.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image

import leuko_mm
from leuko_mm.classes import BACKGROUND, CLASSES
from leuko_mm.files import printable, write_table
from leuko_mm.inference.cells import (
    UNSURE,
    Cell,
    DifferentialRow,
    Prediction,
    differential_of_counts,
)
from leuko_mm.report.overlay import (
    DrawnCell,
    cell_overlay,
    fitted,
    reduced,
    save_palette_png,
)
from leuko_mm.report.predict_page import (
    FIELD_SIDE,
    CountedClass,
    FoundCell,
    FoundField,
    PredictReport,
    doubtful_first,
)
from leuko_mm.report.run_page import ClassLabel

Ring = list[tuple[int, int]]


def run_length_text(
    inside: np.ndarray, x: int, y: int, *, height: int, width: int
) -> str:
    """Return COCO's compressed run lengths of a cell in its image.

    The image's own mask is never made, so that the size of the image costs nothing.

    Args:
        inside: bool (h, w), the cell in its box.
        x, y: place of the box's upper left pixel in the image.
        height, width: of the image.

    Raises:
        ValueError: if the box leaves the image, or nothing is inside.

    Example:
        >>> run_length_text(np.ones((2, 1), bool), 1, 0, height=2, width=3)
        '222'
    """
    h, w = inside.shape
    if x < 0 or y < 0 or x + w > width or y + h > height or not inside.any():
        raise ValueError(
            f"a box of {w}x{h} at ({x}, {y}) with {int(inside.sum())} pixels inside; "
            f"expected some, within {width}x{height}"
        )
    # Column by column: (h, w) -> (w, h), then the place of each pixel in the image.
    columns, rows = np.nonzero(inside.T)
    places = (columns.astype(np.int64) + x) * height + rows + y
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts = places[np.concatenate(([0], breaks + 1))]
    ends = places[np.concatenate((breaks, [len(places) - 1]))] + 1
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.concatenate(([0], edges, [height * width])))
    # A last run of nothing is left out by COCO's own writer, too.
    return _compressed(counts[:-1] if counts[-1] == 0 else counts)


def _compressed(counts: Iterable[int]) -> str:
    runs = [int(count) for count in counts]
    text = []
    for position, run in enumerate(runs):
        value = run - runs[position - 2] if position > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def pixel_rings(inside: np.ndarray, x: int = 0, y: int = 0) -> list[list[Ring]]:
    """Return the outlines of a cell along the edges of its pixels.

    Args:
        inside: bool (h, w), the cell in its box.
        x, y: place of the box's upper left corner in the image.

    Returns:
        For every piece (4 neighbours) its rings: the outer one, clockwise as seen, then
        its holes. A ring's first point is not repeated.

    Example:
        >>> pixel_rings(np.ones((2, 3), bool), 10, 20)
        [[[(10, 20), (13, 20), (13, 22), (10, 22)]]]
    """
    number, pieces = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
    polygons = []
    for piece in range(1, number):
        rings = [_moved(ring, x, y) for ring in _traced(pieces == piece)]
        polygons.append(sorted(rings, key=_signed_area, reverse=True))
    return polygons


def _traced(inside: np.ndarray) -> list[Ring]:
    """Follow the edges between inside and outside, the inside on the right hand."""
    padded = np.pad(inside, 1)
    core = padded[1:-1, 1:-1]
    # (side's outer neighbour, its start and its end relative to the pixel's corner)
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for outer, (sx, sy), (ex, ey) in sides:
        for r, c in zip(*(part.tolist() for part in np.nonzero(core & ~outer))):  # noqa: B905
            following.setdefault((c + sx, r + sy), []).append((c + ex, r + ey))
    rings = []
    while following:
        rings.append(_ring(following))
    return rings


def _ring(following: dict) -> Ring:
    """Take one closed ring out of the edges, corners only."""
    start = here = min(following)
    ring: Ring = []
    direction = (0, 0)
    while True:
        ends = following[here]
        # Where two pixels touch by a corner alone, turn right: they are not neighbours.
        right = (here[0] - direction[1], here[1] + direction[0])
        there = right if len(ends) > 1 and right in ends else ends[0]
        ends.remove(there)
        if not ends:
            del following[here]
        step = (there[0] - here[0], there[1] - here[1])
        if step != direction:
            ring.append(here)
        here, direction = there, step
        if here == start:
            return ring


def _moved(ring: Ring, x: int, y: int) -> Ring:
    return [(px + x, py + y) for px, py in ring]


def _signed_area(ring: Ring) -> int:
    following = [*ring[1:], ring[0]]
    pairs = zip(ring, following, strict=True)
    return sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)


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


CELLS, DIFFERENTIAL, IMAGE_TABLE = "cells.csv", "differential.csv", "images.csv"
# What makes a spreadsheet take a text for a formula, alone or after white space.
FORMULA_MARKS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
SHAPE = ("eccentricity", "solidity", "circularity")
SCALE = ("factor", "how", "confidence", "red_cell_px", "red_cells", "note")


def harmless(value: object) -> object:
    """Return a table's cell that no spreadsheet takes for a formula.

    Example:
        >>> harmless("=1+1"), harmless("a=b"), harmless(-1.5)
        ("'=1+1", 'a=b', -1.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    risky = value[:1] in FORMULA_MARKS or value.lstrip()[:1] in FORMULA_MARKS
    return f"'{text}" if value and risky else text


def write_tables(
    out: Path,
    records: Sequence[Mapping],
    failed: Mapping[str, str],
    classes: Sequence[str],
) -> None:
    """Write ``cells.csv``, ``differential.csv`` and ``images.csv``, each in one move.

    Args:
        out: folder of the results.
        records: of the images, in order.
        failed: image and reason.
        classes: names by id, the background first.
    """
    names = [name for number, name in enumerate(classes) if number != BACKGROUND]
    _write(out / CELLS, cell_header(names), cell_rows(records))
    header = ("class", "count", "percent", "low95", "high95")
    _write(out / DIFFERENTIAL, header, _differential_rows(records, names))
    scale = [f"scale_{key}" for key in SCALE]
    header = ("image", "status", "reason", "width", "height", "cells", *names, *scale)
    _write(out / IMAGE_TABLE, header, image_rows(records, failed, names))


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    write_table(path, header, ([harmless(value) for value in row] for row in rows))


def cell_header(names: Sequence[str]) -> list[str]:
    """Return the columns of ``cells.csv``, given the classes of cells."""
    return [
        *("image", "id", "class", "confidence"),
        *(f"p_{name}" for name in names),
        *("p_background", "area_px", "x", "y", "x0", "y0", "x1", "y1"),
        *("touches_border", *SHAPE),
    ]


def cell_rows(records: Iterable[Mapping]) -> Iterator[list]:
    """Yield the rows of ``cells.csv``."""
    for record in records:
        for cell in record["cells"]:
            yield [
                *(record["image"], cell["id"], cell["class"], cell["confidence"]),
                *cell["probabilities"][BACKGROUND + 1 :],
                *(cell["background"], cell["area"], *cell["centroid"], *cell["box"]),
                *(int(cell["touches_border"]), *(cell[key] for key in SHAPE)),
            ]


def counts_of(records: Iterable[Mapping], names: Sequence[str]) -> dict[str, int]:
    """Return the cells of each class over all records."""
    counts = dict.fromkeys(names, 0)
    for record in records:
        for cell in record["cells"]:
            counts[cell["class"]] += 1
    return counts


def count_table(
    records: Iterable[Mapping], names: Sequence[str]
) -> tuple[DifferentialRow, ...]:
    """Return the differential count over all records."""
    return differential_of_counts(counts_of(records, names))


def _differential_rows(records: Sequence[Mapping], names: Sequence[str]):
    for row in count_table(records, names):
        shares = (round(share, 2) for share in (row.percent, row.low, row.high))
        yield (row.name, row.count, *shares)


def image_rows(
    records: Iterable[Mapping], failed: Mapping[str, str], names: Sequence[str]
) -> list[list]:
    """Return the rows of ``images.csv``: what was done and what failed, by name."""
    rows = [
        [
            *(record["image"], "done", "", record["width"], record["height"]),
            *(len(record["cells"]), *counts_of([record], names).values()),
            *(record["scale"][key] for key in SCALE),
        ]
        for record in records
    ]
    empty = [""] * (3 + len(names) + len(SCALE))
    rows += [[name, "failed", reason, *empty] for name, reason in failed.items()]
    return sorted(rows, key=lambda row: row[0])


# More would make a page that a phone cannot open: about 3 and 70 kilobytes each.
MOST_THUMBNAILS, MOST_FIELDS = 600, 60
SHORT = {known.name: known.aliases[0] for known in CLASSES}
PLAIN_COLOUR = (0, 114, 178)


def predict_page(
    out: Path,
    records: Sequence[Mapping],
    failed: Mapping[str, str],
    state: Mapping,
) -> PredictReport:
    """Return the page's data.

    Args:
        out: folder of the results.
        records: of the images, in order.
        failed: image and reason.
        state: of ``predict.json``.
    """
    labels = class_labels(state["classes"], records)
    flat = [(n, cell) for n, record in enumerate(records) for cell in record["cells"]]
    doubts = [(cell["confidence"], cell["class_id"]) for _, cell in flat]
    shown = doubtful_first(doubts, MOST_THUMBNAILS)
    keys = {(flat[place][0], flat[place][1]["id"]) for place in shown}
    pictured = _pictured(flat, shown, len(records))
    fields = [
        _field(out, number, record, keys, number in pictured)
        for number, record in enumerate(records)
    ]
    return PredictReport(
        name=printable(_name(state)),
        summary=_summary(records, failed),
        classes=labels,
        differential=_differential(records, labels),
        fields=tuple(fields),
        failed=tuple((printable(n), printable(r)) for n, r in failed.items()),
        facts=_facts(state),
        left_out=_left_out(len(flat), len(shown), len(records), len(pictured)),
        command=command_back(state, failed),
        version=leuko_mm.__version__,
        closing="For research. Not a medical device: a person judges every cell.",
    )


def class_labels(
    classes: Sequence[str], records: Sequence[Mapping]
) -> tuple[ClassLabel, ...]:
    """Return how the page names the classes, and their colours."""
    colours = records[0]["colours"] if records else [c.colour for c in CLASSES]
    return tuple(
        ClassLabel(name, SHORT.get(name, name[:4]), _visible(colours[number]))
        for number, name in enumerate(classes)
    )


def _visible(colour: Sequence[int]) -> tuple[int, int, int]:
    # White, the colour of leukocytes without a class, is lost on a white page.
    red, green, blue = colour
    return PLAIN_COLOUR if min(colour) > 240 else (red, green, blue)


def _pictured(
    flat: Sequence[tuple], shown: frozenset[int], images: int
) -> frozenset[int]:
    """Return the images whose picture is on the page: those of doubtful cells first."""
    order = sorted(shown, key=lambda place: (flat[place][1]["confidence"], place))
    numbers = [*(flat[place][0] for place in order), *range(images)]
    return frozenset(list(dict.fromkeys(numbers))[:MOST_FIELDS])


def _field(
    out: Path, number: int, record: Mapping, keys: set, pictured: bool
) -> FoundField:
    folder = folder_of(out, record["image"])
    scale = record["scale"]
    return FoundField(
        name=printable(record["image"]),
        file_name=record["image"],
        width=record["width"],
        height=record["height"],
        overlay=folder.relative_to(out).joinpath(OVERLAY).as_posix(),
        scale=scale["note"] or f"scale {scale['factor']:.3g} ({scale['how']})",
        cells=tuple(
            FoundCell(
                id=cell["id"],
                class_id=cell["class_id"],
                confidence=cell["confidence"],
                probabilities=tuple(cell["probabilities"]),
                box=tuple(cell["box"]),
                area=cell["area"],
                touches_border=cell["touches_border"],
                runs=cell["runs"],
                thumbnail=_cut_out(folder, cell)
                if (number, cell["id"]) in keys
                else None,
            )
            for cell in record["cells"]
        ),
        picture=_picture(folder / OVERLAY) if pictured else None,
    )


def _cut_out(folder: Path, cell: Mapping) -> np.ndarray:
    name = f"{cell['id']:03}_{cell['class']}.png"
    with Image.open(folder / CUTOUTS / name) as image:
        return np.array(image.convert("RGB"))


def _picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        picture = np.array(image.convert("RGB"))
    # Shrunk at once: sixty whole fields are half a gigabyte.
    return fitted(picture, min(FIELD_SIDE, max(picture.shape[:2])))


def _name(state: Mapping) -> str:
    images = state["images"]
    return images[0] if len(images) == 1 else Path(state["root"]).name or "images"


def _summary(records: Sequence[Mapping], failed: Mapping) -> str:
    cells = [cell for record in records for cell in record["cells"]]
    cut = sum(cell["touches_border"] for cell in cells)
    empty = sum(not record["cells"] for record in records)
    guessed = sum(record["scale"]["how"] == "assumed" for record in records)
    words = f"{_number(len(cells), 'cell')} in {_number(len(records), 'image')}"
    if empty:
        words += f", {empty} of them without a cell"
    if cut:
        words += f"; {cut} cells touch the border of their image and are counted too"
    if guessed:
        words += (
            f"; the scale of {_number(guessed, 'image')} was not found and is only "
            "assumed"
        )
    unsure = sum(record["scale"]["confidence"] < UNSURE for record in records) - guessed
    if unsure:
        words += (
            f"; the scale of {_number(unsure, 'image')} is sure to less than "
            f"{UNSURE:.0%}"
        )
    if failed:
        words += f"; {_number(len(failed), 'file')} could not be read"
    return f"{words}."


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _differential(
    records: Sequence[Mapping], labels: Sequence[ClassLabel]
) -> tuple[CountedClass, ...]:
    rows = count_table(records, [label.name for label in labels[1:]])
    return tuple(
        CountedClass(label, row.count, row.percent, row.low, row.high)
        for label, row in zip(labels[1:], rows, strict=True)
    )


def _facts(state: Mapping) -> tuple[tuple[str, str], ...]:
    settings = state["settings"]
    known = {key: settings.get(key) for key in ("scale", "um_per_px", "min_area")}
    given = {
        "images": state["root"],
        "checkpoint": f"{state['checkpoint']}, sha256 "
        f"{settings['checkpoint_sha256'][:16]}",
        "scale": known["scale"] or "estimated from the red cells",
        "size of a pixel": known["um_per_px"] and f"{known['um_per_px']} µm",
        "smallest cell": known["min_area"] and f"{known['min_area']} pixels",
        "mirrored and turned too": "yes" if settings.get("tta") else "no",
        "leuko_mm": leuko_mm.__version__,
    }
    if known["um_per_px"]:
        del given["scale"]
    return tuple((name, printable(str(v))) for name, v in given.items() if v)


def _left_out(
    cells: int, thumbnails: int, images: int, pictures: int
) -> tuple[str, ...]:
    words = []
    if thumbnails < cells:
        words.append(
            f"{thumbnails} of {cells} cells are shown, the most doubtful of each "
            "class; all of them are in cells.csv, as cut-outs beside this page, and in "
            "saved corrections."
        )
    if pictures < images:
        words.append(
            f"The fields of {pictures} of {images} images are in this page; those of "
            "the others open from the files beside it."
        )
    return tuple(words)


def command_back(state: Mapping, failed: Mapping) -> str:
    """Return the command that makes a dataset of the images and saved corrections."""
    words = ["leuko", "prepare", "folders", state["root"], "corrections.json"]
    words += ["--name", "corrected", "--yes"]
    if failed or state["settings"].get("shard"):
        words.append("--skip-unpaired")
    return printable(shlex.join(words))
