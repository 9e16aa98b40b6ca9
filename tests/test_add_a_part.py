"""docs/add_a_part.md, followed word for word in a fresh environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tiny_run import leuko, make_data, python

from leuko_mm.training.config import resolve_config

ROOT = Path(__file__).resolve().parents[1]
# A block may be headed by the name of the file that it is: `name`:
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks():
    """Return (file or None, language, text) of every block, in the page's order."""
    page = (ROOT / "docs" / "add_a_part.md").read_text(encoding="utf-8")
    return [(b["file"], b["kind"], b["text"]) for b in BLOCK.finditer(page)]


def test_readme_begins_alike():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files = {file: text for file, _, text in blocks() if file}
    assert all(files[file] in readme for file in ("my_loss.py", "my_unet.py"))


def test_a_loss_in_ten_lines_trains_and_its_checkpoint_counts_without_it(tmp_path):
    files = {file: text for file, _, text in blocks() if file}
    code = [line for line in files["my_loss.py"].splitlines() if line]
    assert len(code) <= 10
    place, home = tmp_path / "mine", tmp_path / "data"
    place.mkdir()
    (place / "configs").symlink_to(ROOT / "configs")
    for file in ("my_loss.py", "my_unet.py"):
        (place / file).write_text(files[file], encoding="utf-8")
    cell = next((make_data(home) / "images").iterdir())
    words = ("train", place / "my_unet.py", "--protocol", "smoke")
    done = leuko(*words, cwd=tmp_path, LEUKO_MM_DATA=home)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "work_dirs").iterdir()
    (scalars,) = run.glob("*/vis_data/scalars.json")
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert any(line.get("decode.loss_smoothed", 0) > 0 for line in logged), logged
    words = ("predict", cell, "--checkpoint", run / f"{run.name}.pth", "--out", "found")
    done = leuko(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # As the page says of a network of one's own; the script is beside the loss.
    script = files["open_it.py"]
    for old, new in (
        ("configs/{name}.py", f"{run}/my_unet.py"),
        ("leuko_mm/zoo/{name}.pth", f"{run}/{run.name}.pth"),
        ("data/synthetic/images/baso_1-1_0.png", str(cell)),
    ):
        assert old in script
        script = script.replace(old, new)
    script += "print([step['type'] for step in model.cfg.test_pipeline])\n"
    (place / "open_it.py").write_text(script, encoding="utf-8")
    done = python(place / "open_it.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    steps = ["LoadImageFromFile", "leuko_mm.AHERetinex", "Resize", "PackSegInputs"]
    assert str(steps) in done.stdout
    assert "torch.Size([1, 64, 64])" in done.stdout


def test_an_enhancement_replaces_the_bases_and_a_hook_is_added(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path = tmp_path / "my_images.py"
    path.write_text({file: text for file, _, text in blocks()}[path.name])
    config, base = resolve_config(str(path)), resolve_config("quickstart")
    for loader in (config.train_dataloader, config.test_dataloader):
        assert loader.dataset.enhance == dict(type="AdjustGamma", gamma=1.5)
    hooks = [*base.custom_hooks, dict(type="EmptyCacheHook")]
    assert config.custom_hooks == hooks
    assert resolve_config(str(path), protocol="half").custom_hooks != hooks


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Return the variables of a shell in a new environment with leuko_mm's wheel.

    The libraries are borrowed from the environment that runs the tests, because
    there may be no network.
    """
    place = tmp_path_factory.mktemp("fresh")
    target = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], check=True)
    (site,) = target.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    tree = place / "tree"  # a copy, because building leaves files behind
    for name in ("leuko_mm", "configs", "requirements"):
        shutil.copytree(ROOT / name, tree / name)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tree)
    outside = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    variables = {k: v for k, v in os.environ.items() if k not in outside}
    variables |= {
        "PATH": f"{target / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PIP_NO_INDEX": "1",
        # pip reads this one as the value of `build isolation`.
        "PIP_NO_BUILD_ISOLATION": "0",
    }
    command = "python -m pip install --quiet --no-deps ."
    subprocess.run(["bash", "-c", command], cwd=tree, env=variables, check=True)
    return variables


@pytest.mark.slow
def test_the_page_can_be_followed_to_its_end(fresh, tmp_path):
    (tmp_path / "leuko_mm").mkdir()
    for folder in ("configs", "leuko_mm/zoo"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    said = ""
    for file, kind, text in blocks():
        if file:
            (tmp_path / file).write_text(text, encoding="utf-8")
        elif kind == "bash":
            done = subprocess.run(
                ["bash", "-c", f"set -e\n{text}"],
                cwd=tmp_path,
                env=fresh,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            said += done.stdout
        else:
            missing = [line for line in text.splitlines() if line not in said]
            assert not missing, f"{missing} is not in\n{said}"
