"""README's lines of Python and its picture of a prediction are what the package does.

``LEUKO_MM_DRAW=1 python -m pytest tests/test_readme_prediction.py`` draws the picture
anew, after a change of the model or of how overlays look.
"""

from __future__ import annotations

import os
import re

import cv2
import numpy as np
import pytest

from leuko_mm.cli.main import main
from leuko_mm.datasets.converters.synthetic import prepare_synthetic
from leuko_mm.datasets.drawn_field import drawn_field
from leuko_mm.inference.shipped import DEFAULT_MODEL, shipped_names

pytestmark = pytest.mark.skipif(
    DEFAULT_MODEL not in shipped_names(), reason="the package carries no model"
)
PICTURE = "docs/images/predicted_field.jpg"
SIZE = (1024, 768)
CELLS = 12  # a square each


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a drawn ``field.jpg``."""
    where = tmp_path_factory.mktemp("readme")
    prepare_synthetic(where / "synthetic", slides=2)
    field = drawn_field(where / "synthetic")
    cv2.imwrite(str(where / "field.jpg"), field[..., ::-1])
    return where


def readme_lines(project_root) -> str:
    """Return README's block of Python that predicts."""
    text = (project_root / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n)+", text, flags=re.MULTILINE)
    (block,) = [block for block in blocks if "from_zoo" in block]
    return "\n".join(line[4:] for line in block.splitlines())


def test_the_three_lines_count_the_cells(folder, project_root, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    lines = readme_lines(project_root)
    assert len(lines.splitlines()) == 3
    told = {}
    exec(lines, told)
    printed = capsys.readouterr().out
    assert str(told["found"].counts) in printed
    assert sum(told["found"].counts.values()) == CELLS


def test_the_picture_is_that_of_leuko_predict(folder, project_root, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["predict", "field.jpg", "--out", "found"]) == 0
    (path,) = (folder / "found" / "images").glob("*/overlay.png")
    drawn = cv2.resize(cv2.imread(str(path)), SIZE, interpolation=cv2.INTER_AREA)
    picture = project_root / PICTURE
    if os.environ.get("LEUKO_MM_DRAW"):
        cv2.imwrite(str(picture), drawn, [cv2.IMWRITE_JPEG_QUALITY, 88])
    committed = cv2.imread(str(picture))
    # JPEG, and outlines that another processor's sums move by a pixel.
    assert committed.shape == drawn.shape
    assert np.abs(committed.astype(int) - drawn).mean() < 3
    assert f"]({PICTURE})" in (project_root / "README.md").read_text(encoding="utf-8")
