"""The five commands of docs/train.md work as they are printed."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from tiny_run import leuko

from leuko_mm.datasets.converters.synthetic.dataset import synthetic_cells

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "train.md"


def five_commands() -> list[list[str]]:
    """Return the words of the commands of the page's first part."""
    part = PAGE.read_text(encoding="utf-8").split("\n## ")[1]
    blocks = re.findall(r"^```bash\n(.*?)^```", part, flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with the smears that the page speaks of."""
    place = tmp_path_factory.mktemp("guide")
    for name in ("images", "masks"):
        (place / "smears" / name).mkdir(parents=True)
    number = Counter()
    for cell in synthetic_cells(slides=10, cells_per_class=1, size=64):
        slide = f"slide{int(cell.group.split('_')[1]):02}"
        number[slide] += 1
        name = f"{slide}_{number[slide]}.png"
        Image.fromarray(cell.image).save(place / "smears" / "images" / name)
        Image.fromarray(cell.mask).save(place / "smears" / "masks" / name)
    return place


def test_the_table_that_is_shown_is_that_of_the_page(place):
    words = [word for word in five_commands()[0] if word != "--yes"]
    done = leuko(*words[1:], cwd=place, LEUKO_MM_DATA=place / "elsewhere")
    assert done.returncode == 2
    table = re.search(r"(?ms)^```\n(\d+ images.*?)^```", PAGE.read_text())[1]
    lines = table.splitlines(), done.stdout.splitlines()
    for expected, line in zip(*lines, strict=True):
        words, page = line.split(), expected.split()
        if page[0].isdecimal() and len(page) == 5:
            # Another library may draw a pixel of a cell's edge otherwise.
            for got, shown in zip(words[1:3], page[1:3], strict=True):
                number = float(shown.strip("%"))
                assert float(got.strip("%")) == pytest.approx(number, rel=0.02)
            del words[1:3], page[1:3]
        assert words == page
    assert "add --yes" in done.stderr
    assert not (place / "elsewhere").exists()


@pytest.mark.slow
def test_the_five_commands_train_a_model(place):
    # As printed, so the last one trains for minutes: ten on one thread.
    for words in five_commands():
        done = leuko(*words[1:], cwd=place, timeout=3600)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr[-3000:]}"
    run = place / "work_dirs" / "quickstart-half-fold5-s0-smears"
    results = json.loads((run / "results.json").read_text())
    assert results["data"]["dataset"] == "smears"
    train, test = (set(results["data"][f"{part}_groups"]) for part in ("train", "test"))
    assert not train & test
    assert (run / "quickstart-half-fold5-s0-smears.pth").is_file()
    assert (run / "report.html").is_file()
