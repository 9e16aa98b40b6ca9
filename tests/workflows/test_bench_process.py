"""A contender's process as its user sees it."""

from __future__ import annotations

import sys

import pytest

from leuko_mm.workflows.bench_process import ContenderProcess

SPEC = dict(
    home="bench_convolution",
    job="predict",
    batch=1,
    size=16,
    precision="float32",
    layout="contiguous",
    device="cpu",
    threads=1,
)


@pytest.mark.parametrize("python", [None, sys.executable])
def test_turns_are_taken_and_the_process_ends(python):
    with ContenderProcess(SPEC, python=python) as process:
        assert process.lack is None
        assert process.about["gmacs"] > 0
        assert process.ask(0)["ms"][0] > 0
        assert len(process.ask(0.2)["ms"]) > 1
    assert process.process.poll() is not None


def test_what_cannot_be_built_says_why():
    with ContenderProcess(dict(SPEC, layout="diagonal")) as process:
        assert process.lack == "KeyError: 'diagonal'"


def test_an_interpreter_without_torch_says_so(tmp_path):
    # -S -E would do as well, but only a command can be given.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with ContenderProcess(SPEC, python=str(bare)) as process:
        assert "No module named 'torch'" in process.lack


def test_one_that_dies_is_told_by_its_last_words():
    with ContenderProcess(SPEC) as process:
        process.process.kill()
        process.process.wait()
        assert process.ask(0) == dict(failed="the process ended with code -9")
