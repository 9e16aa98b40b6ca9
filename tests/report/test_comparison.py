"""Tables of a comparison as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io

import pytest

from leuko_mm.report.comparison_page import (
    ComparisonReport,
    ResultFigure,
    ResultTable,
    Section,
    TableRow,
    csv_table,
    latex_table,
    markdown_page,
)
from leuko_mm.report.html import Measured
from leuko_mm.report.plots import Plot, PlotPoint, PlotSeries
from leuko_mm.report.run_page import FileLink, Headline

LINK = FileLink("half/unet-fold5-s0.json", "fold5")


@pytest.fixture
def table():
    return ResultTable(
        "t",
        "Scores & more",
        ("method", "mIoU", "n"),
        (
            TableRow(('u"net, a|b', Measured(79.784, 70.0, 85.5), 3), (LINK,)),
            TableRow(("unet_x", 50.0), kind="printed"),
            TableRow(("none", Measured(None)), kind="lacking"),
        ),
    )


def test_csv_reads_back_with_all_digits(table):
    rows = list(csv.DictReader(io.StringIO(csv_table(table))))
    assert rows[0]["method"] == 'u"net, a|b'
    assert float(rows[0]["mIoU"]) == 79.784
    assert (rows[0]["mIoU low"], rows[0]["mIoU high"]) == ("70.0", "85.5")
    assert rows[0]["files"] == LINK.path
    assert (rows[1]["mIoU"], rows[1]["mIoU low"], rows[2]["mIoU"]) == ("50.0", "", "")


def test_latex_escapes_and_has_as_many_cells_as_columns(table):
    text = latex_table(table)
    assert "Scores \\& more" in text
    assert "unet\\_x & 50.00 & " in text
    rows = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert [row.count("&") for row in rows] == [2, 2, 2, 2]


def test_markdown_shows_every_part_and_leads_to_the_files(table):
    plot = Plot((PlotSeries("a", (PlotPoint(1, 2),)),), "x", "y")
    figure = ResultFigure("f", "A plot", plot, "What it shows.", (LINK,))
    section = Section("s", "Part", "Words.", (table,), (figure,))
    report = ComparisonReport(
        "Two runs.", (Headline("mIoU", 79.784, "n"),), (section,), "End."
    )
    text = markdown_page(report, {"f": "figures/f.svg"}, "../")
    assert "**mIoU**: 79.78 % (n)" in text
    assert "![A plot](figures/f.svg)" in text
    assert text.count("[fold5](../half/unet-fold5-s0.json)") == 2
    assert "79.78 [70.00, 85.50]" in text
    assert "| none | - |" in text
    assert text.index("# Comparison") < text.index("## Part") < text.index("End.")
