"""Test a checkpoint on the whole fields of slides that it has not learnt from.

    python tools/field_test.py work_dirs/<run>/<run>.pth --split fold1

A true cell is one that was cut out of the field; it is found where a predicted cell
overlaps it with an IoU of 0.5 or more. What else is predicted is false. docs/predict.md
has the training that goes before.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from leuko_mm.datasets.leukocyte_dataset import dataset_root
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.errors import UsageError
from leuko_mm.files import write_text
from leuko_mm.inference.checkpoint import CheckpointError
from leuko_mm.inference.predictor import Predictor
from leuko_mm.report.markdown import table
from leuko_mm.workflows.field_test import run_field_test
from leuko_mm.workflows.run_facts import environment, git_state
from leuko_mm.workflows.typed_command import as_typed


def _in_words(cell: dict) -> str:
    words = f"{cell['class']} {100 * cell['iou']:.1f}"
    right = cell["class"] == cell["predicted"]
    return words if right else f"{words}, as {cell['predicted']}"


def as_table(told: dict) -> str:
    """Return the fields as a Markdown table, with a line that sums them up."""
    rows = []
    for field in told["fields"]:
        found = ", ".join(map(_in_words, field["found"]))
        missed, false = ", ".join(field["missed"]), len(field["false"])
        rows.append([field["field"], found or "-", missed or "-", str(false)])
    lines = table(["field", "found, IoU in percent", "missed", "false"], rows)
    total = (
        f"{told['found']} of {told['cells']} cells found, {told['right_class']} with "
        f"their class; {told['false']} false cells in {len(rows)} fields"
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
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args(argv)
    try:
        predictor = Predictor(args.checkpoint, tta=args.tta, runtime=args.runtime)
        told = run_field_test(dataset_root(args.data), args.split, predictor)
    except (CheckpointError, DatasetError, UsageError, ValueError) as error:
        print(f"field_test: {error}", file=sys.stderr)
        return 2
    print(as_table(told))
    if args.json:
        words = sys.argv[1:] if argv is None else argv
        told |= dict(
            command=as_typed(["tools/field_test.py", *words]),
            checkpoint=predictor.checkpoint.sidecar["sha256"],
            training=predictor.checkpoint.sidecar["training"],
            git=git_state(),
            env=environment(),
        )
        write_text(args.json, json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
