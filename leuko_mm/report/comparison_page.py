"""The page about a comparison, and its tables as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

from leuko_mm.report.html import Measured, data_uri, render
from leuko_mm.report.plots import DARK_INK, INK, IntervalPlot, Plot
from leuko_mm.report.run_page import ClassLabel, FileLink, Headline

Cell = str | int | float | Measured | None
INTERVALS = "Brackets: 95 % bootstrap intervals over slides, then cells of slides."
LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


@dataclass(frozen=True)
class TableRow:
    """One row: words, numbers, metrics with intervals, or None for an empty place.

    ``kind`` is ``result``, ``printed`` (others have published it), ``lacking`` (no run
    is
    there), or ``term`` (what a word means).
    """

    cells: tuple[Cell, ...]
    links: tuple[FileLink, ...] = ()
    kind: str = "result"


@dataclass(frozen=True)
class ResultTable:
    """A table as every format shows it.

    Args:
        name: of its files, without a suffix.
        rows: in their order; those with fewer cells than columns are filled up.
        lead: what it shows, in a few sentences.
        words: numbers of the columns that hold words; the others hold numbers.
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

    @property
    def cells(self) -> list[tuple[Cell, ...]]:
        """The cells of every row, one a column."""
        width = len(self.columns)
        return [(*row.cells, *[None] * (width - len(row.cells))) for row in self.rows]


@dataclass(frozen=True)
class ResultFigure:
    """A plot with its words; ``name`` is that of its file, without a suffix."""

    name: str
    title: str
    plot: Plot | IntervalPlot
    lead: str
    links: tuple[FileLink, ...]


@dataclass(frozen=True)
class ShownConfusion:
    """Where the pixels of each class went, and the cells.

    Args:
        counts: pixels, rows truth, columns prediction.
        shares: the same in percent of each row.
        cells: by true class and by the class of most of their pixels.
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
    """A section; ``lead`` is what it says, or why there is nothing to show."""

    name: str
    title: str
    lead: str = ""
    tables: tuple[ResultTable, ...] = ()
    figures: tuple[ResultFigure, ...] = ()
    confusions: tuple[ShownConfusion, ...] = ()


@dataclass(frozen=True)
class ComparisonReport:
    """All that the page says, in its order."""

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
    report: ComparisonReport, pictures: Mapping[str, bytes], files: Mapping[str, str]
) -> str:
    """Return the page as the text of one HTML file.

    ``pictures`` are its plots as SVG, ``files`` paths of its tables, both by name.
    """
    inks = {"light": INK.encode(), "dark": DARK_INK.encode()}
    curves = {
        name: {
            scheme: data_uri(drawn.replace(inks["light"], ink), "image/svg+xml")
            for scheme, ink in inks.items()
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
            "files": files,
            "cell_text": cell_text,
        },
    )


def cell_text(cell: Cell) -> str:
    """Return a cell as words, its interval behind it: ``79.78 [71.20, 85.06]``."""
    if cell is None:
        return ""
    if isinstance(cell, (str, int)):
        return str(cell)
    if isinstance(cell, float):
        cell = Measured(cell)
    value, low, high = (
        f"{end:.{cell.digits}f}" if _is_known(end) else None
        for end in (cell.value, cell.low, cell.high)
    )
    if value is None:
        return "-"
    return value if None in (low, high) else f"{value} [{low}, {high}]"


def _is_known(number: float | None) -> bool:
    # NaN is the only number that differs from itself.
    return number is not None and number == number


def markdown_page(
    report: ComparisonReport, pictures: Mapping[str, str], up: str
) -> str:
    """Return the whole report as Markdown.

    ``pictures`` are paths of the plots by name; ``up`` leads to the folder of results.
    """
    parts = ["# Comparison of methods", report.summary]
    parts += [
        f"- **{h.label}**: {cell_text(Measured(h.value))} % ({h.note})"
        for h in report.headlines
    ]
    for section in report.sections:
        parts += [f"## {section.title}", section.lead]
        for table in section.tables:
            parts += [f"### {table.title}", markdown_table(table, up)]
        for figure in section.figures:
            parts += [f"### {figure.title}", figure.lead]
            parts += [f"![{figure.title}]({pictures[figure.name]})"]
            parts += [f"Drawn from {_linked(figure.links, up)}."]
        for shown in section.confusions:
            parts += [f"### {shown.title}", shown.lead]
            for table in (_pixel_table(shown), shown.cells):
                parts += [f"#### {table.title}", markdown_table(table, up)]
    parts.append(report.closing)
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: ResultTable, up: str = "") -> str:
    """Return a table as Markdown, with its lead above and its note below.

    The last column leads to the results files, where there are any.
    """
    rule = ["---" if i in table.words else "---:" for i in range(len(table.columns))]
    more = table.linked
    lines = [
        f"| {' | '.join((*table.columns, *['file'] * more))} |",
        f"|{'|'.join((*rule, *['---'] * more))}|",
    ]
    for row, cells in zip(table.rows, table.cells, strict=True):
        texts = [cell_text(cell).replace("|", r"\|") for cell in cells]
        texts += [_linked(row.links, up)] * more
        lines.append(f"| {' | '.join(texts)} |")
    return "\n\n".join(p for p in (table.lead, "\n".join(lines), table.note) if p)


def _linked(links: tuple[FileLink, ...], up: str) -> str:
    return ", ".join(f"[{link.words}]({up}{link.path})" for link in links)


def _pixel_table(shown: ShownConfusion) -> ResultTable:
    names = [label.name for label in shown.classes]
    rows = [
        TableRow((name, *map(Measured, shares)), shown.links)
        for name, shares in zip(names, shown.shares, strict=True)
    ]
    title = "Pixels: true class, and the class that they got, in percent"
    return ResultTable("confused_pixels", title, ("true class", *names), tuple(rows))


def csv_table(table: ResultTable) -> str:
    """Return a table as CSV: an interval in two columns of its own, links in the last.

    Numbers have all their digits.
    """
    columns = list(zip(*table.cells, strict=True)) or [()] * len(table.columns)
    wide = [any(map(_has_interval, column)) for column in columns]
    header = []
    for name, more in zip(table.columns, wide, strict=True):
        header += [name, *[f"{name} low", f"{name} high"] * more]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*header, "files"])
    for row, cells in zip(table.rows, table.cells, strict=True):
        values: list = []
        for cell, more in zip(cells, wide, strict=True):
            value, *ends = (
                (cell.value, cell.low, cell.high)
                if isinstance(cell, Measured)
                else (cell, None, None)
            )
            shown = [value, *ends * more]
            values += [v if isinstance(v, str) or _is_known(v) else "" for v in shown]
        writer.writerow([*values, " ".join(link.path for link in row.links)])
    return buffer.getvalue()


def _has_interval(cell: Cell) -> bool:
    return isinstance(cell, Measured) and cell.low is not None


def latex_table(table: ResultTable) -> str:
    """Return a table as LaTeX, for the package booktabs.

    Below it is what a reader must know: what brackets hold, its lead and its note.
    """
    kinds = ["l" if i in table.words else "r" for i in range(len(table.columns))]
    rows = [
        " & ".join(_latex(cell_text(cell)) for cell in cells) for cells in table.cells
    ]
    brackets = any(_has_interval(cell) for cells in table.cells for cell in cells)
    below = " ".join(filter(None, (INTERVALS * brackets, table.lead, table.note)))
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        f"\\caption{{{_latex(table.title)}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{{''.join(kinds)}}}",
        "\\toprule",
        f"{' & '.join(map(_latex, table.columns))} \\\\",
        "\\midrule",
        *(f"{row} \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        *[f"\\par\\smallskip\\footnotesize {_latex(below)}"] * bool(below),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    return re.sub(r"[&%$#_{}\\~^]", lambda found: LATEX[found[0]], text)
