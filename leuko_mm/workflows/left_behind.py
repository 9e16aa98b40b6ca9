"""What a command that fails before it has begun leaves behind: nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import is_main_process

# mmengine's folder of logs, named after the second in which it was made.
LOG_FOLDER = re.compile(r"\d{8}_\d{6}")


@contextmanager
def nothing_left_behind(
    work_dir: Path, *, begun: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Remove what building a run has made, if it fails before the run has begun.

    Of a folder that was there before, only the new logs are removed.

    Args:
        work_dir: output folder of the run.
        begun: tells whether there is something worth keeping.
    """
    work_dir = Path(work_dir)
    there = set(work_dir.iterdir()) if work_dir.is_dir() else set()
    folders = [work_dir, *work_dir.parents]
    made = [folder for folder in folders if not folder.exists()]
    try:
        yield
    except BaseException:
        if is_main_process() and not begun():
            _remove_new(work_dir, there)
            for folder in made:
                _remove_empty(folder)
        raise


def _remove_new(work_dir: Path, there: set[Path]) -> None:
    new = set(work_dir.iterdir()) - there if work_dir.is_dir() else set()
    for path in new:
        if path.is_dir() and LOG_FOLDER.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".py":  # mmengine's copy of the config
            path.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # somebody else's files are in it, or it was never made
        return
