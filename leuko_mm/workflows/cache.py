"""Look at the cache of enhanced cells, and empty it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.preprocessing_cache import PreprocessingCache, cache_setting
from leuko_mm.errors import UsageError


@dataclass(frozen=True)
class CacheState:
    """What the cache holds: entries, and the bytes of all, at most ``limit``."""

    folder: Path
    entries: int
    size: int
    limit: int


def look_at_cache() -> CacheState | None:
    """Return what the cache holds; None where it is off.

    Raises:
        UsageError: if its folder cannot be read.
    """
    setting = cache_setting()
    if setting is None:
        return None
    folder, limit = setting
    try:
        sizes = [about.st_size for _, about in PreprocessingCache(folder).entries()]
    except OSError as error:
        raise _no_folder(folder, error) from error
    return CacheState(folder, len(sizes), sum(sizes), limit)


def clear_cache() -> CacheState | None:
    """Empty the cache; return what it held, None where it is off.

    Files that are not the cache's stay, and so does the folder.

    Raises:
        UsageError: if a file cannot be removed.
    """
    setting = cache_setting()
    if setting is None:
        return None
    folder, limit = setting
    try:
        return CacheState(folder, *PreprocessingCache(folder).clear(), limit)
    except OSError as error:
        raise _no_folder(folder, error) from error


def _no_folder(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"the cache in {folder} cannot be read or emptied ({error.strerror or error}); "
        "set LEUKO_MM_CACHE to another folder, or to off"
    )
