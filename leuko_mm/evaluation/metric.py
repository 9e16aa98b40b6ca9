"""The one evaluator of the project: a confusion matrix for every test cell."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from leuko_mm.classes import IGNORE_LABEL
from leuko_mm.evaluation.boundary import boundary_counts
from leuko_mm.evaluation.confusion import (
    Scores,
    confusion_matrix,
    per_class_table,
    scores,
)
from leuko_mm.files import replacing, write_text
from leuko_mm.registry import METRICS

METRICS_FILE = "metrics.json"
CELLS_FILE = "cells.npz"


@dataclass(frozen=True)
class Cells:
    """Confusion of every test cell; one row a cell, repeated stems stay apart.

    Attributes:
        stem: (N,) names of the cells.
        group: (N,) unit each cell belongs to, '' where unknown.
        confusion: (N, C, C) int64 pixels, rows truth, columns prediction.
        boundary: (N, C, 2, 2) int64 outline pixels within 2 pixels of the other
            side's, see :func:`leuko_mm.evaluation.boundary.boundary_counts`; None in
            files from before they were counted.
    """

    stem: np.ndarray
    group: np.ndarray
    confusion: np.ndarray
    boundary: np.ndarray | None = None


@METRICS.register_module()
class LeukocyteMetric(BaseMetric):
    """Score segmentations cell by cell and pooled.

    A mosaic carries ``tiles``, a list of ``{stem, group, box}`` with box
    (x0, y0, x1, y1) in its pixels, ends excluded: each tile is one cell. An
    image without ``tiles`` is one cell as a whole. The pooled matrix is the sum over
    the cells, without spare tiles of a mosaic. Scores are those of
    :func:`leuko_mm.evaluation.confusion.scores`.

    Args:
        out_dir: folder for ``metrics.json`` and ``cells.npz``; None writes none.
        ignore_index: true label that takes a pixel out of the count.
        collect_device: how processes exchange results, in mmengine's words. ``gpu``:
            through their process group, also on CPUs. ``cpu``: through files in
            ``out_dir``, which all of them must see.
        prefix: put before the returned names, ``prefix/mIoU``.

    Raises:
        ValueError: while processing, if a prediction and its mask differ in
            shape, a label names no class, or a tile leaves its mosaic.
    """

    # An empty prefix keeps the names bare; None would log a warning every run.
    default_prefix = ""

    def __init__(
        self,
        out_dir: str | Path | None = None,
        ignore_index: int = IGNORE_LABEL,
        *,
        collect_device: str = "gpu",
        prefix: str | None = None,
    ) -> None:
        on_disk = out_dir is not None and collect_device == "cpu"
        super().__init__(
            collect_device=collect_device,
            prefix=prefix,
            # mmengine's default is a folder in the working directory.
            collect_dir=str(Path(out_dir) / ".parts") if on_disk else None,
        )
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.ignore_index = ignore_index

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the dataset declares."""
        classes = (self.dataset_meta or {}).get("classes")
        if not classes:
            raise ValueError(
                f"the dataset's metainfo is {self.dataset_meta}; expected the key "
                "'classes'; declare METAINFO['classes'] in the dataset"
            )
        return tuple(classes)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; one result a sample, or collection would truncate."""
        for sample in data_samples:
            truth = _label_map(sample, "gt_sem_seg")
            prediction = _label_map(sample, "pred_sem_seg")
            if truth.shape != prediction.shape:
                raise ValueError(
                    f"{sample.get('img_path', 'an image')}: the prediction has shape "
                    f"{prediction.shape} and the mask {truth.shape}; expected the "
                    "same; load annotations after any Resize of the test pipeline"
                )
            self.results.append(self._cells(sample, truth, prediction))

    def _cells(
        self, sample: dict, truth: np.ndarray, prediction: np.ndarray
    ) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
        rows = []
        for tile in _tiles(sample, truth.shape):
            x0, y0, x1, y1 = tile["box"]
            maps = truth[y0:y1, x0:x1], prediction[y0:y1, x0:x1], len(self.classes)
            counts, outlines = (
                count(*maps, ignore_index=self.ignore_index)
                for count in (confusion_matrix, boundary_counts)
            )
            stem, group = str(tile["stem"]), str(tile.get("group", ""))
            rows.append((stem, group, counts, outlines))
        return rows

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Pool all cells; return scalars, log the table, write both files.

        Undefined scores are NaN among the scalars and null in the file.
        """
        cells = _stack([row for rows in results for row in rows], len(self.classes))
        pooled = cells.confusion.sum(axis=0)
        result = scores(pooled, self.classes)
        table = per_class_table(result.per_class, result.metrics, style="plain")
        print_log(f"{len(cells.stem)} test cells\n{table}", logger="current")
        if self.out_dir is not None and is_main_process():
            self._write(result, pooled, cells)
        ious = {f"IoU.{name}": row["iou"] for name, row in result.per_class.items()}
        return {
            key: float("nan") if value is None else value
            for key, value in {**result.metrics, **ious}.items()
        }

    def _write(self, result: Scores, pooled: np.ndarray, cells: Cells) -> None:
        self.out_dir.mkdir(parents=True, exist_ok=True)
        content = {
            "metrics": result.metrics,
            "per_class": result.per_class,
            "confusion": pooled.tolist(),
            "classes": list(self.classes),
        }
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        with replacing(self.out_dir / CELLS_FILE) as part, part.open("wb") as file:
            np.savez_compressed(file, **vars(cells))
        write_text(self.out_dir / METRICS_FILE, text)


def load_cells(path: str | Path) -> Cells:
    """Read a ``cells.npz`` without unpickling anything.

    Raises:
        ValueError: if the file is not one, or its arrays do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            cells = Cells(
                *(arrays[key] for key in ("stem", "group", "confusion")),
                arrays.get("boundary"),
            )
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as fault:
        raise ValueError(
            f"{path} is no {CELLS_FILE}: {fault}; expected the arrays stem, group and "
            "confusion; test the run again to write it"
        ) from fault
    shape, rows = cells.confusion.shape, len(cells.stem)
    outlines = None if cells.boundary is None else cells.boundary.shape
    if (
        len(shape) != 3
        or shape[1] != shape[2]
        or {shape[0], len(cells.group)} != {rows}
        or outlines not in (None, (*shape[:2], 2, 2))
    ):
        raise ValueError(
            f"{path} holds {rows} stems, {len(cells.group)} groups, confusion of shape "
            f"{shape} and boundary of {outlines}; expected N, N, (N, C, C) and "
            "(N, C, 2, 2) or none; test the run again"
        )
    return cells


def _stack(
    rows: list[tuple[str, str, np.ndarray, np.ndarray]], num_classes: int
) -> Cells:
    stems, groups, counts, outlines = zip(*rows, strict=True) if rows else [()] * 4
    shape = (len(rows), num_classes)
    return Cells(
        stem=np.array(stems, dtype=np.str_),
        group=np.array(groups, dtype=np.str_),
        confusion=np.array(counts, np.int64).reshape(*shape, num_classes),
        boundary=np.array(outlines, np.int64).reshape(*shape, 2, 2),
    )


def _label_map(sample: dict, key: str) -> np.ndarray:
    # (1, H, W) -> (H, W); squeeze would also drop a side of length 1.
    labels = np.asarray(sample[key]["data"].cpu())
    return labels.reshape(labels.shape[-2:])


def _tiles(sample: dict, shape: tuple[int, int]) -> list[dict]:
    height, width = shape
    if sample.get("tiles") is None:
        stem = sample.get("stem") or Path(sample["img_path"]).stem
        whole = (0, 0, width, height)
        return [{"stem": stem, "group": sample.get("group") or "", "box": whole}]
    for tile in sample["tiles"]:
        x0, y0, x1, y1 = tile["box"]
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(
                f"tile {tile['stem']} has the box {tuple(tile['box'])}; expected "
                f"x0 < x1 <= {width} and y0 < y1 <= {height}, the mosaic's size; "
                "boxes are (x0, y0, x1, y1) in the pixels of the mask"
            )
    return sample["tiles"]
