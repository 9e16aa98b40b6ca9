"""What ``leuko compare`` prints, and how it ends."""

from __future__ import annotations

import pytest

from leuko_mm.cli import compare as module
from leuko_mm.cli.main import main
from leuko_mm.comparison.runner import Outcome


@pytest.fixture
def command(tiny_data, tiny_config, tmp_path, monkeypatch):
    """Return the beginning of a command about one tiny method."""
    monkeypatch.chdir(tmp_path)
    words = ["compare", "--protocol", "smoke", "--no-amp", "--settings", "own"]
    return [*words, "--methods", str(tiny_config)]


def test_a_dry_run_shows_and_does_nothing(command, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    assert main([*command, "--dry-run", "--seeds", "0,1", "--splits", "fold1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "tiny-smoke-fold1-s0  waiting",
        "tiny-smoke-fold1-s1  waiting",
        "",
        "2 runs: 2 waiting",
    ]
    assert {p.name for p in set(tmp_path.iterdir()) - before} <= {"work_dirs"}
    assert not (tmp_path / "work_dirs" / "tiny-smoke-fold1-s0").exists()


def test_what_is_named_twice_is_one_run(command, capsys):
    words = ["--dry-run", "--seeds", "0,0", "--splits", "fold1,fold1"]
    assert main([*command, *words]) == 0
    assert "1 runs: 1 waiting" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "code"),
    [("done", 0), ("failed", 1), ("differs", 1)],
)
def test_the_exit_code_tells_whether_all_is_well(
    command, monkeypatch, capsys, status, code
):
    outcomes = [Outcome("one", "done"), Outcome("two", status, "because")]
    monkeypatch.setattr(module, "compare", lambda request, **how: outcomes)
    assert main(command) == code
    out = capsys.readouterr().out
    assert "2 runs: " in out
    assert (f"{status}: two: because" in out) is bool(code)
    assert ("--force" in out) is (status == "differs")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "a"], "--seeds is 'a'"),
        (["--seeds=-1"], "the seed is -1; expected 0 to 4294967295"),
        (["--data", " "], "--data is ' '; expected the name of a dataset"),
        (["--dask", "local:0"], "local:<number of workers>"),
        (["--settings", "C"], "no setting 'C'"),
        # Before hours of training, whose results could not be published.
        (["--out", __file__], "test_compare.py is a file; choose another --out"),
    ],
)
def test_mistakes_are_named(command, capsys, words, message):
    assert main([*command, *words]) == 2
    assert message in capsys.readouterr().err
