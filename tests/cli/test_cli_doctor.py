"""``leuko doctor``: its table, its exit codes, and that it always runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import packaging
import pytest

from leuko_mm.cli import doctor
from leuko_mm.cli.main import main
from leuko_mm.doctor import FAULT, OK, SMALL, WARN, Check

ROOT = Path(__file__).resolve().parents[2]
FINE = Check("python", OK, "3.11")
LACK = Check("weights vgg16", WARN, "not found", "curl it")
BAD = Check("torch", FAULT, "torch is 1.0", "python -m pip install torch")


@pytest.fixture
def found(monkeypatch):
    """Return a function that decides what the doctor finds."""

    def _found(*findings):
        monkeypatch.setattr(doctor, "examine", lambda: list(findings))

    return _found


@pytest.mark.parametrize(
    ("findings", "code", "sum_up"),
    [
        ([FINE], 0, "0 faults, 0 warnings"),
        ([FINE, LACK], 0, "0 faults, 1 warning"),
        ([FINE, BAD, LACK, LACK], 1, "1 fault, 2 warnings"),
    ],
)
def test_a_fault_decides_the_exit_code(found, capsys, findings, code, sum_up):
    found(*findings)
    assert main(["doctor"]) == code
    assert capsys.readouterr().out.splitlines()[-1] == sum_up


def test_the_table_is_aligned_and_each_cure_stands_below(found, capsys):
    found(FINE, BAD, LACK)
    main(["doctor"])
    assert capsys.readouterr().out.splitlines() == [
        "ok     python         3.11",
        "FAULT  torch          torch is 1.0",
        "                      -> python -m pip install torch",
        "warn   weights vgg16  not found",
        "                      -> curl it",
        "1 fault, 1 warning",
    ]


def test_the_doctor_needs_none_of_the_libraries(tmp_path):
    # Without site-packages there is no torch and no trio; packaging is ours.
    libraries = tmp_path / "libraries"
    shutil.copytree(Path(packaging.__file__).parent, libraries / "packaging")
    code = (
        "import sys\n"
        "from leuko_mm import doctor\n"
        "names = [*doctor.LIBRARIES, 'torchvision']\n"
        "gone = dict(error='gone', absent=True)\n"
        "doctor.import_libraries = lambda _: dict.fromkeys(names, gone)\n"
        "from leuko_mm.cli.main import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{libraries}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    for name in SMALL:
        assert f"import {name}" in done.stdout
    assert "leuko-mm[train]" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_planted_faults_in_a_real_process(tmp_path):
    upstream = tmp_path / "mmcv-2.1.0.dist-info"
    upstream.mkdir()
    (upstream / "METADATA").write_text("Metadata-Version: 2.1\nName: mmcv\nVersion: 2")
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('no nms')")
    done = subprocess.run(
        [sys.executable, "-m", "leuko_mm.cli.main", "doctor"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    faults = {row[1] for row in rows if row[0] == "FAULT"}
    assert faults == {"onedl-mmcv", "torchvision"}
    assert ["ok", "torch"] in [row[:2] for row in rows]
