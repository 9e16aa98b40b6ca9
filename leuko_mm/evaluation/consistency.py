"""Whether printed scores can belong to one confusion matrix, and what they imply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leuko_mm.evaluation.confusion import CLASS_KEYS, METRIC_KEYS, scores

# Of scores that were not rounded, in percent points.
EXACT = 1e-9
Printed = Mapping[str, float | None]


@dataclass(frozen=True)
class Contradiction:
    """A figure that the others rule out.

    Attributes:
        where: the row that it stands in; '' where there is one only.
        key: which figure.
        printed: what was printed, in percent.
        low: the least that it could be, given the others and their rounding.
        high: the most.
        rule: why.
    """

    where: str
    key: str
    printed: float
    low: float
    high: float
    rule: str

    def __str__(self) -> str:
        """Say it in one line, with as many digits as show the difference."""
        digits = 2 if min(abs(self.printed - e) for e in self._ends) >= 0.005 else 9
        bounds = " to ".join(dict.fromkeys(f"{end:.{digits}f}" for end in self._ends))
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.key} {self.printed:.{digits}f}, {self.rule}: {bounds}"

    @property
    def _ends(self) -> tuple[float, float]:
        return self.low, self.high


def implied_f1(precision: float, recall: float) -> float:
    """Return the F1 of a precision and a recall, all in percent.

    Example:
        >>> round(implied_f1(93.04, 88.57), 2)
        90.75
    """
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def implied_iou(precision: float, recall: float) -> float:
    """Return the IoU of a precision and a recall, all in percent.

    Example:
        >>> round(implied_iou(93.04, 88.57), 2)
        83.07
    """
    return iou_of_f1(implied_f1(precision, recall))


def iou_of_f1(f1: float) -> float:
    """Return the IoU that an F1 is the same as: F1 / (2 - F1), in percent.

    Example:
        >>> round(iou_of_f1(90.75), 2)
        83.07
    """
    return 100 * f1 / (200 - f1)


def class_contradictions(
    printed: Printed, *, digits: int | None = None, where: str = ""
) -> list[Contradiction]:
    """Return which scores of one class cannot stand beside the others.

    Args:
        printed: some of ``precision``, ``recall``, ``f1`` and ``iou``, in percent;
            None and NaN count as not printed, other keys are left alone.
        digits: behind the point that they were rounded to; None: not rounded.
        where: the row's name.

    Example:
        >>> row = {"precision": 92.71, "recall": 80.26, "iou": 88.94, "f1": 86.04}
        >>> for found in class_contradictions(row, digits=2):
        ...     print(found)
        iou 88.94, precision and recall give IoU: 75.49 to 75.50
        iou 88.94, IoU = F1 / (2 - F1): 75.49 to 75.51
        iou 88.94, IoU <= precision and recall: 0.00 to 80.27
    """
    known = printed_figures(printed, ("precision", "recall", "f1", "iou"))
    ends = {key: rounding_ends(value, digits) for key, value in known.items()}
    bounds = [(key, (0.0, 100.0), "a share") for key in known]
    sides = [ends[key] for key in ("precision", "recall") if key in ends]
    if len(sides) == 2:
        least, most = zip(*sides, strict=True)
        f1 = implied_f1(*least), implied_f1(*most)
        bounds += [("f1", f1, "precision and recall give F1")]
        iou = implied_iou(*least), implied_iou(*most)
        bounds += [("iou", iou, "precision and recall give IoU")]
    if "f1" in ends:
        iou = tuple(map(iou_of_f1, ends["f1"]))
        bounds += [("iou", iou, "IoU = F1 / (2 - F1)")]
    if sides:
        most = min(high for _, high in sides)
        bounds += [("iou", (0.0, most), "IoU <= precision and recall")]
    if len(sides) == 2:
        between = min(low for low, _ in sides), max(high for _, high in sides)
        bounds += [("f1", between, "F1 lies between precision and recall")]
    return outside(known, bounds, digits, where)


def mean_contradictions(
    printed: Printed, *, digits: int | None = None, where: str = ""
) -> list[Contradiction]:
    """Return which means over the same classes cannot stand beside each other.

    An IoU is at most its class's precision, recall and F1, so its mean is at most
    theirs. And since F1 / (2 - F1) curves upwards, the mean IoU is at least what the
    mean F1 gives. Both hold also where an undefined precision or recall is left out
    of its mean: the IoU of such a class is 0.

    Args:
        printed: some of ``mPrecision``, ``mRecall``, ``mF1`` and ``mIoU``, in percent.
        digits: behind the point that they were rounded to; None: not rounded.
        where: the row's name.

    Example:
        >>> row = {"mPrecision": 99.15, "mRecall": 98.79, "mIoU": 99.73}
        >>> [str(found) for found in mean_contradictions(row, digits=2)]
        ['mIoU 99.73, mIoU <= mean precision, recall and F1: 0.00 to 98.80']
    """
    keys = ("mPrecision", "mRecall", "mF1", "mIoU")
    known = printed_figures(printed, keys)
    ends = {key: rounding_ends(value, digits) for key, value in known.items()}
    bounds = [(key, (0.0, 100.0), "a share") for key in known]
    highs = [ends[key][1] for key in keys[:3] if key in ends]
    if highs:
        words = "mIoU <= mean precision, recall and F1"
        bounds += [("mIoU", (0.0, min(highs)), words)]
    if "mF1" in ends:
        least = iou_of_f1(ends["mF1"][0])
        bounds += [("mIoU", (least, 100.0), "mIoU >= mF1 / (2 - mF1)")]
    return outside(known, bounds, digits, where)


def results_contradictions(results: Mapping) -> list[Contradiction]:
    """Return what in a results file contradicts itself; nothing, if all is well.

    Every score is computed again from the file's confusion matrix; besides, the
    scores of each class and the means are held against each other.

    Args:
        results: with ``metrics``, ``per_class`` and ``confusion``.
    """
    found = mean_contradictions(results["metrics"], where="means")
    for name, row in results["per_class"].items():
        found += class_contradictions(row, where=name)
    again = scores(results["confusion"], list(results["per_class"]))
    found += _other_than(again.metrics, results["metrics"], METRIC_KEYS, "means")
    for name, row in again.per_class.items():
        found += _other_than(row, results["per_class"][name], CLASS_KEYS, name)
    return found


def outside(
    known: Mapping[str, float],
    bounds: Sequence[tuple[str, tuple[float, float], str]],
    digits: int | None,
    where: str,
) -> list[Contradiction]:
    """Return the printed figures that lie outside their bounds by more than rounding.

    Args:
        known: the printed figures.
        bounds: figures with the least and the most that each can be, and why.
        digits: behind the point that the figures were rounded to; None: not rounded.
        where: the row's name.
    """
    half = half_step(digits)
    return [
        Contradiction(where, key, known[key], low, high, rule)
        for key, (low, high), rule in bounds
        if key in known and not low - half <= known[key] <= high + half
    ]


def printed_figures(printed: Printed, keys: Sequence[str]) -> dict[str, float]:
    """Return those of the figures that are printed and no NaN."""
    # NaN is the only number that differs from itself.
    values = {key: printed.get(key) for key in keys}
    return {k: v for k, v in values.items() if v is not None and v == v}


def rounding_ends(value: float, digits: int | None) -> tuple[float, float]:
    """Return the least and the most that a share in percent was before rounding.

    Example:
        >>> [round(end, 3) for end in rounding_ends(99.8, 0)]
        [99.3, 100.0]
    """
    half = half_step(digits)
    return max(0.0, value - half), min(100.0, value + half)


def half_step(digits: int | None) -> float:
    """Return how far rounding moves a figure at most, in percent points."""
    return EXACT if digits is None else 0.5 * 10.0**-digits + EXACT


def _other_than(
    right: Printed, printed: Printed, keys: Sequence[str], where: str
) -> list[Contradiction]:
    rule = "the confusion matrix gives"
    known, bounds = {}, []
    for key in keys:
        value, expected = printed.get(key), right[key]
        if (value is None) != (expected is None):
            nan = float("nan")
            known[key] = nan if value is None else value
            bounds.append(
                (key, (nan,) * 2 if expected is None else (expected,) * 2, rule)
            )
        elif value is not None:
            known[key] = value
            bounds.append((key, (expected,) * 2, rule))
    return outside(known, bounds, None, where)
