"""The files of a prediction: one folder an image, tables, and the report.

Tables and report are made from the ``record.json`` of each image.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

import leuko_mm
from leuko_mm.classes import BACKGROUND, CLASSES, OTHER, OTHER_COLOUR, UNSURE
from leuko_mm.files import printable, read_any_json, write_table, write_text
from leuko_mm.inference.cells import (
    UNSURE_SCALE,
    Box,
    DifferentialRow,
    Prediction,
    differential_of_counts,
)
from leuko_mm.inference.scale import ANOTHER_SIZE
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
    LinkedPicture,
    PredictReport,
    doubtful_first,
    render_predict_report,
)
from leuko_mm.report.run_page import ClassLabel

SCHEMA = 1
RECORD, LABELS, OVERLAY, CUTOUTS = "record.json", "labels.png", "overlay.png", "cells"
IMAGES = "images"
CELLS, DIFFERENTIAL, IMAGE_TABLE = "cells.csv", "differential.csv", "images.csv"
REPORT = "report.html"
EXCLUDED = "excluded"  # share of an image that is no smear
SHOWN = 5  # names in a sentence
DOUBTS = "doubts"  # why the classes of all cells of an image are doubtful
PREDICTED = "predicted"  # the model's answer about a corrected cell
DIGITS = 6  # of floats in records
MARGIN = 0.12  # around a cut-out, of the cell's longer side
# Larger overlays are shrunk by a whole number.
OVERLAY_PIXELS = 36_000_000
# Columns of the tables.
SHAPE = ("eccentricity", "solidity", "circularity")
SCALE = ("factor", "how", "confidence", "red_cell_px", "red_cells", "note")
# Of a recorded cell, what the page needs.
PAGE_KEYS = (
    *("id", "class_id", "confidence", "probabilities"),
    *("box", "area", "touches_border", "runs"),
)
# What the number beside a count is; that of a class is percent of all classes.
UNITS = {UNSURE: "% of all leukocytes", OTHER: "per 100 leukocytes"}
# A spreadsheet takes a text for a formula after these, white space before them or not.
FORMULA_MARKS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
# More would make a page that a phone cannot open: about 3 and 70 kilobytes each.
MOST_THUMBNAILS, MOST_FIELDS = 600, 60
SHORT_NAMES = {known.name: known.aliases[0] for known in CLASSES}
# Instead of white, the colour of leukocytes without a class, on a white page.
PLAIN_COLOUR = (0, 114, 178)
CLOSING = "For research. Not a medical device: a person judges every cell."
EXTRA_LABELS = (
    ClassLabel(UNSURE, UNSURE, (205, 205, 205)),
    ClassLabel(OTHER, OTHER, OTHER_COLOUR),
)


def folder_of(out: Path, name: str) -> Path:
    """Return the folder of an image's files."""
    return out / IMAGES / PurePosixPath(name)


def write_image_files(
    out: Path, name: str, pixels: np.ndarray, prediction: Prediction, facts: Mapping
) -> dict:
    """Write the folder of one image, all or nothing; return its record.

    Args:
        out: folder of the results.
        name: of the image.
        pixels: the image, uint8 RGB (H, W, 3).
        prediction: of it.
        facts: on the file, for the record.
    """
    # Of a name of its own: workers of dask write at the same time.
    building = out / f".{IMAGES}.{uuid.uuid4().hex}"
    (building / CUTOUTS).mkdir(parents=True)
    try:
        save_palette_png(building / LABELS, prediction.labels, prediction.colours)
        shrunk = _write_overlay(building / OVERLAY, pixels, prediction)
        record = _record(name, prediction, {**facts, "overlay_shrunk": shrunk})
        for cell in record["cells"]:
            _save_png(building / cutout_path(cell), cut_out(pixels, cell["box"]))
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
            OTHER_COLOUR if cell.is_other else prediction.colours[cell.class_id],
            tuple(
                min(side // factor + (factor > 1 and end > 1), limit)
                for end, (side, limit) in enumerate(zip(cell.box, limits, strict=True))
            ),
            unsure=prediction.answer(cell) == UNSURE,
        )
        for cell in prediction.cells
    ]
    _save_png(path, cell_overlay(image, instances, cells))
    return factor


def _save_png(path: Path, image: np.ndarray) -> None:
    # A photograph is a sixth smaller than by OpenCV's default, and faster to write.
    options = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    path.write_bytes(cv2.imencode(".png", image[..., ::-1], options)[1])


def cutout_path(cell: Mapping) -> str:
    """Return where the cut-out of a recorded cell is below the folder of its image."""
    return f"{CUTOUTS}/{cell['id']:03}_{answer_of(cell)}.png"


def answer_of(cell: Mapping) -> str:
    """Return the name as which a recorded cell counts."""
    return cell.get("answer", cell["class"])


def cut_out(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return the window around a cell, with a margin of ``MARGIN``."""
    x0, y0, x1, y1 = box
    margin = round(MARGIN * max(x1 - x0, y1 - y0))
    rows = slice(max(0, y0 - margin), y1 + margin)
    return np.ascontiguousarray(pixels[rows, max(0, x0 - margin) : x1 + margin])


def _record(name: str, prediction: Prediction, facts: Mapping) -> dict:
    height, width = prediction.labels.shape
    # Records of models that answer no more than the classes stay as they were.
    more = len(prediction.answers) >= len(prediction.classes)
    answers = dict(answers=prediction.answers, accept=prediction.accept) if more else {}
    cells = []
    for cell in prediction.cells:
        x0, y0, x1, y1 = cell.box
        inside = prediction.instances[y0:y1, x0:x1] == cell.id
        values = _rounded(asdict(cell))
        other = values.pop("other")
        cells.append(
            {
                **values,
                "class": prediction.classes[cell.class_id],
                **({"answer": prediction.answer(cell), "other": other} if more else {}),
                "runs": run_length_text(inside, x0, y0, height=height, width=width),
            }
        )
    return {
        "schema": SCHEMA,
        "image": name,
        "width": width,
        "height": height,
        **facts,
        "classes": list(prediction.classes),
        "colours": [list(colour) for colour in prediction.colours],
        **answers,
        "scale": _rounded(asdict(prediction.scale)),
        # Of most images all is smear: their records and tables stay as they were.
        **({EXCLUDED: _rounded(prediction.excluded)} if prediction.excluded else {}),
        **({DOUBTS: list(prediction.doubts)} if prediction.doubts else {}),
        "cells": cells,
    }


def _rounded(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_rounded(item) for item in value]
    return round(float(value), DIGITS) if isinstance(value, float) else value


def run_length_text(
    inside: np.ndarray, x: int, y: int, *, height: int, width: int
) -> str:
    """Return COCO's compressed run lengths of a cell, without a mask of the image.

    Args:
        inside: bool (h, w), the cell in its box.
        x, y: the box's upper left pixel in the image.
        height, width: of the image in pixels.
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
    runs = np.diff(np.concatenate(([0], edges, [height * width]))).tolist()
    if runs[-1] == 0:  # which COCO's own writer leaves out, too
        runs.pop()
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


def remove_image_files(out: Path, name: str) -> None:
    """Remove the folder of an image that can no longer be used."""
    if (folder_of(out, name) / RECORD).is_file():
        shutil.rmtree(folder_of(out, name))


def missing_files(out: Path, record: Mapping) -> list[str]:
    """Return which files of an image that has a record are not there."""
    folder = folder_of(out, record["image"])
    names = [LABELS, OVERLAY, *(cutout_path(cell) for cell in record["cells"])]
    return [name for name in names if not (folder / name).is_file()]


def records_below(out: Path) -> Iterator[dict]:
    """Yield the records of a folder of results, by the names of their images."""
    found = []
    for file in (out / IMAGES).rglob(RECORD):
        try:
            record = read_any_json(file)
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and record.get("schema") == SCHEMA:
            found.append(record)
    yield from sorted(found, key=lambda record: record["image"])


def write_tables(
    out: Path,
    records: Sequence[Mapping],
    failed: Mapping[str, str],
    classes: Sequence[str],
) -> None:
    """Write ``cells.csv``, ``differential.csv`` and ``images.csv``.

    Args:
        out: folder of the results.
        records: of the images, in order.
        failed: image and reason.
        classes: names by id, the background first.
    """
    names, answers = classes[BACKGROUND + 1 :], _answers(records, classes)
    more = ("answer", "other") if len(answers) > len(names) else ()
    # Of corrected cells: the answer of the model.
    if any(PREDICTED in cell for record in records for cell in record["cells"]):
        more += (PREDICTED,)
    header = [
        *("image", "id", "class", "confidence", *(f"p_{name}" for name in names)),
        *("p_background", "area_px", "x", "y", "x0", "y0", "x1", "y1"),
        *("touches_border", *SHAPE),
        *more,
    ]
    _write(out / CELLS, header, _cell_rows(records, more))
    header = ("class", "count", "percent", "low95", "high95")
    rows = [
        (
            *(row.name, row.count),
            *(
                "" if math.isnan(x) else round(x, 2)
                for x in (row.percent, row.low, row.high)
            ),
        )
        for row in count_table(records, classes)
    ]
    _write(out / DIFFERENTIAL, header, rows)
    scale = [f"scale_{key}" for key in SCALE]
    header = ["image", "status", "reason", "width", "height", "cells", *answers, *scale]
    header += [EXCLUDED] * any(EXCLUDED in record for record in records)
    _write(out / IMAGE_TABLE, header, _image_rows(records, failed, answers))


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    write_table(path, header, ([harmless(value) for value in row] for row in rows))


def harmless(value: object) -> object:
    """Return a value of a table that no spreadsheet takes for a formula."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    risky = value[:1] in FORMULA_MARKS or value.lstrip()[:1] in FORMULA_MARKS
    return f"'{text}" if value and risky else text


def _cell_rows(records: Iterable[Mapping], more: Sequence[str]) -> Iterator[list]:
    for record in records:
        for cell in record["cells"]:
            yield [
                *(record["image"], cell["id"], cell["class"], cell["confidence"]),
                *cell["probabilities"][BACKGROUND + 1 :],
                *(cell["background"], cell["area"], *cell["centroid"], *cell["box"]),
                *(int(cell["touches_border"]), *(cell[key] for key in SHAPE)),
                *(cell.get(key, "") for key in more),
            ]


def _image_rows(
    records: Sequence[Mapping], failed: Mapping[str, str], names: Sequence[str]
) -> list[list]:
    some = any(EXCLUDED in record for record in records)
    rows = [
        [
            *(record["image"], "done", "; ".join(record.get(DOUBTS, ()))),
            *(record["width"], record["height"]),
            *(len(record["cells"]), *_counts([record], names).values()),
            *(record["scale"][key] for key in SCALE),
            *[record.get(EXCLUDED, 0.0)] * some,
        ]
        for record in records
    ]
    empty = [""] * (3 + len(names) + len(SCALE) + some)
    rows += [[name, "failed", reason, *empty] for name, reason in failed.items()]
    return sorted(rows, key=lambda row: row[0])


def _counts(records: Iterable[Mapping], names: Sequence[str]) -> Counter[str]:
    counts = Counter(dict.fromkeys(names, 0))
    counts.update(answer_of(cell) for record in records for cell in record["cells"])
    return counts


def _answers(records: Sequence[Mapping], classes: Sequence[str]) -> Sequence[str]:
    """Return the names as which cells count, given the names of classes by id."""
    names = classes[BACKGROUND + 1 :]
    return records[0].get("answers", names) if records else names


def count_table(
    records: Sequence[Mapping], classes: Sequence[str]
) -> tuple[DifferentialRow, ...]:
    """Return the differential count of all records; classes are named by id."""
    return differential_of_counts(_counts(records, _answers(records, classes)))


def write_report(
    out: Path, records: Sequence[Mapping], failed: Mapping[str, str], state: Mapping
) -> None:
    """Write ``report.html``; ``state`` is that of ``predict.json``."""
    page = predict_report(out, records, failed, state)
    write_text(out / REPORT, render_predict_report(page))


def predict_report(
    out: Path,
    records: Sequence[Mapping],
    failed: Mapping[str, str],
    state: Mapping,
    *,
    counted: Sequence[Mapping] | None = None,
    link: Callable[[Mapping, Mapping | None], LinkedPicture] | None = None,
) -> PredictReport:
    """Return what the page about a prediction shows.

    Args:
        out: folder of the results.
        records: of the images, in order.
        failed: image and reason.
        state: that of ``predict.json``.
        counted: the records as they are counted, where somebody corrected them.
        link: gives the link of an image's overlay, or of the cut-out of one of its
            cells; without it the pictures are part of the page, as many as it can have.
    """
    labels = _class_labels(state["classes"], records)
    cells = [(n, cell) for n, record in enumerate(records) for cell in record["cells"]]
    doubts = [
        (cell["other" if answer_of(cell) == OTHER else "confidence"], answer_of(cell))
        for _, cell in cells
    ]
    shown = doubtful_first(doubts, len(cells) if link else MOST_THUMBNAILS)
    thumbnails = {(cells[i][0], cells[i][1]["id"]) for i in shown}
    # The images of cells without a class come first, then of the most doubtful ones.
    order = sorted(shown, key=lambda i: (doubts[i][1] not in UNITS, doubts[i][0], i))
    images = dict.fromkeys([*(cells[i][0] for i in order), *range(len(records))])
    pictured = set(list(images)[: None if link else MOST_FIELDS])
    own: dict[int, set[int]] = {number: set() for number in range(len(records))}
    for number, cell in thumbnails:
        own[number].add(cell)
    # Most of the time goes into decoding pictures, which threads share.
    with ThreadPoolExecutor() as pool:
        fields = list(
            pool.map(
                lambda n: _field(out, records[n], n in pictured, own[n], link),
                range(len(records)),
            )
        )
    rows = count_table(records if counted is None else counted, state["classes"])
    known = {label.name: label for label in (*labels, *EXTRA_LABELS)}
    more = [known[name] for name in UNITS if name not in {row.name for row in rows}]
    accept = records[0].get("accept", 0.0) if records else 0.0
    return PredictReport(
        name=printable(_name(state)),
        summary=_summary(records, failed),
        classes=labels,
        differential=tuple(
            CountedClass(known[row.name], *astuple(row)[1:], UNITS.get(row.name, ""))
            for row in rows
        ),
        fields=tuple(fields),
        failed=tuple((printable(n), printable(r)) for n, r in failed.items()),
        facts=_facts(state, accept),
        accept=accept,
        more_answers=tuple(
            CountedClass(label, 0, 0.0, 0.0, 100.0, UNITS[label.name]) for label in more
        ),
        left_out=(
            *(f"{note}." for note in state.get("notes", ())),
            *_left_out(len(cells), len(shown), len(records), len(pictured)),
        ),
        command=_prepare_command(state, failed),
        version=leuko_mm.__version__,
        closing=CLOSING,
    )


def _class_labels(
    classes: Sequence[str], records: Sequence[Mapping]
) -> tuple[ClassLabel, ...]:
    colours = records[0]["colours"] if records else [c.colour for c in CLASSES]
    return tuple(
        ClassLabel(
            name,
            SHORT_NAMES.get(name, name[:4]),
            PLAIN_COLOUR if min(colour) > 240 else tuple(colour),
        )
        for name, colour in zip(classes, colours, strict=False)
    )


def _field(
    out: Path,
    record: Mapping,
    pictured: bool,
    thumbnails: set[int],
    link: Callable | None,
) -> FoundField:
    folder, scale = folder_of(out, record["image"]), record["scale"]
    picture = None
    if link:
        picture = link(record, None)
    elif pictured:
        picture = _pixels(folder / OVERLAY)
        # Shrunk at once: sixty whole fields are half a gigabyte.
        picture = fitted(picture, min(FIELD_SIDE, max(picture.shape[:2])))

    def thumbnail(cell: Mapping) -> np.ndarray | LinkedPicture | None:
        if cell["id"] not in thumbnails:
            return None
        return link(record, cell) if link else _pixels(folder / cutout_path(cell))

    return FoundField(
        name=printable(record["image"]),
        file_name=record["image"],
        width=record["width"],
        height=record["height"],
        overlay=picture.uri if link else (folder / OVERLAY).relative_to(out).as_posix(),
        scale=(scale["note"] or f"scale {scale['factor']:.3g} ({scale['how']})")
        + _left_out_of(record),
        cells=tuple(
            FoundCell(
                **{key: cell[key] for key in PAGE_KEYS},
                answer=answer_of(cell),
                other=cell.get("other", 0.0),
                thumbnail=thumbnail(cell),
            )
            for cell in record["cells"]
        ),
        picture=picture,
    )


def _left_out_of(record: Mapping) -> str:
    share = record.get(EXCLUDED)
    return f"; {_percent(share)} is no smear and was left out" if share else ""


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "all of it"


def excluded_note(records: Iterable[Mapping]) -> list[str]:
    """Return a sentence on the images that were not smear all over, if there are."""
    shares = [record[EXCLUDED] for record in records if EXCLUDED in record]
    if not shares:
        return []
    low, high = _percent(min(shares)), _percent(max(shares))
    return [
        f"{_number(len(shares), 'image')} {'is' if len(shares) == 1 else 'are'} not "
        f"smear all over: {low if low == high else f'{low} to {high}'} was left out "
        f"(flat areas: borders, fill, bars, text); image by image in {IMAGE_TABLE}"
    ]


def first_of(names: Sequence[str]) -> str:
    """Return the first names of many for a sentence."""
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)


def doubt_notes(records: Sequence[Mapping]) -> list[str]:
    """Return sentences on images whose cells may be missed or get another class."""
    found, other = defaultdict(list), "red cells have another size"
    for record in records:
        own = [other] * (ANOTHER_SIZE in record["scale"]["note"])
        for doubt in [*own, *record.get(DOUBTS, ())]:
            found[doubt].append(record["image"])
    advice = {
        other: "cells there may be missed or get another class; put images of one "
        "magnification into a folder of their own, and check --um-per-px or --scale"
    }
    return [
        f"{doubt} in {printable(first_of(images))} ({len(images)} of {len(records)} "
        "images): "
        f"{advice.get(doubt, 'classes of cells are doubtful there')}"
        for doubt, images in found.items()
    ]


def copy_notes(records: Sequence[Mapping]) -> list[str]:
    """Return sentences on images that are there twice, or may be.

    The pixels of copies are equal, whatever the files. Two images that differ in their
    suffix alone are probably one, encoded twice.
    """
    same, named = defaultdict(list), defaultdict(list)
    for record in records:
        # Older records have no hash of the pixels.
        same[record.get("pixels_sha256", record["sha256"])].append(record["image"])
    # The shortest name is the original's: `f1.png` before `f1 - Copy.png`.
    groups = [sorted(n, key=lambda name: (len(name), name)) for n in same.values()]
    pairs = [f"{copy} = {first}" for first, *copies in groups for copy in copies]
    sentences = []
    if len(pairs) == 1:
        sentences.append(f"1 image has the content of another ({pairs[0]}); its cells ")
        sentences[0] += "count twice"
    elif pairs:
        first = f"{len(pairs)} images have the content of others ({first_of(pairs)})"
        sentences.append(f"{first}; their cells count again")
    for first, *_ in groups:
        named[first.rpartition(".")[0].lower()].append(first)
    if alike := [" and ".join(names) for names in named.values() if names[1:]]:
        sentences.append(
            f"{len(alike)} name(s) with several suffixes ({first_of(alike)}): if they "
            "show the same, their cells count again"
        )
    return [printable(sentence) for sentence in sentences]


def _pixels(path: Path) -> np.ndarray:
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(image[..., ::-1])


def _name(state: Mapping) -> str:
    images = state["images"]
    return images[0] if len(images) == 1 else Path(state["root"]).name or "images"


def _summary(records: Sequence[Mapping], failed: Mapping) -> str:
    cells = [cell for record in records for cell in record["cells"]]
    cut = sum(cell["touches_border"] for cell in cells)
    empty = sum(not record["cells"] for record in records)
    scales = [record["scale"] for record in records]
    assumed = sum(scale["how"] == "assumed" for scale in scales)
    unsure = sum(scale["confidence"] < UNSURE_SCALE for scale in scales) - assumed
    found = f"{_number(len(cells), 'cell')} in {_number(len(records), 'image')}"
    clauses = [f"The model found {found}"]
    if empty:
        clauses[0] += f", {empty} of them without a cell"
    answers = Counter(map(answer_of, cells))
    for name, what in ((UNSURE, "unsure"), (OTHER, "none of the classes")):
        if count := answers[name]:
            clauses.append(f"{count} {'is' if count == 1 else 'are'} {what}")
    if cut:
        touch = "touches" if cut == 1 else "touch"
        clauses.append(f"{_number(cut, 'cell')} {touch} the border of the image")
    for count, what in (
        (assumed, "was not found and is only assumed"),
        (unsure, f"is sure to less than {UNSURE_SCALE:.0%}"),
    ):
        if count:
            clauses.append(f"the scale of {_number(count, 'image')} {what}")
    if failed:
        clauses.append(f"{_number(len(failed), 'file')} could not be read")
    return f"{'; '.join(clauses)}."


def _number(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _facts(state: Mapping, accept: float) -> tuple[tuple[str, str], ...]:
    settings = state["settings"]
    pixel, least = settings.get("um_per_px"), settings.get("min_area")
    scale = settings.get("scale") or "by red cells or leukocytes; see images.csv"
    names = settings.get("classifier_sha256")
    facts = {
        "images": state["root"],
        "checkpoint": f"{state['checkpoint']}, sha256 "
        f"{settings['checkpoint_sha256'][:16]}",
        "class network": names and f"sha256 {names[:16]}",
        "scale": None if pixel else scale,
        "size of a pixel": pixel and f"{pixel} µm",
        "smallest cell": least and f"{least} pixels",
        "a class counts from": accept and f"a confidence of {accept:g}",
        "mirrored and turned too": "yes" if settings.get("tta") else "no",
        "leuko_mm": leuko_mm.__version__,
    }
    return tuple((name, printable(str(v))) for name, v in facts.items() if v)


def _left_out(cells: int, thumbnails: int, images: int, pictures: int) -> Iterator[str]:
    if thumbnails < cells:
        yield (
            f"{thumbnails} of {cells} cells are shown, the most doubtful of each "
            "class; all of them are in cells.csv, as cut-outs beside this page, and in "
            "saved corrections."
        )
    if pictures < images:
        yield (
            f"The fields of {pictures} of {images} images are in this page; those of "
            "the others open from the files beside it."
        )


def _prepare_command(state: Mapping, failed: Mapping) -> str:
    words = ["leuko", "prepare", "folders", state["root"], "corrections.json"]
    words += ["--name", "corrected", "--yes"]
    if failed:
        words.append("--skip-unpaired")
    return printable(shlex.join(words))
