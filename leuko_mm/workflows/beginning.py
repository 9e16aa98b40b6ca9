"""The moment a training begins, up to which a former run in its folder is kept."""

from __future__ import annotations

from pathlib import Path

from mmengine.hooks import Hook

from leuko_mm.engine.checkpoint_files import STATES


class BeginningHook(Hook):
    """Know when training begins.

    What fails before, such as weights that do not fit or a hook that finds no part of
    its name, is a fault of the config, and must not cost a former run; what fails
    afterwards is a fault of the code.

    Args:
        former: folder of a run that is forgotten at that moment.
    """

    def __init__(self, former: Path | None = None):
        self.former, self.begun = former, False

    def before_train_epoch(self, runner) -> None:
        """Note that the first iteration comes next."""
        if self.former is not None and not self.begun:
            forget_run(self.former)
        self.begun = True


def forget_run(work_dir: Path) -> None:
    """Remove the marks of a former run, so that nothing of it is taken up."""
    names = (
        "last_checkpoint",
        "results.json",
        "metrics.json",
        "cells.npz",
        "report.html",
        "table.md",
        f"{work_dir.name}.pth",
        f"{work_dir.name}.json",
    )
    for name in names:
        (work_dir / name).unlink(missing_ok=True)
    # The loss curve joins every log it finds.
    marks = (*STATES, "*/vis_data/scalars.json", "overlays/*.png", "loss.png")
    for path in (path for mark in marks for path in work_dir.glob(mark)):
        path.unlink(missing_ok=True)
