"""What the system says of this process's memory."""

from __future__ import annotations

import mmap
import sys

import numpy as np
import pytest

from leuko_mm.workflows.peak_memory import resident

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has /proc/self/status"
)
MIB = 2**20


def test_what_is_held_is_counted_and_the_peak_remembers_it():
    held = resident("VmRSS")
    # A mapping of its own: what malloc got is kept once a training has run here.
    block = mmap.mmap(-1, 100 * MIB)
    np.frombuffer(block, np.uint8)[:] = 1
    assert resident("VmRSS") - held > 90 * MIB
    peak = resident("VmHWM")
    block.close()
    assert resident("VmHWM") == pytest.approx(peak, abs=20 * MIB)
    assert resident("VmRSS") < peak - 50 * MIB
