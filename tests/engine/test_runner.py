"""The runner's console and log file, and kept memory."""

from __future__ import annotations

import io
import logging
import platform

import pytest
from tiny_run import python

from leuko_mm.engine.runner import LegibleRunner

HIDDEN = [
    (logging.INFO, "\n---\nSystem environment:\n    sys.platform: linux\n---\n"),
    (logging.INFO, "Config:\nmodel = dict()\n"),
    (logging.INFO, "Iter(test) [13/13]    mIoU: 81.2  mIoU_fg: 79.0"),
    (logging.WARNING, '"HardDiskBackend" is the alias of "LocalBackend" and the'),
]
SHOWN = [
    (logging.INFO, "Iter(test) [10/13]    eta: 0:00:01  time: 0.4"),
    (logging.WARNING, "the weights are not loaded"),
    (logging.ERROR, "Config:\nmodel = dict()\n"),
]


@pytest.mark.parametrize(("level", "text"), HIDDEN + SHOWN)
def test_the_file_has_every_record_and_the_console_what_users_read(
    tmp_path, level, text
):
    shown = (level, text) in SHOWN
    runner = object.__new__(LegibleRunner)
    runner._experiment_name, runner._log_dir = tmp_path.name, str(tmp_path)
    runner._timestamp = "now"
    console = io.StringIO()
    logger = runner.build_logger()
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setStream(console)
    logger.log(level, text)
    assert text in (tmp_path / "now.log").read_text()
    assert (text in console.getvalue()) is shown
    assert bool(console.getvalue()) is shown


# Counts the pages that the system hands out while large arrays come and go.
FAULTS = """
import resource
import sys
import torch
from leuko_mm.processes import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
def turn():
    for _ in range(20):
        torch.ones(2**23)
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(python("-c", FAULTS, how).stdout.split()[-1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_arrays_come_and_go_without_new_pages():
    assert faults("kept") * 20 < faults("usual")
