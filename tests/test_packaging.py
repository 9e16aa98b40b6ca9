"""What travels: requirement files, the lock, and the wheel with its configs."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import leuko_mm

ROOT = Path(__file__).resolve().parents[1]
RANGES = ("base", "train", "mminstall", "onnx", "dask", "app", "tests", "dev")
# Bounds that no pin of the lock belongs to.
UNLOCKED = ("openvino", "docs")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def lines_of(name):
    path = ROOT / "requirements" / f"{name}.txt"
    return path.read_text(encoding="utf-8").splitlines()


def requirements_of(name):
    return [Requirement(line) for line in lines_of(name) if line and line[0] != "#"]


def pins(python):
    """Return {name: version} of the lock as a Python of that version reads it."""
    environment = {"python_version": python}
    found = {}
    for pin in requirements_of("lock"):
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            found[name] = next(iter(pin.specifier)).version
    return found


def test_every_line_of_the_lock_is_one_exact_pin():
    for pin in requirements_of("lock"):
        assert [part.operator for part in pin.specifier] == ["=="], str(pin)


def test_the_lock_takes_torch_from_any_index():
    assert "+" not in pins("3.11")["torch"], "a local tag exists on one index only"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", RANGES)
def test_every_range_contains_its_pin(name, python):
    locked = pins(python)
    for wanted in requirements_of(name):
        pin = locked.get(canonicalize_name(wanted.name))
        assert pin, f"{wanted.name} is not in lock.txt for Python {python}"
        assert wanted.specifier.contains(pin), f"{pin} is outside of {wanted}"


@pytest.mark.parametrize("name", [*RANGES, *UNLOCKED])
def test_every_bound_has_its_reason_on_the_line_above(name):
    lines = lines_of(name)
    for above, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("#"):
            assert above.startswith("#"), f"{name}.txt: no reason above {line!r}"


# The evidence on enhancement compares with the first where it is installed, and says
# so where it is not; exports, --dask and the app say what to install. mkdocs builds the
# site.
OPTIONAL = {"torchstain", "onnx", "openvino", "dask", "distributed"}
OPTIONAL |= {"starlette", "uvicorn", "mkdocs"}


def test_the_package_imports_only_what_it_requires():
    declared = {
        canonicalize_name(requirement.name)
        for name in ("base", "train", "mminstall")
        for requirement in requirements_of(name)
    }
    homes = metadata.packages_distributions()
    scripts = {path.stem for path in (ROOT / "tools").rglob("*.py")}
    own = {"leuko_mm", *scripts, *sys.stdlib_module_names, *OPTIONAL}
    undeclared = {}
    for folder in ("leuko_mm", "tools"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                else:
                    continue
                for top in {name.split(".")[0] for name in names} - own:
                    if not declared & set(map(canonicalize_name, homes.get(top, []))):
                        undeclared.setdefault(top, file.name)
    assert not undeclared


def test_the_version_is_one_everywhere():
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in ("CHANGELOG.md", "CITATION.cff", "configs/metafile.yml")
    }
    version, date = re.search(
        r"^## \[(.+)\] - (.+)$", texts["CHANGELOG.md"], re.M
    ).groups()
    assert version == leuko_mm.__version__
    cited = f"\nversion: {version}\ndate-released: {date}\n"
    assert cited in texts["CITATION.cff"]
    assert f"\n    Version: {version}\n" in texts["configs/metafile.yml"]


def test_the_changelog_is_short():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for version in text.split("\n## ")[1:]:
        assert len(version.splitlines()) <= 80
    assert max(map(len, text.splitlines())) <= 200


def build(kind, source, target):
    """Build an sdist or a wheel of a source tree with the installed setuptools."""
    target.mkdir()
    code = f"from setuptools import build_meta as b; b.build_{kind}({str(target)!r})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(target.iterdir())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return the wheel built from the clone and the one built from its sdist."""
    tmp = tmp_path_factory.mktemp("packaging")
    # A copy, because setuptools leaves build/ behind and takes stale files from it.
    tree = tmp / "tree"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("leuko_mm", "configs", "requirements", "tests", "tools"):
        shutil.copytree(ROOT / name, tree / name, ignore=skip)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, tree)
    shutil.unpack_archive(build("sdist", tree, tmp / "sdist"), tmp / "unpacked")
    unpacked = next((tmp / "unpacked").iterdir())
    return {
        "clone": build("wheel", tree, tmp / "from_clone"),
        "sdist": build("wheel", unpacked, tmp / "from_sdist"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("source", ["clone", "sdist"])
def test_the_wheel_carries_the_package_and_every_config(wheels, source):
    with zipfile.ZipFile(wheels[source]) as wheel:
        inside = {name for name in wheel.namelist() if name.startswith("leuko_mm/")}
    expected = {
        f"leuko_mm/{file.relative_to(ROOT).as_posix()}"
        for file in (ROOT / "configs").rglob("*")
        if file.suffix in {".py", ".yml"}
    } | {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "leuko_mm").rglob("*")
        if file.is_file() and file.parent.name != "__pycache__"
    }
    assert inside == expected


@pytest.mark.slow
def test_the_wheel_states_requirements_licence_and_command(wheels):
    with zipfile.ZipFile(wheels["clone"]) as wheel:
        folder = f"leuko_mm-{leuko_mm.__version__}.dist-info"
        about = wheel.read(f"{folder}/METADATA").decode()
        commands = wheel.read(f"{folder}/entry_points.txt").decode()
        assert f"{folder}/licenses/LICENSE" in wheel.namelist()
    lines = about.splitlines()
    needed = {
        Requirement(line.removeprefix("Requires-Dist: "))
        for line in lines
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    }
    assert needed == set(requirements_of("base"))
    assert {"Provides-Extra: tests", "Provides-Extra: dev"} <= set(lines)
    assert "leuko = leuko_mm.cli.main:main" in commands
