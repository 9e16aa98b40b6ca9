"""Put what `leuko bench` measured into docs/benchmarks.md: tables, command, targets.

    python tools/benchmark_page.py

Between the marks of each results/bench_*.json, the page is made of that file alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from leuko_mm.files import write_text
from leuko_mm.report.bench_table import bench_page

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
MEASURED = ROOT / "results"


def section(found: Mapping) -> str:
    """Return what the page says of one file: its command, then its tables."""
    tables = re.sub(r"^## ", "### ", bench_page(found), flags=re.MULTILINE)
    return f"    {found['command']}\n\n{tables}"


def renewed(page: str, name: str, found: Mapping) -> str:
    """Return the page with what stands between the marks of a file put anew.

    Raises:
        ValueError: if the page has no such marks.

    Example:
        >>> renewed("no marks", "bench_train", {})
        Traceback (most recent call last):
        ValueError: the page has no <!-- bench_train --> with <!-- end --> after it
    """
    begin, end = f"<!-- {name} -->", "<!-- end -->"
    before, mark, rest = page.partition(begin)
    if not mark or end not in rest:
        raise ValueError(f"the page has no {begin} with {end} after it")
    after = rest.partition(end)[2]
    return f"{before}{begin}\n\n{section(found)}\n\n{end}{after}"


def renewed_page() -> str:
    """Return the page as the committed files make it."""
    page = PAGE.read_text(encoding="utf-8")
    for path in sorted(MEASURED.glob("bench_*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        page = renewed(page, path.stem, found)
    return page


def main() -> None:
    write_text(PAGE, renewed_page())


if __name__ == "__main__":
    main()
