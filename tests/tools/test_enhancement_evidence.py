"""One command measures, draws and writes the page, and goes on where it stopped."""

import json

import numpy as np
import pytest
from PIL import Image
from tool_module import load_tool

from leuko_mm.report.enhancement_page import VERDICT


@pytest.fixture
def tool(monkeypatch):
    module = load_tool("enhancement_evidence")
    few = {"hsv": lambda image: image // 2, "rgb": lambda image: 255 - image}
    monkeypatch.setattr(module, "retinex_methods", lambda: few)
    return module


@pytest.fixture
def run(tool, tiny_home, tmp_path):
    def call(*words):
        data = ["--data", str(tiny_home / "synthetic")]
        data += ["--synthetic", str(tiny_home / "synthetic")]
        where = ["--root", str(tmp_path), "--out", str(tmp_path / "out")]
        return tool.main([*data, *where, *words])

    return call


def publish(results, variant, iterations=450, **metrics):
    name = f"cbam_unet-{variant}-development-s0.json"
    path = results / "half" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    run = dict(method="cbam_unet", variant=variant, iterations=iterations, git="abc")
    path.write_text(json.dumps(dict(run=run, data=dict(enhance=None), metrics=metrics)))


def test_page_pictures_and_figures_are_written(run, tmp_path):
    assert run() == 0
    page = (tmp_path / "docs/enhancement.md").read_text()
    figures = json.loads((tmp_path / "results/enhancement.json").read_text())
    assert figures["colour"]["images"] == 25
    assert {"raw", "hsv", "rgb", "grey world"} <= set(figures["colour"]["methods"])
    spread = figures["colour"]["methods"]["raw"]["background"]["spread"]
    assert f"| raw | {spread:.1f} |" in page
    for picture in ("docs/images/enhancement.jpg", "out/cells.jpg"):
        with Image.open(tmp_path / picture) as image:
            assert np.array(image).std() > 10


def test_reuse_measures_nothing_again_and_takes_new_runs_and_words(
    run, tool, tmp_path, monkeypatch
):
    assert run() == 0
    page = tmp_path / "docs/enhancement.md"
    assert "No training" in page.read_text()
    page.write_text(page.read_text().replace(VERDICT[0], f"{VERDICT[0]}\nIt harms."))
    monkeypatch.setattr(tool, "colour_evidence", None)  # a call would fail
    publish(tmp_path / "results", "hsv", mIoU=70.0, mIoU_fg=60.0, pixel_accuracy=95.0)
    publish(tmp_path / "results", "raw", mIoU=80.0, mIoU_fg=75.0, pixel_accuracy=97.0)
    publish(tmp_path / "results", "none", mIoU=1.0, mIoU_fg=1.0, pixel_accuracy=1.0)
    assert run("--reuse") == 0
    text = page.read_text()
    assert "It harms." in text
    assert text.index("| raw | none | 450 | 80.00 |") < text.index("| hsv | none |")
    assert "| none | none |" not in text


def test_runs_of_the_commonest_length_are_compared(tool, tmp_path):
    scores = dict(mIoU=70.0, mIoU_fg=60.0, pixel_accuracy=95.0)
    publish(tmp_path, "raw", iterations=650, **scores)
    publish(tmp_path, "i300", iterations=300, **scores)
    publish(tmp_path, "hsv-i300", iterations=300, **scores)
    runs = tool.published_runs(tmp_path)
    found = [(run["variant"], run["iterations"]) for run in runs]
    assert found == [(None, 300), ("hsv", 300)]


def test_what_was_measured_is_kept_when_the_rest_fails(
    run, tool, tiny_home, tmp_path, monkeypatch
):
    real, calls = tool.colour_evidence, []

    def once(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(tool, "colour_evidence", once)
    nuclei = ["--nuclei", str(tiny_home / "synthetic")]
    with pytest.raises(KeyboardInterrupt):
        run(*nuclei)
    assert run("--reuse", *nuclei) == 0
    assert len(calls) == 3
    figures = json.loads((tmp_path / "results/enhancement.json").read_text())
    assert {"colour", "nuclei"} <= set(figures)


def test_missing_data_and_figures_are_said(run, capsys):
    assert run("--data", "absent") == 2
    assert "leuko prepare" in capsys.readouterr().err
    assert run("--reuse") == 2
    assert "enhancement.json" in capsys.readouterr().err
