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

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "tests" / "plugin_example"
# A block may be headed by the name of the file that it is: `name`:
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def blocks():
    """Return (file or None, language, text) of every block, in the page's order."""
    page = (ROOT / "docs" / "add_a_part.md").read_text(encoding="utf-8")
    return [(b["file"], b["kind"], b["text"]) for b in BLOCK.finditer(page)]


def test_the_page_and_the_example_package_are_the_same():
    shown = {file: text for file, _, text in blocks() if file}
    kept = {
        path.name: path.read_text(encoding="utf-8")
        for path in EXAMPLE.iterdir()
        if path.is_file()
    }
    assert shown == kept


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
def test_the_page_leads_to_a_trained_network(fresh, tmp_path):
    place, said = tmp_path, ""
    for file, kind, text in blocks():
        if file:
            (place / file).write_text(text, encoding="utf-8")
        elif kind == "bash":
            done = subprocess.run(
                ["bash", "-c", f"set -e\n{text}\npwd"],
                cwd=place,
                env=fresh,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            place = Path(done.stdout.splitlines()[-1])
            said += done.stdout
        else:
            missing = [line for line in text.splitlines() if line not in said]
            assert not missing, f"{missing} is not in\n{said}"
    (run,) = (place / "work_dirs").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert results["run"]["method"] == "robust_unet"
    (scalars,) = run.glob("*/vis_data/scalars.json")
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert any(line.get("decode.loss_gce", 0) > 0 for line in logged), logged
    config = (run / "robust_unet.py").read_text()
    assert config.count("leuko_mm.GreyWorld") >= 2  # of both loaders
