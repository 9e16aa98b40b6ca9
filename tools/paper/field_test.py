"""Test a checkpoint on the whole fields of slides that it was not trained on.

    python tools/paper/field_test.py work_dirs/<run>/<run>.pth --split fold1

The true cells of a field are those that were cut out of it. One is found where a
predicted cell overlaps it with an IoU of 0.5 or more; every other predicted cell is
false. docs/results.md has the training that comes before it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.prepared import (
    DatasetError,
    IndexRow,
    dataset_root,
    read_index,
    read_split,
)
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.matching import match_cells
from leuko_mm.files import write_text
from leuko_mm.inference.model import CheckpointError
from leuko_mm.inference.predictor import Predictor
from leuko_mm.report.html import table
from leuko_mm.training.results import as_typed, environment, git_state
from leuko_mm.training.sidecar import training_groups


@dataclass(frozen=True)
class TrueCell:
    """A cell of a field: its class and (H, W) mask."""

    class_name: str
    mask: np.ndarray


def fields_under_test(root: Path, split: str) -> list[IndexRow]:
    """Return the fields of the slides that a split tests.

    Raises:
        DatasetError: if the dataset or the split is not there.
        UsageError: if it has no such field.
    """
    parts, rows = read_split(root, split), read_index(root)
    groups = {row.group for row in rows if parts.get(row.stem) == "test"}
    fields = [row for row in rows if row.kind == "field" and row.group in groups]
    if not fields:
        raise UsageError(
            f"{root} has no whole field of a slide that {split} tests; choose another "
            "split"
        )
    return fields


def true_cells(root: Path, field: IndexRow, rows: Sequence[IndexRow]) -> list[TrueCell]:
    """Return the cells that were cut out of a field, at their places in it."""
    with Image.open(Path(root) / field.mask) as mask:
        labels = np.array(mask)
    cells = []
    for row in rows:
        if row.kind != "cell" or row.parent != field.stem:
            continue
        place = row.place
        x, y = round(place.x), round(place.y)
        width, height = round(row.width / place.scale), round(row.height / place.scale)
        window = np.s_[max(y, 0) : y + height, max(x, 0) : x + width]
        inside = np.zeros(labels.shape, np.uint8)
        inside[window] = labels[window] == CLASS_NAMES.index(row.class_name)
        cells.append(TrueCell(row.class_name, _largest_piece(inside)))
    return cells


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """A mask drawn by hand has specks beside its cell."""
    _, pieces, about, _ = cv2.connectedComponentsWithStats(mask)
    areas = about[1:, cv2.CC_STAT_AREA]
    return pieces == 1 + areas.argmax() if len(areas) else mask > 0


def check_unseen_slides(
    root: Path, fields: Sequence[IndexRow], sidecar: Mapping
) -> None:
    """Refuse fields of slides that a checkpoint was trained on.

    Raises:
        UsageError: naming the split that it was trained on.
    """
    trained_on = set(training_groups(root, sidecar) or ())
    known = [field.stem for field in fields if field.group in trained_on]
    if known:
        raise UsageError(
            f"{len(known)} of the {len(fields)} fields, first {known[0]}, are of "
            f"slides that this checkpoint was trained on; add --split "
            f"{sidecar['training']['split']}, or train with the split that is tested"
        )


def run_field_test(
    root: Path,
    split: str,
    predictor: Predictor,
) -> dict:
    """Return what a predictor finds in the fields of a split.

    Args:
        root: the prepared dataset.
        split: its test slides are looked at.
        predictor: with the checkpoint and scale that are tested.

    Returns:
        ``fields``, a dict each with what was found, missed and false; and sums of them
        over all: ``cells``, ``found``, ``right_class``, ``false``, ``mean_iou``.
    """
    shown = fields_under_test(root, split)
    check_unseen_slides(root, shown, predictor.checkpoint.sidecar)
    fields = list(_fields(root, shown, predictor))
    found = [cell for field in fields for cell in field["found"]]
    return dict(
        split=split,
        fields=fields,
        cells=sum(len(field["found"]) + len(field["missed"]) for field in fields),
        found=len(found),
        right_class=sum(cell["class"] == cell["predicted"] for cell in found),
        false=sum(len(field["false"]) for field in fields),
        mean_iou=float(np.mean([cell["iou"] for cell in found])) if found else None,
    )


def _fields(
    root: Path, fields: Sequence[IndexRow], predictor: Predictor
) -> Iterator[dict]:
    rows = read_index(root)
    for field in fields:
        truth = true_cells(root, field, rows)
        found = predictor.predict(Path(root) / field.image)
        match = match_cells(
            [cell.mask for cell in truth], found.instances, cells=len(found.cells)
        )
        yield dict(
            field=field.stem,
            found=[
                {
                    "class": truth[i].class_name,
                    "predicted": found.classes[found.cells[j].class_id],
                    "confidence": found.cells[j].confidence,
                    "iou": overlap,
                }
                for i, j, overlap in match.found
            ],
            missed=[truth[i].class_name for i in match.missed],
            false=[
                {
                    "predicted": found.classes[found.cells[j].class_id],
                    "confidence": found.cells[j].confidence,
                    "area": found.cells[j].area,
                    "box": list(found.cells[j].box),
                }
                for j in match.false
            ],
            scale=found.scale.factor,
            how=found.scale.how,
        )


def _in_words(cell: dict) -> str:
    words = f"{cell['class']} {100 * cell['iou']:.1f}"
    right = cell["class"] == cell["predicted"]
    return words if right else f"{words}, as {cell['predicted']}"


def as_table(result: dict) -> str:
    """Return the fields as a Markdown table, with a line that sums them up."""
    rows = []
    for field in result["fields"]:
        found = ", ".join(map(_in_words, field["found"]))
        missed, false = ", ".join(field["missed"]), len(field["false"])
        rows.append([field["field"], found or "-", missed or "-", str(false)])
    lines = table(["field", "found, IoU in percent", "missed", "false"], rows)
    total = (
        f"{result['found']} of {result['cells']} cells found, {result['right_class']} "
        f"with their class; {result['false']} false cells in {len(rows)} fields"
    )
    return f"{lines}\n\n{total}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", default="bcisc", help="prepared dataset")
    parser.add_argument("--split", default="fold1", help="its test slides are used")
    parser.add_argument("--tta", action="store_true", help="eight views of each field")
    parser.add_argument("--runtime", help="as leuko predict takes it")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    args = parser.parse_args(argv)
    try:
        predictor = Predictor(args.checkpoint, tta=args.tta, runtime=args.runtime)
        result = run_field_test(dataset_root(args.data), args.split, predictor)
    except (CheckpointError, DatasetError, UsageError, ValueError) as error:
        print(f"field_test: {error}", file=sys.stderr)
        return 2
    print(as_table(result))
    if args.json:
        words = sys.argv[1:] if argv is None else argv
        result |= dict(
            command=as_typed(["tools/paper/field_test.py", *words]),
            checkpoint=predictor.checkpoint.sidecar["sha256"],
            training=predictor.checkpoint.sidecar["training"],
            git=git_state(),
            env=environment(),
        )
        write_text(args.json, json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
