"""All that sums a prediction up, made from the records of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.files import write_text
from leuko_mm.report.predict_report import render_predict_report
from leuko_mm.workflows.predict_exchange import write_exchange
from leuko_mm.workflows.predict_page import predict_page
from leuko_mm.workflows.predict_state import REPORT, write_state
from leuko_mm.workflows.predict_tables import write_tables


@dataclass(frozen=True)
class Exchange:
    """Which files for other programs are written too."""

    coco: bool = False
    geojson: bool = False


def write_outputs(
    out: Path,
    records: Sequence[Mapping],
    failed: Mapping[str, str],
    state: Mapping,
    exchange: Exchange,
) -> None:
    """Write tables, files for other programs and the report, then the last word.

    Args:
        out: folder of the results, which holds the images' own files.
        records: of the images, in order.
        failed: image and reason.
        state: of ``predict.json``.
        exchange: what else is wanted.
    """
    classes = state["classes"]
    write_tables(out, records, failed, classes)
    write_exchange(out, records, classes, coco=exchange.coco, geojson=exchange.geojson)
    page = predict_page(out, records, failed, state)
    write_text(out / REPORT, render_predict_report(page))
    write_state(out, {**state, "failed": dict(failed), "complete": True})
