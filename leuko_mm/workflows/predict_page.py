"""Gather what the page about a prediction shows, from records and pictures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import leuko_mm
from leuko_mm.classes import CLASSES
from leuko_mm.files import printable
from leuko_mm.inference.prediction import UNSURE
from leuko_mm.report.predict_report import (
    FIELD_SIDE,
    CountedClass,
    FoundCell,
    FoundField,
    PredictReport,
    doubtful_first,
    fitted,
)
from leuko_mm.report.run_report import ClassLabel
from leuko_mm.workflows.predict_record import CUTOUTS, OVERLAY, folder_of
from leuko_mm.workflows.predict_tables import count_table

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
