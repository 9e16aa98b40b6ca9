"""Imports tried in another interpreter, whatever they do to it."""

from __future__ import annotations

import pytest

from leuko_mm.workflows.import_probe import probe_imports


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Return a function that makes a module importable for new interpreters."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def _write(name, code):
        (tmp_path / f"{name}.py").write_text(code)

    return _write


def test_version_error_and_absence_are_told_apart(library):
    library("sound", "__version__ = '3.1'\nprint('a greeting')\n")
    library("broken", "raise RuntimeError('first\\nsecond')\n")
    library("hollow", "import no_such_dependency\n")
    found = probe_imports(["sound", "broken", "hollow", "no_such_library"])
    assert list(found) == ["sound", "broken", "hollow", "no_such_library"]
    assert (found["sound"].version, found["sound"].error) == ("3.1", "")
    assert found["broken"].error == "RuntimeError: first"
    assert "no_such_dependency" in found["hollow"].error
    assert [found[name].absent for name in found] == [False, False, False, True]


def test_a_library_that_ends_python_is_named_and_the_others_answer(library):
    library("deadly", "import os\nos.abort()\n")
    found = probe_imports(["json", "deadly", "csv"])
    assert "importing it ended Python" in found["deadly"].error
    assert not found["json"].error
    assert not found["csv"].error


def test_a_library_that_never_ends_is_given_up(library):
    library("endless", "import time\ntime.sleep(60)\n")
    found = probe_imports(["endless"], timeout_s=1)
    assert "took more than 1 s" in found["endless"].error


def test_a_file_beside_the_user_is_not_taken_for_the_library(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise RuntimeError('mine')")
    monkeypatch.chdir(tmp_path)
    assert not probe_imports(["json"])["json"].error
