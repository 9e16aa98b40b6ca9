"""The per-class table of a run as text."""

from __future__ import annotations

from collections.abc import Mapping

from leuko_mm.evaluation.confusion import CLASS_KEYS

STYLES = ("markdown", "plain")
HEADER = ("class", "precision", "recall", "F1", "IoU", "one-vs-rest acc.")
MISSING = "-"

# (row title, metrics key of each column of HEADER after the first; None: empty)
MEAN_ROWS = (
    (
        "mean, with background",
        ("mPrecision", "mRecall", "mF1", "mIoU", "ovr_accuracy"),
    ),
    ("mean, foreground", (None, None, None, "mIoU_fg", None)),
)


def per_class_table(
    per_class: Mapping[str, Mapping[str, float | None]],
    metrics: Mapping[str, float | None],
    *,
    style: str = "markdown",
) -> str:
    """Set a run's scores as an aligned table, percentages with two decimals.

    One row a class in the order given, then the means; the pixel accuracy,
    which belongs to no column, stands in a line below with its name.

    Args:
        per_class: ``per_class`` of a results file.
        metrics: ``metrics`` of a results file.
        style: ``markdown`` or ``plain`` (for terminals and logs).

    Raises:
        ValueError: if the style is neither of the two.

    Example:
        >>> from leuko_mm.evaluation.confusion import scores
        >>> result = scores([[50, 10], [5, 35]])
        >>> print(per_class_table(result.per_class, result.metrics, style="plain"))
        class                  precision  recall     F1    IoU  one-vs-rest acc.
        background                 90.91   83.33  86.96  76.92             85.00
        leukocyte                  77.78   87.50  82.35  70.00             85.00
        ------------------------------------------------------------------------
        mean, with background      84.34   85.42  84.65  73.46             85.00
        mean, foreground                                 70.00
        <BLANKLINE>
        pixel accuracy 85.00 %, mean one-vs-rest accuracy 85.00 %
    """
    if style not in STYLES:
        raise ValueError(f"unknown table style {style!r}; expected one of {STYLES}")
    class_rows = [
        (name, *(_percent(values.get(key)) for key in CLASS_KEYS))
        for name, values in per_class.items()
    ]
    mean_rows = [
        (title, *("" if key is None else _percent(metrics.get(key)) for key in keys))
        for title, keys in MEAN_ROWS
    ]
    table = _aligned(class_rows, mean_rows, markdown=style == "markdown")
    return f"{table}\n\n{_accuracies(metrics)}"


def _accuracies(metrics: Mapping[str, float | None]) -> str:
    pixel = _percent(metrics.get("pixel_accuracy"))
    one_vs_rest = _percent(metrics.get("ovr_accuracy"))
    return f"pixel accuracy {pixel} %, mean one-vs-rest accuracy {one_vs_rest} %"


def _percent(value: float | None) -> str:
    # NaN is the only number that differs from itself.
    return MISSING if value is None or value != value else f"{value:.2f}"


def _aligned(
    class_rows: list[tuple[str, ...]],
    mean_rows: list[tuple[str, ...]],
    *,
    markdown: bool,
) -> str:
    rows = [HEADER, *class_rows, *mean_rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    left, gap, right = ("| ", " | ", " |") if markdown else ("", "  ", "")

    def line(row: tuple[str, ...]) -> str:
        name, *numbers = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return (left + gap.join((name, *numbers)) + right).rstrip()

    if markdown:
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        body = [line(HEADER), line(tuple(rule)), *map(line, [*class_rows, *mean_rows])]
    else:
        rule = "-" * (sum(widths) + len(gap) * (len(widths) - 1))
        body = [line(HEADER), *map(line, class_rows), rule, *map(line, mean_rows)]
    return "\n".join(body)
