"""Write how large every method is: docs/model_table.json and the table in a page.

    python tools/model_table.py --json docs/model_table.json --page docs/methods.md

Without arguments the table is printed.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from leuko_mm.workflows.find_config import config_home
from leuko_mm.workflows.model_size import model_size
from leuko_mm.workflows.resolve_config import resolve_config

SIZE = 512
BLOCK = re.compile(r"(<!-- model table -->\n).*?(<!-- end of model table -->)", re.S)


def leaves() -> list[str]:
    """Return the names of the methods' configs; ablations share their models' sizes."""
    return sorted(path.stem for path in config_home().glob("*.py"))


def measure(names: list[str]) -> dict:
    """Return the sizes of methods, by name."""
    return {name: model_size(resolve_config(name), SIZE) for name in names}


def render(sizes: dict) -> str:
    """Return the sizes as a table in markdown, smallest model first."""
    lines = [
        "| config | parameters, millions | multiply-adds at "
        f"{SIZE}x{SIZE}, 10^9 | encoder starts from |",
        "|---|---:|---:|---|",
    ]
    for name, row in sorted(sizes.items(), key=lambda item: item[1]["gmacs"]):
        start = f"ImageNet, `{row['pretrained']}`" if row["pretrained"] else "random"
        lines.append(
            f"| `{name}` | {row['params_m']:.1f} | {row['gmacs']:.1f} | {start} |"
        )
    return "\n".join(lines) + "\n"


def put_into(page: str, table: str) -> str:
    """Return a page with its block of sizes replaced.

    Raises:
        ValueError: if the page has no such block.
    """
    if not BLOCK.search(page):
        raise ValueError(
            "the page has no '<!-- model table -->' with '<!-- end of model table -->' "
            "below it; put both where the table belongs"
        )
    return BLOCK.sub(lambda found: found[1] + table + found[2], page)


def main() -> None:
    """Measure, then write or print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the sizes as JSON")
    parser.add_argument("--page", type=Path, help="replace the table in this page")
    given = parser.parse_args()
    sizes = measure(leaves())
    table = render(sizes)
    if given.json:
        given.json.write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    if given.page:
        page = given.page.read_text(encoding="utf-8")
        given.page.write_text(put_into(page, table), encoding="utf-8")
    if not (given.json or given.page):
        print(table, end="")


if __name__ == "__main__":
    main()
