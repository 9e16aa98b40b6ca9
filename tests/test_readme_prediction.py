"""README's lines of Python and its picture of a prediction are what the package does.

``LEUKO_MM_DRAW=1 python -m pytest tests/test_readme_prediction.py`` draws the picture
again, after a change of the quickstart or of how overlays look.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tool_module import load_tool

from leuko_mm.cli.main import main
from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic

pytestmark = pytest.mark.slow
PICTURE = "docs/images/predicted_field.jpg"
CHECKPOINT = "work_dirs/quickstart/quickstart.pth"
SIZE = (1024, 768)
CELLS = 12  # a square each
SEED = 7  # its slides are not those of the quickstart


@pytest.fixture(scope="module")
def folder(tmp_path_factory, project_root):
    """Return a folder with a drawn ``field.jpg`` and the quickstart's checkpoint.

    One that `make quickstart` has left is taken; else it is trained, in minutes.
    """
    where = tmp_path_factory.mktemp("readme")
    prepare_synthetic(where / "drawn", slides=2, seed=SEED)
    field = load_tool("paper/timings").drawn_field(where / "drawn")
    cv2.imwrite(str(where / "field.jpg"), field[..., ::-1])
    made = project_root / CHECKPOINT
    if made.is_file():
        (where / CHECKPOINT).parent.mkdir(parents=True)
        for file in (made, made.with_suffix(".json")):
            shutil.copy(file, where / CHECKPOINT.rpartition("/")[0])
        return where
    command = [sys.executable, "-m", "leuko_mm.cli.main", "train", "quickstart"]
    subprocess.run(
        [*command, "--work-dir", str((where / CHECKPOINT).parent)],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(project_root), "LEUKO_MM_DATA": "data"},
        check=True,
        capture_output=True,
        timeout=3600,
    )
    return where


def readme_lines(project_root) -> str:
    """Return README's block of Python that predicts."""
    text = (project_root / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n)+", text, flags=re.MULTILINE)
    (block,) = [block for block in blocks if "import Predictor" in block]
    return "\n".join(line[4:] for line in block.splitlines())


def test_the_three_lines_count_the_cells(folder, project_root, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    lines = readme_lines(project_root)
    assert len(lines.splitlines()) == 3
    names = {}
    exec(lines, names)
    printed = capsys.readouterr().out
    assert str(names["found"].counts) in printed
    assert sum(names["found"].counts.values()) == CELLS


def test_the_picture_is_that_of_leuko_predict(folder, project_root, monkeypatch):
    monkeypatch.chdir(folder)
    words = ["predict", "field.jpg", "--checkpoint", CHECKPOINT, "--out", "found"]
    assert main(words) == 0
    (path,) = (folder / "found" / "images").glob("*/overlay.png")
    drawn = cv2.resize(cv2.imread(str(path)), SIZE, interpolation=cv2.INTER_AREA)
    picture = project_root / PICTURE
    if os.environ.get("LEUKO_MM_DRAW"):
        cv2.imwrite(str(picture), drawn, [cv2.IMWRITE_JPEG_QUALITY, 88])
    committed = cv2.imread(str(picture))
    assert committed.shape == drawn.shape
    # Another machine's quickstart moves outlines by a pixel: 2 % of the pixels change
    # visibly. Without outlines and tints, 11 % would; in another field, most.
    changed = np.abs(committed.astype(int) - drawn).max(axis=2) > 40
    assert changed.mean() < 0.05
    assert f"]({PICTURE})" in (project_root / "README.md").read_text(encoding="utf-8")
