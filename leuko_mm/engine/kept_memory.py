"""Memory of freed arrays that the process keeps for the next ones."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_memory() -> bool:
    """Let this process reuse the memory of freed arrays; return whether it does.

    By default glibc maps new pages for every large array, and the kernel clears each
    of them. Here freed memory stays with the process, as much as it held at its peak.
    Unused memory is returned once, at the call. docs/speed.md gives the gain.

    Returns:
        False where the C library is not glibc (macOS, Windows, musl).

    Example:
        >>> keep_memory() in (True, False)
        True
    """
    try:
        library = ctypes.CDLL(None)
        # Only glibc has it; others know a mallopt that does nothing.
        library.malloc_trim(0)
        return all(
            library.mallopt(option, value)
            for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
        )
    except (AttributeError, OSError, TypeError):
        return False
