"""Test a model on laboratories: prepared datasets that it was not trained on.

    python tools/laboratories.py bcisc bccd pbc --out results/laboratories.json

Every picture is segmented as `leuko predict` does, with one scale for all pictures of a
dataset, by their red cells or, where few are seen, by their leukocytes. With `{}` in
--checkpoint or --classifier every dataset has its own network: `{}` stands for its
name, such as work_dirs/without_{}/without_{}.pth. Where a dataset
has fields that are labelled throughout, these are the pictures, else its cells are. A
true cell is found where a predicted one overlaps it with an IoU of 0.5 or more; a
predicted cell is false where it touches no labelled leukocyte and not the border. Cells
of class `other` are to be none of the five: it is counted how many are named as one,
and how many true cells are lost to `other`.

Groups that the model was trained on are left out.

Half of the groups, dealt by hash, are to choose on; the other half is to report.

--out also writes the answers cell by cell, as <name>.cells.csv.gz. With --against such
a file of another model, the two are compared on the cells that both were tested on.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL, OTHER
from leuko_mm.datasets.images import read_image
from leuko_mm.datasets.prepared import (
    BY_MODEL,
    IndexRow,
    cell_rows,
    dataset_root,
    read_about,
    read_index,
)
from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.evaluation.calibration import calibration_error, confidence_bins
from leuko_mm.evaluation.confusion import confusion_matrix, scores
from leuko_mm.evaluation.matching import match_cells
from leuko_mm.evaluation.statistics import bootstrap_interval, paired_difference
from leuko_mm.files import replacing, write_text
from leuko_mm.inference.cells import Cell, ImageScale, touches_border
from leuko_mm.inference.predictor import Predictor
from leuko_mm.inference.scale import MOST_MEASURED
from leuko_mm.progress import ProgressLine
from leuko_mm.report.html import number, table
from leuko_mm.training.results import as_typed, environment, git_state
from leuko_mm.training.sidecar import training_groups

SURE = 0.9  # confidence from which a class is expected to be right
FEWEST = 10  # cells of a class whose recall counts
MOST_UNKNOWN = 0.5  # of a field, beyond which it is not labelled throughout
HALVES = ("choose", "report")
ANSWERS = ".cells.csv.gz"
COLUMNS = ("picture", "number", "group", "true", "predicted", "confidence", "counted")


def half_of(group: str) -> str:
    """Return the half that a group is in; the same on every machine."""
    return HALVES[hashlib.sha256(group.encode()).digest()[0] % 2]


def _labels(root: Path, row: IndexRow) -> np.ndarray:
    with Image.open(root / row.mask) as mask:
        return np.array(mask)


def pictures_of(root: Path) -> list[IndexRow]:
    """Return the rows of the pictures that are segmented."""
    fields = [row for row in read_index(root) if row.kind == "field"]
    known = [
        row
        for row in fields
        if (_labels(root, row) == IGNORE_LABEL).mean() <= MOST_UNKNOWN
    ]
    return known or cell_rows(root, other=True)


def true_cells(
    labels: np.ndarray, *, single: bool = False
) -> list[tuple[str, np.ndarray]]:
    """Return class and mask of every labelled cell, without specks.

    Args:
        labels: of a picture.
        single: it shows one cell, the largest piece.

    Shape:
        (H, W) class ids -> (H, W) bool each.
    """
    cells = []
    for label in np.unique(labels):
        if 0 < label < IGNORE_LABEL:
            mask = (labels == label).astype(np.uint8)
            _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask)
            areas = stats[1:, cv2.CC_STAT_AREA]
            least = areas.max() * (1 if single else 0.1)
            for i in np.flatnonzero(areas >= least)[: 1 if single else None]:
                cells.append((CLASS_NAMES[label], pieces == i + 1))
    return cells


def tested(
    root: Path, row: IndexRow, predictor: Predictor, scale: ImageScale | None
) -> Iterator[dict]:
    """Yield the true cells of a picture with their answers, false cells, and pixels."""
    labels = _labels(root, row)
    truth = true_cells(labels, single=row.kind == "cell")
    found = predictor.predict(read_image(root / row.image), scale=scale)

    def named(cell: Cell | None) -> dict:
        if cell is None:
            return dict(predicted="", confidence=0.0, counted=False)
        name = OTHER if cell.is_other else found.classes[cell.class_id]
        counted = found.answer(cell) == name != OTHER
        return dict(predicted=name, confidence=cell.confidence, counted=counted)

    picture = dict(picture=row.stem, group=row.group, half=half_of(row.group))
    masks = [mask for _, mask in truth]
    match = match_cells(masks, found.instances, cells=len(found.cells))
    partners = {i: found.cells[j] for i, j, _ in match.found}
    for i, (name, _) in enumerate(truth):
        yield dict(picture, number=i, true=name, **named(partners.get(i)))
    at = found.instances[labels > 0]
    touching = np.bincount(at, minlength=len(found.cells) + 1)
    if row.class_name == OTHER:
        most = 1 + int(touching[1:].argmax()) if touching[1:].any() else 0
        cell = found.cells[most - 1] if most else None
        kind = row.source.partition("/")[0]
        yield dict(picture, true=OTHER, kind=kind, **named(cell))
    left_out = labels == IGNORE_LABEL
    for cell in (found.cells[j] for j in match.false):
        if touches_border(cell.box, labels.shape):
            left_out = left_out | (found.instances == cell.id)
        elif not touching[cell.id] and not cell.is_other:
            yield dict(picture, true="", **named(cell))
    both = [(found.labels > 0)[~left_out], (labels > 0)[~left_out]]
    pixels = [int(part.sum()) for part in (both[0] & both[1], both[0] | both[1])]
    # What is other counts as no cell, as it does for whoever counts the five.
    shown = np.where(found.labels == IGNORE_LABEL, 0, found.labels)
    confusion = confusion_matrix(labels, shown, len(CLASS_NAMES))
    yield dict(picture, true=None, pixels=pixels, confusion=confusion)


def summary(records: Sequence[Mapping], pictures: int, *, outlined: bool) -> dict:
    """Return the metrics of a source.

    Args:
        records: of ``tested``.
        pictures: how many there are.
        outlined: whether people drew the outlines, so that an IoU says something.
    """
    cells = [r for r in records if r["true"] in CLASS_NAMES]
    others = [r for r in records if r["true"] == OTHER]
    counts = {name: sum(r["true"] == name for r in cells) for name in CLASS_NAMES[1:]}
    right = [r["predicted"] == r["true"] for r in cells]
    named = [r for r in cells if r["predicted"]]
    sure = [r for r in named if r["confidence"] >= SURE and r["predicted"] != OTHER]
    kept = [r for r in cells if counts[r["true"]] >= FEWEST]
    metrics = dict(
        pictures=pictures,
        cells=len(cells),
        found=len(named),
        lost_to_other=sum(r["predicted"] == OTHER for r in cells),
        right=sum(right),
        false=sum(r["true"] == "" for r in records),
        recall={
            name: [sum(r["predicted"] == r["true"] == name for r in cells), count]
            for name, count in counts.items()
            if count
        },
        macro_recall=_macro_recall(kept),
        sure=len(sure),
        wrong_when_sure=sum(r["predicted"] != r["true"] for r in sure),
        calibration_error=_calibration_error(named),
        at_95=accepted(named),
        counted=sum(r["counted"] for r in cells),
        counted_right=sum(r["counted"] and r["predicted"] == r["true"] for r in cells),
        others_counted=[sum(r["counted"] for r in others), len(others)],
        others={
            kind: [sum(r["predicted"] in CLASS_NAMES for r in of_kind), len(of_kind)]
            for kind in sorted({r["kind"] for r in others})
            if (of_kind := [r for r in others if r["kind"] == kind])
        },
    )
    pixels = [r["pixels"] for r in records if r["true"] is None]
    if outlined and pixels:
        shared, either = np.sum(pixels, axis=0)
        metrics["iou"] = round(100 * float(shared / max(either, 1)), 2)
        pooled = np.sum([r["confusion"] for r in records if r["true"] is None], axis=0)
        metrics["miou"] = scores(pooled, CLASS_NAMES).metrics["mIoU"]
    return metrics


def accepted(cells: Sequence[Mapping], *, right: float = 0.95) -> dict | None:
    """Return the lowest confidence at which a share of the accepted classes is right.

    Args:
        cells: that were found; those that are other are not accepted.

    Returns:
        ``confidence``, and ``coverage``, which share of the cells is accepted; None
        where no confidence is high enough.
    """
    order = sorted(
        (r for r in cells if r["predicted"] != OTHER), key=lambda r: -r["confidence"]
    )
    hits = np.cumsum([r["predicted"] == r["true"] for r in order])
    enough = np.flatnonzero(hits >= right * np.arange(1, len(order) + 1))
    if not len(enough):
        return None
    last = int(enough[-1])
    return dict(
        confidence=round(float(order[last]["confidence"]), 4),
        coverage=round((last + 1) / len(cells), 4),
    )


def _calibration_error(cells: Sequence[Mapping]) -> float | None:
    """Return the expected calibration error of the confidences, in percent."""
    cells = [r for r in cells if r["predicted"] != OTHER]
    if not cells:
        return None
    confidence = np.array([r["confidence"] for r in cells])
    right = np.array([r["predicted"] == r["true"] for r in cells], float)
    return round(calibration_error(confidence_bins(confidence, right)), 2)


def _macro_recall(cells: Sequence[Mapping]) -> dict | None:
    if not cells:
        return None
    counts = _confusions(cells)
    there = counts.sum(axis=(0, 2)) > 0
    recall = np.diagonal(counts.sum(axis=0))[there] / counts.sum(axis=(0, 2))[there]
    groups = [record["group"] for record in cells]
    interval = bootstrap_interval(counts, groups, "mRecall_fg")
    return dict(
        value=round(100 * float(recall.mean()), 2),
        low=round(interval.low, 2),
        high=round(interval.high, 2),
    )


def _confusions(cells: Sequence[Mapping]) -> np.ndarray:
    """Return one count a cell, (N, C, C); one that is missed or other is class 0."""
    counts = np.zeros((len(cells), len(CLASS_NAMES), len(CLASS_NAMES)), np.int64)
    for i, record in enumerate(cells):
        given = record["predicted"]
        given = given if given in CLASS_NAMES else CLASS_NAMES[0]
        counts[i, CLASS_NAMES.index(record["true"]), CLASS_NAMES.index(given)] = 1
    return counts


def write_answers(path: Path, answers: Mapping[str, Sequence[Mapping]]) -> None:
    """Write the answers of every labelled cell of every source, compressed."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["source", *COLUMNS])
    for source, records in answers.items():
        table.writerows([source, *(r[c] for c in COLUMNS)] for r in records)
    # Without a time the same answers make the same file.
    with replacing(path) as place:
        place.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def read_answers(path: Path) -> dict[str, list[dict]]:
    """Return the answers by source.

    Raises:
        UsageError: if this is no file of answers.
    """
    try:
        rows = list(
            csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode()))
        )
        found: dict[str, list[dict]] = {row["source"]: [] for row in rows}
        for row in rows:
            number, sure = int(row["number"]), float(row["confidence"])
            found[row["source"]].append({**row, "number": number, "confidence": sure})
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); expected a file *{ANSWERS} that "
            "tools/laboratories.py --out wrote"
        ) from None
    return found


def compared(records: Sequence[Mapping], others: Sequence[Mapping]) -> dict | None:
    """Return how much better the answers are than others on the same cells.

    Args:
        records: of one source, labelled cells.
        others: of another model.

    Returns:
        ``cells``, and differences in percent points, each with the ends of its interval
        over groups: ``right``, and ``macro_recall`` over classes of at least ten cells,
        None without such a class. None without a common cell.
    """
    theirs = {(r["picture"], r["number"]): r for r in others}
    both = [
        (r, theirs[key])
        for r in records
        if (key := (r["picture"], r["number"])) in theirs
    ]
    if not both:
        return None
    odd = [one["picture"] for one, two in both if one["true"] != two["true"]]
    if odd:
        raise UsageError(
            f"{len(odd)} cells, first of {odd[0]}, had another label in the answers of "
            "--against; prepare the dataset again and test both models"
        )

    def difference(pairs: Sequence[tuple], metric: str) -> dict | None:
        if not pairs:
            return None
        ours, theirs = (_confusions(side) for side in zip(*pairs, strict=True))
        groups = [one["group"] for one, _ in pairs]
        found = paired_difference(ours, theirs, groups, metric)
        return {
            key: round(getattr(found, key), 2 if key != "p" else 4)
            for key in ("value", "low", "high", "p")
        }

    names = [one["true"] for one, _ in both]
    kept = [pair for pair in both if names.count(pair[0]["true"]) >= FEWEST]
    return dict(
        cells=len(both),
        right=difference(both, "pixel_accuracy"),
        macro_recall=difference(kept, "mRecall_fg"),
    )


def as_table(sources: Mapping[str, Mapping]) -> str:
    """Return a Markdown table of all sources, all cells together."""
    lines = []
    for name, halves in sources.items():
        metrics = halves["all"]
        cells, macro = max(metrics["cells"], 1), metrics["macro_recall"] or {}
        of_others = [
            sum(pair) for pair in zip(*metrics["others"].values(), strict=True)
        ]
        lines.append(
            [
                name,
                f"{metrics['cells']}",
                f"{100 * metrics['found'] / cells:.1f}",
                f"{100 * metrics['right'] / cells:.1f}",
                f"{macro.get('value', float('nan')):.1f} "
                f"({macro.get('low', 0):.1f} to {macro.get('high', 0):.1f})",
                number(metrics.get("iou")),
                number(metrics.get("miou")),
                f"{metrics['false']} in {metrics['pictures']}",
                f"{metrics['wrong_when_sure']} of {metrics['sure']}",
                f"{100 * metrics['at_95']['coverage']:.0f}"
                if metrics["at_95"]
                else "0",
                f"{metrics['lost_to_other']}",
                "{} of {}".format(*of_others) if of_others else "-",
            ]
        )
    head = ["source", "cells", "found, %", "right class, %", "macro recall, %"]
    head += ["IoU, %", "mIoU, %", "false cells", f"wrong at {SURE}"]
    head += ["accepted where 95 % are right, %", "lost to other", "others named"]
    return table(head, lines)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="+", help="prepared datasets")
    parser.add_argument("--checkpoint", help="that segments; default: the shipped one")
    parser.add_argument(
        "--classifier",
        help="that names the cells; default: the one of the checkpoint, '' for none",
    )
    parser.add_argument("--out", type=Path, help="write all metrics here")
    parser.add_argument(
        "--against",
        type=Path,
        help=f"a file *{ANSWERS} of another model to compare with",
    )
    args = parser.parse_args(argv)
    sources, answers = {}, {}
    try:
        others = read_answers(args.against) if args.against else {}
        for name in args.data:
            tested, answers[name] = _test_source(name, _predictor(args, name))
            sources[name] = tested
            if args.against:
                tested["against"] = compared(answers[name], others.get(name, ()))
                print(f"{name}: {_in_words(tested['against'])}")
    except (LeukoError, ValueError) as error:
        print(f"laboratories: {error}", file=sys.stderr)
        return 2
    print(as_table(sources))
    if args.out:
        results = dict(
            schema=2,
            sources=sources,
            command=as_typed(
                ["tools/laboratories.py", *(sys.argv[1:] if argv is None else argv)]
            ),
            git=git_state(),
            env=environment(),
        )
        if args.against:
            results["against"] = args.against.name
        write_answers(args.out.with_suffix(ANSWERS), answers)
        write_text(args.out, json.dumps(results, indent=1) + "\n")
    return 0


def _in_words(compared: Mapping | None) -> str:
    if compared is None:
        return "no cell that both models were tested on"
    parts = [
        f"{words} {found['value']:+.1f} ({found['low']:+.1f} to {found['high']:+.1f})"
        for words, key in (("right class", "right"), ("macro recall", "macro_recall"))
        if (found := compared[key])
    ]
    return f"against the other on {compared['cells']} cells: {', '.join(parts)}"


def _predictor(args: argparse.Namespace, name: str) -> Predictor:
    options = {}
    if args.classifier is not None:
        options["classifier"] = args.classifier.replace("{}", name)
    if args.checkpoint is None:
        return Predictor.from_zoo(**options)
    return Predictor(args.checkpoint.replace("{}", name), **options)


def _networks(predictor: Predictor) -> dict[str, Mapping]:
    networks = dict(segmentation=predictor.checkpoint.sidecar)
    if predictor.classifier:
        networks["classifier"] = predictor.classifier.checkpoint.sidecar
    return networks


def _test_source(name: str, predictor: Predictor) -> tuple[dict, list[dict]]:
    """Return the metrics of a source, and the answers of its labelled cells."""
    root = dataset_root(name)
    networks = _networks(predictor)
    trained_on = {
        group
        for sidecar in networks.values()
        for group in training_groups(root, sidecar) or ()
    }
    rows = [row for row in pictures_of(root) if row.group not in trained_on]
    if not rows:
        raise UsageError(
            f"{root}: the model was trained on every picture; give other data, or "
            "another checkpoint with --checkpoint"
        )
    some = rows[:: max(1, len(rows) // MOST_MEASURED)][:MOST_MEASURED]
    scale = predictor.common_scale([root / row.image for row in some])
    print(f"{name}: {scale.note if scale else 'each picture has its own scale'}")
    records: list[dict] = []
    with ProgressLine(name) as line:
        for done, row in enumerate(rows):
            line(done, len(rows))
            records += tested(root, row, predictor, scale)
    outlined = all(row.outline != BY_MODEL for row in rows)
    halves = {}
    for half in ("all", *HALVES):
        of_half = [r for r in records if half in ("all", r["half"])]
        count = sum(half in ("all", half_of(row.group)) for row in rows)
        halves[half] = summary(of_half, count, outlined=outlined)
    metrics = dict(
        halves,
        sha256=read_about(root)["sha256"],
        learnt_groups=len(trained_on),
        scale=scale.note if scale else None,
        networks={
            key: dict(sha256=sidecar["sha256"], training=sidecar["training"])
            for key, sidecar in networks.items()
        },
    )
    return metrics, [r for r in records if "number" in r]


if __name__ == "__main__":
    sys.exit(main())
