"""Watch a test, and write how far the network's confidence can be believed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook

from leuko_mm.evaluation.calibration import BINS, cell_class, pixel_bins, summary
from leuko_mm.files import write_text

CALIBRATION_FILE = "calibration.json"


class CalibrationHook(Hook):
    """Write ``calibration.json`` beside the results of a test.

    Expected calibration errors, in percent, of the pixels and of the classes of whole
    cells, with the counts that they are made of (see ``evaluation.calibration``).

    Args:
        folder: where the file goes.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._forget()

    def _forget(self) -> None:
        self.pixels, self.cells = np.zeros((BINS, 3)), []

    def before_test_epoch(self, runner) -> None:
        """Begin anew."""
        self._forget()

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Count one batch; what a test's last batch repeats is counted twice."""
        for sample in outputs or ():
            logits = getattr(sample, "seg_logits", None)
            if logits is None or logits.data.shape[0] < 2:
                continue
            shown = logits.data.float().softmax(dim=0).cpu().numpy()
            if not np.isfinite(shown).all():  # diverged: the scores will tell
                continue
            labels = sample.gt_sem_seg.data.cpu().numpy()
            truth = labels.reshape(labels.shape[-2:])
            for x0, y0, x1, y1 in _boxes(sample.metainfo, truth.shape):
                here = np.s_[y0:y1, x0:x1]
                self.pixels += pixel_bins(shown[:, y0:y1, x0:x1], truth[here])
                found = cell_class(shown[:, y0:y1, x0:x1], truth[here])
                self.cells += [] if found is None else [found]

    def after_test_epoch(self, runner, metrics: Mapping | None = None) -> None:
        """Write the file, of what all processes saw."""
        seen = all_gather_object((self.pixels, self.cells))
        if not is_main_process():
            return
        told = summary(sum(p for p, _ in seen), [c for _, cells in seen for c in cells])
        write_text(self.folder / CALIBRATION_FILE, json.dumps(told, indent=1) + "\n")


def _boxes(meta: Mapping, shape: tuple[int, int]) -> list[Sequence[int]]:
    tiles = meta.get("tiles")
    whole = (0, 0, shape[1], shape[0])
    return [whole] if tiles is None else [tile["box"] for tile in tiles]
