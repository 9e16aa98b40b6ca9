"""Renew configs/metafile.yml and docs/model_zoo.md from what is measured and shipped.

    python tools/model_zoo.py

Sizes come from docs/model_table.json, figures and hashes from the checkpoints in the
package; addresses and hashes of files elsewhere stay as the metafile has them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from leuko_mm.inference.shipped import shipped_folder, shipped_names
from leuko_mm.workflows.zoo_entries import (
    ZooEntry,
    metafile_path,
    read_entries,
    renewed,
    to_yaml,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "model_zoo.md"
BLOCK = re.compile(r"(<!-- models -->\n).*?(<!-- end of models -->)", re.S)
HEAD = "# The list of models: written by tools/model_zoo.py, addresses by hand.\n"


def entries() -> list[ZooEntry]:
    """Return the list as it should be."""
    sizes = json.loads((DOCS / "model_table.json").read_text())
    sidecars = {
        name: json.loads((shipped_folder() / f"{name}.json").read_text())
        for name in shipped_names()
    }
    former = read_entries() if metafile_path().is_file() else []
    return renewed(former, sizes, sidecars)


def table(models: list[ZooEntry]) -> str:
    """Return the models as a table in Markdown."""
    lines = [
        "| model | parameters, millions | checkpoint | measured on | mIoU | pixel "
        "accuracy | train it |",
        "|---|---:|---|---|---:|---:|---|",
    ]
    for model in models:
        data, metrics = next(iter(model.metrics.items()), ("-", {}))
        miou, accuracy = (
            f"{metrics[key]:.2f}" if key in metrics else "-"
            for key in ("mIoU", "pixel_accuracy")
        )
        where = "none yet"
        if model.shipped:
            where = f"in the package, [card](../leuko_mm/zoo/{model.name}.md)"
        elif model.weights:
            where = f"[file]({model.weights})"
        lines.append(
            f"| `{model.name}` | {model.params_m:.1f} | {where} | {data} | {miou} | "
            f"{accuracy} | `{model.command}` |"
        )
    return "\n".join(lines) + "\n"


def put_into(page: str, models: list[ZooEntry]) -> str:
    """Return the page with its table replaced.

    Raises:
        ValueError: if it has no place for one.
    """
    if not BLOCK.search(page):
        raise ValueError(f"{PAGE} has no '<!-- models -->' with its end below it")
    return BLOCK.sub(lambda found: found[1] + table(models) + found[2], page)


def main() -> None:
    """Write both files."""
    models = entries()
    metafile_path().write_text(HEAD + to_yaml(models), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(put_into(page, models), encoding="utf-8")


if __name__ == "__main__":
    main()
