"""The memory that this process holds, as Linux counts it."""

from __future__ import annotations

from pathlib import Path


def resident(field: str) -> int:
    """Return a line of ``/proc/self/status`` in bytes.

    Args:
        field: ``VmRSS`` for what is held now, ``VmHWM`` for the most so far.

    Raises:
        OSError: where there is no such file, as on macOS and Windows.

    Example:
        >>> resident("VmHWM") >= resident("VmRSS") > 0
        True
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024
