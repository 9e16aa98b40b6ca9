"""README's lines of Python, its part and its picture are what the package does."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic

PICTURE = "docs/images/counted_cells.jpg"
CELLS = 12  # of a drawn field


def python_blocks(page) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_its_part_is_that_of_the_page_on_parts(project_root):
    # The page's tests train with it.
    page = python_blocks(project_root / "docs" / "add_a_part.md")
    assert python_blocks(project_root / "README.md")[:2] == page[:2]


@pytest.mark.slow
def test_its_three_lines_count_the_cells(project_root, tmp_path, monkeypatch, capsys):
    prepare_synthetic(tmp_path / "drawn", slides=2, seed=7)
    field = load_tool("paper/timings").drawn_field(tmp_path / "drawn")
    cv2.imwrite(str(tmp_path / "field.jpg"), field[..., ::-1])
    monkeypatch.chdir(tmp_path)
    lines = python_blocks(project_root / "README.md")[-1]
    assert len(lines.split("\n\n")[-1].splitlines()) == 2
    names = {}
    exec(lines, names)
    assert str(names["found"].counts) in capsys.readouterr().out
    assert len(names["found"].cells) == CELLS


@pytest.mark.slow
def test_its_picture_is_what_the_shipped_networks_see(project_root, shared_folder):
    folder = shared_folder / "datasets" / "BCISC"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    drawn = load_tool("paper/readme_picture").draw(folder)
    committed = cv2.imread(str(project_root / PICTURE))[..., ::-1]
    assert committed.shape == drawn.shape
    # JPEG, and outlines that another processor moves by a pixel.
    changed = np.abs(committed.astype(int) - drawn).max(axis=2) > 40
    assert changed.mean() < 0.01
    assert f"]({PICTURE})" in (project_root / "README.md").read_text(encoding="utf-8")
