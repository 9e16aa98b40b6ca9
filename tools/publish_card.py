"""A model's card: training data, intended use, metrics, known failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.comparison.measurements import measured
from leuko_mm.evaluation.cell_scores import majority_classes
from leuko_mm.evaluation.confusion import merge_leukocytes, scores
from leuko_mm.evaluation.metric import Cells
from leuko_mm.evaluation.statistics import Interval, bootstrap_intervals
from leuko_mm.report.html import number, table

MEANS = {
    "mIoU": "mean IoU of the classes, background included",
    "mIoU_fg": "mean IoU of the cell classes",
    "pixel_accuracy": "pixel accuracy",
    "found": "cells found (half of the union shared)",
    "right_class": "cells of the right class",
    "mean_dice": "mean Dice of the cells, 0 where they get another class",
}
WORST = 12  # failures that are listed


@dataclass(frozen=True)
class Tested:
    """One test of a checkpoint.

    Args:
        results: the content of ``results.json``.
        cells: the confusions beside it.
        calibration: the content of ``calibration.json``; {} where there is none.
    """

    __test__ = False  # pytest would take the class for a collection of tests

    results: Mapping
    cells: Cells
    calibration: Mapping


def model_card(
    sidecar: Mapping,
    tested: Tested,
    *,
    size_bytes: int,
    transfer: Sequence[Tested] = (),
    command: str = "",
    pictures: Mapping[str, str] | None = None,
) -> str:
    """Return the card of a checkpoint as Markdown.

    Args:
        sidecar: of the checkpoint.
        tested: on cells of slides that it was not trained on.
        size_bytes: of the file.
        transfer: tests on other sources, to which nothing was tuned.
        command: what trains it.
        pictures: stem of a cell to the address of a picture of it.
    """
    classes = sidecar["classes"]
    parts = [
        _about(sidecar, size_bytes, command),
        _figures(tested, classes),
        _calibration(tested.calibration),
        _failures(sidecar["method"], tested.cells, classes, pictures or {}),
        *([_transfer(transfer)] if transfer else []),
    ]
    return "\n\n".join(parts) + "\n"


def class_card(
    sidecar: Mapping, tested: Tested, *, size_bytes: int, command: str = ""
) -> str:
    """Return the card of a network that names cells, as Markdown.

    Args: as of ``model_card``.
    """
    training, cells = sidecar["training"], tested.cells
    counts = cells.confusion.sum(axis=(1, 2))
    shares = cells.confusion / counts[:, None, None]
    rows = []
    for label, name in enumerate(sidecar["classes"]):
        own = shares[shares[:, label].sum(axis=1) > 0.5, label]
        if len(own):
            right, other = own[:, label].sum(), own[:, BACKGROUND].sum()
            shown = [name if label else "none of the five", str(len(own))]
            shown += [number(100 * right / len(own)), number(100 * other / len(own))]
            rows.append(shown)
    data = ", ".join(
        f"{one['name']} (index sha256 `{one['sha256'][:12]}`)"
        for one in training.get("datasets")
        or [dict(training, name=training["dataset"])]
    )
    head = ["class", "cells", "right, %", "taken for none of the five, %"]
    return f"""# {sidecar["method"]}

Names a cell that another network has found: {", ".join(sidecar["classes"][1:])}, or \
none of these; {size_bytes / 1e6:.1f} MB; licence {sidecar["licence"]}.

## Intended use

Research on Wright- or Giemsa-stained blood smears, and a start for training on your \
own cells (`leuko train {sidecar["method"]} --data NAME --load-from CHECKPOINT`). \
**Not a medical device, and not for diagnosis.** docs/models.md, "In other \
laboratories", has its metrics in laboratories that it was not trained on.

## Data and training

- Trained on {data}, split {training["split"]}, seed {training["seed"]}, \
{training["iterations"]} iterations, code {training["git"]}.
- Trained by `{command}`.
- The datasets were changed: cells were cut out at one scale and turned, mirrored, and \
varied in colour, focus and noise. A model of this project drew PBC's outlines; \
who drew the masks of BCCD is not known. Citations: docs/train.md.
- The encoder started from EfficientNet-Lite0's ImageNet weights (Apache-2.0).

## On cells of the same laboratories that it was not trained on

One view of each, outlined by hand or by the model; in percent.

{table(head, rows)}
"""


def _about(sidecar: Mapping, size_bytes: int, command: str) -> str:
    training, scale = sidecar["training"], sidecar["scale"]
    enhance = sidecar["enhance"] or "none, raw images"
    trained = f"`{command}`" if command else "see the repository"
    names = ""
    if other := sidecar.get("classifier"):
        names = (
            f" In `leuko predict` their class comes from `{other}` as well, and they "
            "may be `other` or unsure."
        )
    start = ""
    if first := training.get("start"):
        before = first["training"]
        start = (
            f"\n- It started from a network of this method (sha256 "
            f"`{first['sha256'][:12]}`) that was trained on {before['dataset']}, "
            f"split {before['split']}, {before['iterations']} iterations, code "
            f"{before['git']}."
        )
    return f"""# {sidecar["method"]}

{len(sidecar["classes"])} classes ({", ".join(sidecar["classes"])}); \
{size_bytes / 1e6:.1f} MB; licence {sidecar["licence"]}.

## Intended use

Research on Wright- or Giemsa-stained blood smears, teaching, and a start for training \
on your own slides (`leuko train {sidecar["method"]} --data NAME --load-from \
CHECKPOINT`). **Not a medical device, and not for diagnosis**: no number below \
is for your microscope, stain or patients. Cells that it has no \
class for, such as blasts, bands or smudge cells, get the nearest of its classes.{names}

## Data and training

- Trained on {training["dataset"]} (index sha256 `{training["sha256"][:12]}`), split \
{training["split"]}, seed {training["seed"]}, {training["iterations"]} iterations, \
code {training["git"]}.{start}
- Trained by {trained}.
- Images: a prepared cell image is {scale.get("cell_px")} pixels wide when the network \
sees it; enhancement: {enhance}."""


def _figures(tested: Tested, classes: Sequence[str]) -> str:
    cells, run = tested.cells, tested.results["run"]
    per_class = {f"iou.{name}": name for name in classes}
    found = bootstrap_intervals(
        cells.confusion, cells.group.tolist(), [*MEANS, *per_class]
    )
    any_leukocyte = bootstrap_intervals(
        merge_leukocytes(cells.confusion), cells.group.tolist(), ["iou.leukocyte"]
    )["iou.leukocyte"]
    means = [[MEANS[key], *_with_ends(found[key])] for key in MEANS]
    means.append(
        ["IoU of any leukocyte against background", *_with_ends(any_leukocyte)]
    )
    rows = []
    for key, name in per_class.items():
        row = tested.results["per_class"][name]
        rows.append(
            [name, *_with_ends(found[key])]
            + [number(row[k], 2) for k in ("precision", "recall", "f1")]
        )
    header = ["class", "IoU", "95 % interval", "precision", "recall", "F1"]
    return f"""## How good it is

On {len(cells.stem)} cells of {len(set(cells.group.tolist()))} groups that it was \
not trained on ({tested.results["data"]["dataset"]}, split {run["split"]}), each cell \
once, in percent. A group is a slide, or a picture where slides are not known. \
Intervals are of 2000 resamples of groups, and of cells within groups. They are wide, \
since the groups are few, and do not cover other laboratories. \
A metric that is the same in every resample has no interval.

{table(["metric", "value", "95 % interval"], means)}

{table(header, rows)}"""


def _with_ends(interval: Interval) -> list[str]:
    """Return a metric and its interval, blank where every resample has the same.

    Example:
        >>> _with_ends(Interval(79.5, 70.0, 84.25)), _with_ends(Interval(100, 100, 100))
        (['79.50', '70.00 to 84.25'], ['100.00', ''])
    """
    shown = measured(interval)
    if shown.low is None or shown.high is None:
        return [number(interval.value, 2), ""]
    ends = f"{number(shown.low, 2)} to {number(shown.high, 2)}"
    return [number(interval.value, 2), ends]


def _calibration(calibration: Mapping) -> str:
    if not calibration:
        return "## Calibration\n\nNot measured."
    pixels, cells = (calibration[key]["error"] for key in ("pixels", "cells"))
    bins = np.array(calibration["cells"]["bins"])
    rows = [
        [f"{sure / count:.2f}", f"{right / count:.2f}", f"{count:.0f}"]
        for count, sure, right in bins
        if count
    ]
    return f"""## Calibration

Expected calibration error: {number(pixels, 2)} % of the pixels' classes, \
{number(cells, 2)} % of the classes of whole cells. How sure it was of cells, and how \
often it was right:

{table(["confidence", "share right", "cells"], rows)}"""


def _failures(
    method: str, cells: Cells, classes: Sequence[str], pictures: Mapping[str, str]
) -> str:
    truth, found = majority_classes(cells.confusion)
    wrong = np.flatnonzero((truth != found) & (truth != BACKGROUND))
    head = (
        f"## Known failures\n\n{len(wrong)} of {len(truth)} test cells get another "
        "class or none. "
        f"`leuko zoo verify {method} --accuracy --out FOLDER` draws them into its "
        "report." + (f" {WORST} of them:" if len(wrong) > WORST else "")
    )
    if not len(wrong):
        return head
    rows = []
    for index in wrong[:WORST]:
        stem = str(cells.stem[index])
        # What is not found at all is called background.
        row = [stem, classes[truth[index]], classes[found[index]]]
        shown = f"![{stem}]({pictures[stem]})" if stem in pictures else "-"
        rows.append([*row, shown] if pictures else row)
    header = ["cell", "is", "is taken for", *(["picture"] if pictures else [])]
    return f"{head}\n\n{table(header, rows)}"


def _transfer(tests: Sequence[Tested]) -> str:
    rows = []
    for tested in tests:
        pooled = np.asarray(tested.results["confusion"])
        merged = scores(merge_leukocytes(pooled)).per_class["leukocyte"]
        truth, found = majority_classes(tested.cells.confusion)
        there = truth != BACKGROUND
        right = 100 * float((truth == found)[there].mean()) if there.any() else None
        rows.append(
            [
                tested.results["data"]["dataset"],
                str(len(tested.cells.stem)),
                number(merged["iou"], 2),
                number(right, 2),
                number(tested.results["metrics"]["mIoU"], 2),
                number((tested.calibration.get("cells") or {}).get("error"), 2),
            ]
        )
    header = [
        "source",
        "cells",
        "leukocyte IoU",
        "right class",
        "mIoU",
        "calibration error",
    ]
    return f"""## On other sources, nothing tuned to them

Any leukocyte against background, and the class of whole cells, in percent:

{table(header, rows)}"""
