"""The paper's Tables 1 to 4: as printed, what that implies, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from leuko_mm.comparison.measurements import OF_CLASS, Metrics
from leuko_mm.comparison.results import Result
from leuko_mm.errors import UsageError
from leuko_mm.report.comparison_page import ResultTable, Section, TableRow
from leuko_mm.training.config import COMBINATIONS, SAME_AS, SETTINGS

PAPER = Path(str(files("leuko_mm.report") / "published.json"))
TABLE3 = "ablation/table3_"
ORDER = ("A", "B", None)
# Datasets that nobody may pass on: a run on one is the user's own.
NOT_AVAILABLE = ("lisc",)
BINARY_PRINTED = ("precision", "recall", "f1", "mIoU", "accuracy")
BINARY = (*(f"{k}.leukocyte" for k in BINARY_PRINTED[:3]), "mIoU", "pixel_accuracy")
MEANS = ("mIoU", "pixel_accuracy", "ovr_accuracy", "mIoU_fg")
# Of the tables by their ``kind``: what their rows are, the columns, and what they show.
COLUMNS = {
    "class": ("class, method", "what", "P", "R", "IoU", "F1", "P and R give"),
    "binary": (
        *("data, method", "what", "P", "R", "F1", "mIoU", "Acc"),
        "P, R, Acc give",
    ),
    "means": (
        *("method", "what", "mIoU", "Table 1 gives", "pixel accuracy (printed: Acc)"),
        *("one-vs-rest accuracy", "mIoU without background"),
    ),
}
LEAD = {
    "class": "P, R, IoU and F1 of a class. Beside the printed IoU is the one that "
    "the printed P and R give: no confusion matrix has another.",
    "binary": "The paper does not say what these scores are of. They are read as "
    "leukocyte against background: P, R and F1 of the leukocyte, mIoU over both, Acc "
    "of all pixels. `P, R, Acc give` is the mIoU of a confusion with the printed P, R "
    "and Acc.",
    "means": "mIoU is over six classes, the background among them. `Table 1 gives` is "
    "the mIoU with the IoU that P and R of Table 1 give, and the background that the "
    "printed mIoU leaves. The paper's Acc can be read in two ways: both are shown.",
}
# What a reader of one table alone must know.
ALIKE = (
    "Compare rows of ours with one another only where split, cells and iterations are "
    "the same. "
    + " ".join(f"{name}: {setting.words}." for name, setting in SETTINGS.items())
)
NOTES = {
    "1": "The paper does not say on which encoder DeepLabv3+ and PSPNet stand, nor how "
    "the compared methods were trained: ResNet50, and setting A for all of them, are "
    "ours.",
    "2": "FCN is the FCN-8s of the paper's reference 20, on VGG16. Ours of Dataset1 "
    "are of slides that no training saw. Of Dataset2 and Dataset3 no slide is known: "
    "pictures of one slide may stand on both sides, and intervals are over pictures. "
    "This project has 60 of the 100 images of Dataset3.",
    "3": "Where only some combinations are there on five folds, compare these with one "
    "another, and all of them on the fold that they share.",
    "4": "The decoder on ResNet50 is 512, 256, 128 and 64 channels wide, after wider "
    "skips, that on VGG16 256, 128, 64 and 32.",
}


def load_published(path: str | Path | None = None) -> dict:
    """Read published tables; by default those of the paper.

    Raises:
        UsageError: if the file is not there, or holds something else.
    """
    place = PAPER if path is None else Path(path)
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UsageError(
            f"{place} cannot be read as published tables: {fault}; expected a file "
            f"like {PAPER}"
        ) from fault
    tables = content.get("tables") if isinstance(content, dict) else None
    kinds = [t.get("kind") for t in tables or () if isinstance(t, dict)]
    if not kinds or not set(kinds) <= set(COLUMNS) or "digits" not in content:
        raise UsageError(
            f"{place} holds tables of kind {kinds}; expected 'digits' and 'tables', "
            f"each of kind {', '.join(COLUMNS)}, as in {PAPER}"
        )
    return content


def implied_scores(kind: str, row: Mapping, tables: Sequence[Mapping]) -> dict:
    """Return the scores that the printed ones of a row imply, in percent.

    ``f1`` and ``iou`` follow from precision and recall; of ``binary`` rows also
    ``mIoU``. Rows of ``means`` give ``background_iou``, what the printed mIoU needs
    beside the printed IoUs, and ``class_mIoU``, with the IoUs of precision and recall.
    """
    if kind == "means":
        classes = classes_of(row, tables)
        if not classes or "mIoU" not in row:
            return {}
        count = len(classes) + 1
        background = count * row["mIoU"] - sum(one["iou"] for one in classes)
        implied = [implied_iou(one["precision"], one["recall"]) for one in classes]
        mean = (sum(implied) + min(100.0, background)) / count
        return {"background_iou": background, "class_mIoU": mean}
    if not {"precision", "recall"} <= set(row):
        return {}
    sides = row["precision"], row["recall"]
    implied = {"f1": implied_f1(*sides), "iou": implied_iou(*sides)}
    if kind == "binary" and "accuracy" in row:
        implied["mIoU"] = binary_miou(*sides, row["accuracy"])
    return implied


def classes_of(row: Mapping, tables: Sequence[Mapping]) -> list[Mapping]:
    """Return the rows of the classes that a row of means is over, where printed."""
    same_as = row.get("same_as")
    return [
        other
        for table in tables
        if same_as and table["table"] == same_as["table"]
        for other in table["rows"]
        if other["method"] == same_as["method"]
    ]


def implied_f1(precision: float, recall: float) -> float:
    """Return the F1 of a precision and a recall, all in percent."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def iou_of_f1(f1: float) -> float:
    """Return the IoU of an F1: F1 / (2 - F1), in percent."""
    return 100 * f1 / (200 - f1)


def implied_iou(precision: float, recall: float) -> float:
    """Return the IoU of a precision and a recall, all in percent."""
    return iou_of_f1(implied_f1(precision, recall))


def binary_miou(precision: float, recall: float, accuracy: float) -> float:
    """Return the mean IoU of leukocyte and background, all in percent.

    NaN where no confusion matrix has these three.
    """
    missed, false = 100 / recall - 1, 100 / precision - 1
    errors = 1 - accuracy / 100
    if missed + false <= 0:
        return 100.0 if errors <= 0 else float("nan")
    hit = errors / (missed + false)
    rest = 1 - errors - hit
    if rest < 0:
        return float("nan")
    background = rest / (rest + errors) if rest else 0.0
    return implied_iou(precision, recall) / 2 + 50 * background


def paper_tables(results: Sequence[Result], metrics: Metrics) -> Section:
    """Return the paper's tables beside what is published here."""
    published = load_published()
    paper, tables = published["source"], published["tables"]
    source = (
        f"Printed: {paper['authors']}, {paper['title']}, {paper['journal']} "
        f"{paper['volume']}, {paper['article']} ({paper['year']})."
    )
    shown = tuple(
        ResultTable(
            f"paper_table_{table['table']}",
            f"Table {table['table']}. {table['title']}",
            COLUMNS[table["kind"]],
            tuple(_table_rows(table, tables, results, metrics)),
            lead=LEAD[table["kind"]],
            words=(0, 1),
            note=f"{source} {ALIKE} {NOTES[table['table']]}",
        )
        for table in tables
    )
    lead = (
        f"{source} Tested on 5 mosaics, 20 cells, "
        "almost certainly of slides that it trained on, too. Ours: with 95 % "
        "intervals, and under what they were measured; under half with images of half "
        "the size and another schedule than the paper's."
    )
    return Section("paper", "The paper's tables", lead, shown)


def _table_rows(
    table: Mapping,
    tables: Sequence[Mapping],
    results: Sequence[Result],
    metrics: Metrics,
) -> Iterable[TableRow]:
    kind = table["kind"]
    results = _of_one_length(table["rows"], results)
    combinations = dict(COMBINATIONS) if table["table"] == "3" else {}
    for row in table["rows"]:
        combinations.pop(row["config"].removeprefix(TABLE3), None)
        implied = implied_scores(kind, row, tables)
        if kind == "class":
            name = f"{row['class']}, {row['method']}"
            printed = [row[key] for key in OF_CLASS] + [implied["iou"]]
            wanted = [f"{key}.{row['class']}" for key in OF_CLASS]
        elif kind == "binary":
            name = f"{row['dataset']} ({row['data']}), {row['method']}"
            printed = [row[key] for key in BINARY_PRINTED] + [implied["mIoU"]]
            wanted = BINARY
        else:
            name, wanted = row["method"], MEANS
            printed = [row["mIoU"], implied.get("class_mIoU"), row["accuracy"]]
        yield TableRow((name, "as printed", *printed), kind="printed")
        yield from _our_rows(row, name, wanted, results, metrics)
    for combination, name in combinations.items():
        yield TableRow((name, "not in the paper"), kind="printed")
        row = dict(config=f"{TABLE3}{combination}")
        yield from _our_rows(row, name, MEANS, results, metrics)


def _of_one_length(
    rows: Sequence[Mapping], results: Sequence[Result]
) -> Sequence[Result]:
    """Leave out trainings of another length than their protocol's.

    All stay where a row has no others, so that its table can be compared.
    """
    own = [result for result in results if result.first.own_length]
    missed = [row for row in rows if matching(row, results) and not matching(row, own)]
    return results if missed else own


def _our_rows(
    row: Mapping,
    name: str,
    wanted: Sequence[str],
    results: Sequence[Result],
    metrics: Metrics,
) -> Iterable[TableRow]:
    binary = wanted is BINARY
    results = [
        result
        for result in results
        if result.all_classes != binary
        and (not binary or result.first.data["dataset"] == row["data"])
    ]
    found = matching(row, results)
    for result in found:
        what = f"{result.name} ({result.encoder_words}): {result.conditions()}"
        shown = list(metrics.of(result, wanted).values())
        if wanted is MEANS:
            shown.insert(1, None)  # `Table 1 gives` is of printed rows
        yield TableRow((name, what, *shown), result.links)
    if found:
        return
    if row.get("data") in NOT_AVAILABLE:
        lacking = "not available here"
    else:
        setting = f", setting {row['setting']}" if row.get("setting") else ""
        on = " on two classes (protocol robust)" if binary else ""
        config = row["config"].removeprefix("ablation/")
        lacking = f"no run of {config}{setting}{on} is published"
    yield TableRow((name, lacking), kind="lacking")


def matching(row: Mapping, results: Iterable[Result]) -> list[Result]:
    """Return the results of a printed row's ``config``, its own ``setting`` first."""
    config, found = row["config"], []
    for result in results:
        name = (result.method, result.variant)
        if config.startswith(TABLE3):
            wanted = config.removeprefix(TABLE3)
            if name == ("unet_vgg16", wanted) or SAME_AS.get(name) == wanted:
                found.append((False, 0, result))
        elif result.method == config and result.variant in ORDER:
            far = result.variant != row.get("setting")
            found.append((far, ORDER.index(result.variant), result))
    return [result for _, _, result in sorted(found, key=lambda each: each[:2])]
