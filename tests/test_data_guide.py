"""The five commands of docs/data.md work as they are printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from tiny_run import leuko

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "data.md"
SLIDES = 10


def five_commands() -> list[list[str]]:
    """Return the words of the commands of the page's first part."""
    part = PAGE.read_text(encoding="utf-8").split("\n## ")[1]
    blocks = re.findall(r"^```bash\n(.*?)^```", part, flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def make_smears(folder: Path, *, size: int) -> None:
    """Draw the folder that the page speaks of."""
    from leuko_mm.datasets.converters.synthetic.dataset import synthetic_cells

    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    number: dict[str, int] = {}
    cells = synthetic_cells(slides=SLIDES, cells_per_class=1, size=size)
    for cell in cells:
        slide = f"slide{int(cell.group.split('_')[1]):02}"
        number[slide] = number.get(slide, 0) + 1
        name = f"{slide}_{number[slide]}.png"
        Image.fromarray(cell.image).save(folder / "images" / name)
        Image.fromarray(cell.mask).save(folder / "masks" / name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    make_smears(folder / "smears", size=64)
    return folder


def test_the_table_that_is_shown_is_that_of_the_page(place):
    words = [word for word in five_commands()[0] if word != "--yes"]
    done = leuko(*words[1:], cwd=place, LEUKO_MM_DATA=place / "elsewhere")
    assert done.returncode == 2
    shown = re.findall(
        r"^```\n(\d+ images.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE
    )[0]
    for expected, line in zip(
        shown.splitlines(), done.stdout.splitlines(), strict=True
    ):
        words, page = line.split(), expected.split()
        if page[0].isdecimal() and len(page) == 5:
            # Another library may draw a pixel of a cell's edge otherwise.
            assert int(words.pop(1)) == pytest.approx(int(page.pop(1)), rel=0.01)
            assert float(words.pop(1)[:-1]) == pytest.approx(
                float(page.pop(1)[:-1]), rel=0.02
            )
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
    assert not set(results["data"]["train_groups"]) & set(
        results["data"]["test_groups"]
    )
    assert (run / "quickstart-half-fold5-s0-smears.pth").is_file()
    assert (run / "report.html").is_file()
