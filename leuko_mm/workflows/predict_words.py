"""What a prediction found, said on a terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from leuko_mm.inference.prediction import UNSURE
from leuko_mm.workflows.predict_request import PredictOutcome
from leuko_mm.workflows.predict_state import REPORT
from leuko_mm.workflows.predict_tables import count_table

# How a scale was found, in front of the number of images.
WAYS = {
    "factor": "as given for",
    "um_per_px": "by the size of a pixel in",
    "red cells": "by red cells in",
    "assumed": "only assumed in",
}


def outcome_lines(outcome: PredictOutcome, out: Path) -> list[str]:
    """Return what was found, for a terminal."""
    total = len(outcome.records) + len(outcome.failed)
    before = len(outcome.records) - outcome.new
    former = f" ({before} of them before)" if before else ""
    lines = [f"{len(outcome.records)} of {total} images done{former}"]
    if outcome.records:
        names = outcome.records[0]["classes"][1:]
        rows = count_table(outcome.records, names)
        width = max(map(len, names))
        lines += [
            f"  {row.name:{width}}  {row.count:5}  {row.percent:5.1f} %  "
            f"({row.low:.1f} to {row.high:.1f})"
            for row in rows
        ]
        lines += _scale_lines(outcome)
    return [*lines, f"look at {out / REPORT}"]


def _scale_lines(outcome: PredictOutcome) -> list[str]:
    scales = [record["scale"] for record in outcome.records]
    factors = sorted(scale["factor"] for scale in scales)
    ways = Counter(scale["how"] for scale in scales)
    counted = ", ".join(f"{WAYS.get(way, way)} {n}" for way, n in ways.items())
    sure = min(scale["confidence"] for scale in scales)
    told = (
        f"{factors[0]:.3g} to {factors[-1]:.3g} ({counted}), the least sure to "
        f"{sure:.0%}; image by image in images.csv"
    )
    if len(scales) == 1:
        told = scales[0]["note"] or told
    lines = [f"scale: {told}"]
    unsure = sum(scale["confidence"] < UNSURE for scale in scales)
    if unsure:
        lines.append(
            f"in {unsure} of {len(scales)} images the scale is sure to less than "
            f"{UNSURE:.0%}: cells there may be missed or get another class; give "
            "--scale or --um-per-px if you know it"
        )
    return lines
