"""Single cells of a prepared dataset, as MMSegmentation reads a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mmcv.transforms import Compose
from mmseg.datasets import BaseSegDataset

from leuko_mm.classes import (
    BINARY_COLOURS,
    BINARY_NAMES,
    CELL_CLASSES,
    CLASS_COLOURS,
    CLASS_NAMES,
)
from leuko_mm.datasets.prepared import (
    PARTS,
    DatasetError,
    cell_rows,
    dataset_root,
    is_binary,
    read_split,
)
from leuko_mm.datasets.sampling import sample_randomness
from leuko_mm.registry import DATASETS, SCOPE, TRANSFORMS

Step = Mapping | Callable[[dict], dict]


def with_enhancement(pipeline: Sequence[Step], enhance: Step | None) -> list[Step]:
    """Insert an enhancement after the last step that loads, or resizes to one size.

    Its parameters are in pixels of the image that the network sees.
    """
    steps = list(pipeline)
    if enhance is None:
        return steps
    names = [
        str(s.get("type") if isinstance(s, Mapping) else type(s).__name__)
        for s in steps
    ]
    loading = [i for i, n in enumerate(names) if "Load" in n or n == "Resize"]
    position = loading[-1] + 1 if loading else 0
    return [*steps[:position], enhance, *steps[position:]]


def build_pipeline(steps: Sequence[Step]) -> Compose:
    """Build transforms of leuko_mm, MMSegmentation or mmcv, under any default scope."""
    return Compose(
        [
            TRANSFORMS.build({"_scope_": SCOPE, **step})
            if isinstance(step, Mapping)
            else step
            for step in steps
        ]
    )


def check_binary(root: Path, binary: bool) -> None:
    """Refuse to train on classes in a dataset that has none."""
    if is_binary(root) and not binary:
        raise DatasetError(
            f"{root} has leukocytes without their class; train and test it as "
            "binary, with:\n    --cfg-options "
            "train_dataloader.dataset.dataset.binary=True "
            "test_dataloader.dataset.dataset.binary=True "
            "model.decode_head.num_classes=2"
        )


@DATASETS.register_module()
class LeukocyteDataset(BaseSegDataset):
    """Images of one leukocyte each, with their masks, from a prepared dataset.

    Reads ``index.csv`` and ``splits/<split>.csv`` of ``data/<name>/`` (see
    ``leuko_mm.datasets.prepared``). Labels are 0 background, 1 basophil,
    2 eosinophil, 3 lymphocyte, 4 monocyte, 5 neutrophil, and 255 for pixels to
    ignore.

    Args:
        name: folder below the data home, or a path to a prepared dataset.
        split: name of a split file; None takes every cell.
        part: ``train`` or ``test``.
        binary: merge all leukocytes into one class (background, leukocyte).
        other: take cells of class ``other`` too, whose own pixels are 255.
        enhance: a transform's config, inserted behind the loading steps.
        seed: of the augmentation, with the global index.
        **kwargs: for ``BaseSegDataset`` (``pipeline``, ``indices``, ...).

    Raises:
        DatasetError: if the dataset is not prepared, has no such split, or the part
            holds no cell; or if it has leukocytes without their class and ``binary``
            is not set.
    """

    METAINFO = dict(classes=CLASS_NAMES, palette=[list(c) for c in CLASS_COLOURS])

    def __init__(
        self,
        name: str,
        *,
        split: str | None = None,
        part: str = "train",
        binary: bool = False,
        other: bool = False,
        enhance: Mapping | None = None,
        seed: int = 0,
        **kwargs,
    ):
        if part not in PARTS:
            raise ValueError(f"part must be one of {PARTS}, got {part!r}")
        self.root = dataset_root(name)
        check_binary(self.root, binary)
        self.split, self.part, self.binary, self.seed = split, part, binary, seed
        self.other = other
        steps = with_enhancement(kwargs.get("pipeline", ()), enhance)
        kwargs["pipeline"] = build_pipeline(steps).transforms
        # Serialising pays for millions of samples; here it would only cost a second.
        kwargs.setdefault("serialize_data", False)
        super().__init__(**kwargs)
        if binary:
            self._metainfo["classes"] = BINARY_NAMES
            self._metainfo["palette"] = [list(c) for c in BINARY_COLOURS]

    def load_data_list(self) -> list[dict]:
        """Return one entry per cell, in the order of the index."""
        rows = cell_rows(self.root, other=self.other)
        if self.split is not None:
            parts = read_split(self.root, self.split)
            rows = [row for row in rows if parts.get(row.stem) == self.part]
        if not rows:
            raise DatasetError(
                f"{self.root}: split {self.split!r} has no cell in part {self.part!r}"
            )
        merged = {c.id: 1 for c in CELL_CLASSES} if self.binary else self.label_map
        return [
            dict(
                img_path=str(self.root / row.image),
                seg_map_path=str(self.root / row.mask),
                stem=row.stem,
                group=row.group,
                class_name=row.class_name,
                label_map=merged,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for row in rows
        ]

    def __getitem__(self, index: int) -> dict:
        """Return a sample by global index (see ``GlobalIndexSampler``)."""
        if self.test_mode:
            return super().__getitem__(index)
        with sample_randomness(self.seed, index):
            return super().__getitem__(index % len(self))

    def __iter__(self) -> Iterator[dict]:
        """Yield every cell once; iteration by global index would never end."""
        return (self[i] for i in range(len(self)))
