"""The page about a comparison: tables, plots and where their figures stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from leuko_mm.report.comparison_plots import DARK_INK, INK, Drawable
from leuko_mm.report.html import data_uri, render
from leuko_mm.report.measured import Measured
from leuko_mm.report.run_report import ClassLabel, FileLink, Headline

Cell = str | int | float | Measured | None


@dataclass(frozen=True)
class TableRow:
    """One row.

    Args:
        cells: one a column: words, a number, a figure with its interval, or None for
            an empty place.
        links: the results files that it is made of.
        kind: ``result``, ``printed`` (others have published it), ``heading`` (a line
            of its own, in the first cell), ``lacking`` (no run is there), or ``term``
            (what a word means).
    """

    cells: tuple[Cell, ...]
    links: tuple[FileLink, ...] = ()
    kind: str = "result"


@dataclass(frozen=True)
class ResultTable:
    """A table as every format shows it.

    Args:
        name: of its files, without a suffix.
        title: the heading.
        columns: the heads; those in ``words`` hold words, the others numbers.
        rows: in their order.
        lead: what it shows, in a few sentences.
        words: numbers of the columns that hold words.
        note: what a reader must know to use it.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    lead: str = ""
    words: tuple[int, ...] = (0,)
    note: str = ""

    @property
    def linked(self) -> bool:
        """Whether any row leads to results files."""
        return any(row.links for row in self.rows)


@dataclass(frozen=True)
class ResultFigure:
    """A plot with its words.

    Args:
        name: of its file, without a suffix.
        title: the heading.
        plot: what is drawn.
        lead: what it shows.
        links: the results files that it is made of.
    """

    name: str
    title: str
    plot: Drawable
    lead: str
    links: tuple[FileLink, ...]


@dataclass(frozen=True)
class ShownConfusion:
    """Where the pixels of each class went, and the cells.

    Args:
        title: the heading.
        lead: what it shows.
        classes: in the order of their ids.
        counts: pixels, rows truth, columns prediction.
        shares: the same in percent of each row.
        cells: the cells by true class and by the class of most of their pixels.
        links: the results files.
    """

    title: str
    lead: str
    classes: tuple[ClassLabel, ...]
    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float | None, ...], ...]
    cells: ResultTable
    links: tuple[FileLink, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        name: its anchor.
        title: its heading.
        lead: what it says, or why there is nothing to show.
        tables, figures, confusions: what it shows, in this order.
    """

    name: str
    title: str
    lead: str = ""
    tables: tuple[ResultTable, ...] = ()
    figures: tuple[ResultFigure, ...] = ()
    confusions: tuple[ShownConfusion, ...] = ()


@dataclass(frozen=True)
class ComparisonReport:
    """All that the page says.

    Args:
        summary: what is compared, in a sentence or two.
        headlines: the first figures.
        sections: in the order of the page.
        closing: the last sentences.
    """

    summary: str
    headlines: tuple[Headline, ...]
    sections: tuple[Section, ...]
    closing: str

    @property
    def tables(self) -> tuple[ResultTable, ...]:
        """Return all tables, those of confusions too."""
        found = [table for section in self.sections for table in section.tables]
        found += [c.cells for section in self.sections for c in section.confusions]
        return tuple(found)

    @property
    def figures(self) -> tuple[ResultFigure, ...]:
        """Return all plots."""
        return tuple(figure for section in self.sections for figure in section.figures)


def render_comparison(
    report: ComparisonReport,
    pictures: Mapping[str, bytes],
    files: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the page as the text of one HTML file.

    Args:
        report: see :class:`ComparisonReport`.
        pictures: its plots as :func:`leuko_mm.report.comparison_plots.plot_svg` draws
            them, by their names.
        files: paths of the same tables as files, without suffix, by their names.
    """
    curves = {
        name: {
            scheme: data_uri(drawn.replace(INK.encode(), ink), "image/svg+xml")
            for scheme, ink in (("light", INK.encode()), ("dark", DARK_INK.encode()))
        }
        for name, drawn in pictures.items()
    }
    return render(
        "comparison.html",
        {
            "title": "Comparison of methods",
            "script": "",
            "report": report,
            "curves": curves,
            "files": dict(files),
            "cell_text": cell_text,
        },
    )


def cell_text(cell: Cell) -> str:
    """Return a cell as words, its interval behind it.

    Example:
        >>> cell_text(Measured(79.784, 71.2, 85.06)), cell_text(3), cell_text(1.5)
        ('79.78 [71.20, 85.06]', '3', '1.50')
        >>> cell_text(None), cell_text(Measured(None)), cell_text("a")
        ('', '-', 'a')
    """
    if cell is None:
        return ""
    if isinstance(cell, (str, int)):
        return str(cell)
    if isinstance(cell, float):
        cell = Measured(cell)
    value, low, high = (
        None if end is None or end != end else f"{end:.{cell.digits}f}"
        for end in (cell.value, cell.low, cell.high)
    )
    if value is None:
        return "-"
    return value if None in (low, high) else f"{value} [{low}, {high}]"
