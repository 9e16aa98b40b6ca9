"""Memory that the process keeps: pages are not cleared anew for every array."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from leuko_mm.engine import kept_memory

# Counts the pages that the system hands out while large arrays come and go.
FAULTS = """
import resource
import sys
import torch
from leuko_mm.engine.kept_memory import keep_memory
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
    command = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_arrays_come_and_go_without_new_pages():
    assert faults("kept") * 20 < faults("usual")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert kept_memory.keep_memory() is False


def test_a_system_without_one_is_left_alone(monkeypatch):
    def refuse(name):
        raise TypeError("as on Windows")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert kept_memory.keep_memory() is False
