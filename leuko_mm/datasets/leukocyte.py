"""Single cells of a prepared dataset, as MMSegmentation reads a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import Compose
from mmseg.datasets import BaseSegDataset

from leuko_mm.classes import (
    BINARY_COLOURS,
    BINARY_NAMES,
    CELL_CLASSES,
    CLASS_COLOURS,
    CLASS_NAMES,
)
from leuko_mm.datasets.joined import read_sources
from leuko_mm.datasets.prepared import (
    PARTS,
    DatasetError,
    is_binary,
)
from leuko_mm.datasets.sampling import sample_randomness
from leuko_mm.errors import LeukoError, UsageError
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


def image_pipeline(config: Mapping) -> list[Step]:
    """Return how a config's test brings one cell image to its network.

    For mmseg's ``inference_model``, as ``test_pipeline`` of the model's config: with
    the enhancement, at the size of a tile, without labels. Images that are smaller than
    a tile are enlarged pixel by pixel, where a test interpolates between them.

    Args:
        config: complete, such as the copy that a run keeps of its own.
    """
    dataset = config["test_dataloader"]["dataset"]
    steps = dataset.get("tile_pipeline") or dataset["pipeline"]
    steps = with_enhancement(steps, dataset.get("enhance"))
    # Copies, because mmseg changes the first where it is given an array.
    steps = [dict(step) for step in steps if step["type"] != "LoadAnnotations"]
    if "tile_pipeline" in dataset:
        side = dataset["size"] // dataset["n"]
        resize = dict(type="Resize", scale=(side, side), interpolation="area")
        steps += [resize, dict(type="PackSegInputs")]
    return steps


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


class Enhancement:
    """Call the transform of ``enhance`` without labels, and check what it returns.

    `leuko predict` has no labels, and an image of the same size is what they fit.

    Args:
        step: the transform, or its config.

    Raises:
        UsageError: when called, if the transform fails, or returns anything but ``img``
            as uint8 (H, W, 3) of the size that it was given.
    """

    def __init__(self, step: Step):
        (self.step,) = build_pipeline([step]).transforms
        given = step.get("type") if isinstance(step, Mapping) else None
        self.name = given or getattr(step, "__name__", type(step).__name__)

    def __call__(self, sample: dict) -> dict:
        """Return a sample with its image enhanced."""
        shape = sample["img"].shape
        seen = {key: value for key, value in sample.items() if key != "gt_seg_map"}
        try:
            made = self.step(seen)
        except LeukoError:
            raise
        except Exception as error:
            raise self._refused(f"fails: {type(error).__name__}: {error}") from error
        image = made.get("img") if isinstance(made, Mapping) else None
        if not isinstance(made, Mapping):
            raise self._refused(f"returns {type(made).__name__} instead of a dict")
        if described(image) != (wanted := f"uint8 {shape}"):
            raise self._refused(f"returns img {described(image)} instead of {wanted}")
        return {**sample, "img": image}

    def _refused(self, what: str) -> UsageError:
        return UsageError(
            f"enhance: {self.name} {what}. It is given no labels, and img alone in "
            "`leuko predict`; it must return img as uint8 (H, W, 3), of the same size"
        )


def described(array: object) -> str:
    """Return the dtype and the shape of an array, or the type of what is none."""
    if isinstance(array, np.ndarray):
        return f"{array.dtype} {array.shape}"
    return type(array).__name__


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
    """Images of one leukocyte each, with their masks, from prepared datasets.

    Reads ``index.csv`` and ``splits/<split>.csv`` of ``data/<name>/`` (see
    ``leuko_mm.datasets.prepared``). Labels are 0 background, 1 basophil,
    2 eosinophil, 3 lymphocyte, 4 monocyte, 5 neutrophil, and 255 for pixels to
    ignore. Each data info names its ``dataset``; where several are joined, its ``stem``
    and ``group`` begin with ``<name>/``, since those of two datasets may coincide.

    Args:
        name: folder below the data home, or a path to a prepared dataset.
        names: several of them instead, whose cells follow one another.
        split: name of a split file that each dataset has; None takes every cell. Of
            several datasets also ``without_<name>``: see ``leuko_mm.datasets.joined``.
        part: ``train`` or ``test``.
        binary: merge all leukocytes into one class (background, leukocyte).
        other: take cells of class ``other`` too, whose own pixels are 255.
        drawn_only: leave out cells whose outline was drawn by a model, but for those
            that are tested.
        enhance: a transform's config, inserted behind the loading steps.
        seed: of the augmentation, with the global index.
        **kwargs: for ``BaseSegDataset`` (``pipeline``, ``indices``, ...).

    Raises:
        DatasetError: if a dataset is not prepared or has no such split, or the part
            holds no cell; if one has leukocytes without their class and ``binary`` is
            not set; or if not exactly one of ``name`` and ``names`` is given.
    """

    METAINFO = dict(classes=CLASS_NAMES, palette=[list(c) for c in CLASS_COLOURS])

    def __init__(
        self,
        name: str | None = None,
        *,
        names: Sequence[str] | None = None,
        split: str | None = None,
        part: str = "train",
        binary: bool = False,
        other: bool = False,
        drawn_only: bool = False,
        enhance: Mapping | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        if part not in PARTS:
            raise ValueError(f"part must be one of {PARTS}, got {part!r}")
        cells = dict(name=name, names=names, split=split, other=other)
        self.sources = read_sources(dict(cells, drawn_only=drawn_only))
        for source in self.sources:
            check_binary(source.root, binary)
        # None for several: whoever reads files asks the sources.
        self.root = self.sources[0].root if len(self.sources) == 1 else None
        self.split, self.part, self.binary, self.seed = split, part, binary, seed
        steps = with_enhancement(
            kwargs.get("pipeline", ()), enhance and Enhancement(enhance)
        )
        kwargs["pipeline"] = build_pipeline(steps).transforms
        # Serialising pays for millions of samples; here it would only cost a second.
        kwargs.setdefault("serialize_data", False)
        super().__init__(**kwargs)
        if binary:
            self._metainfo["classes"] = BINARY_NAMES
            self._metainfo["palette"] = [list(c) for c in BINARY_COLOURS]

    def load_data_list(self) -> list[dict]:
        """Return one entry per cell, in the order of datasets and of their index."""
        cells = [(s, row) for s in self.sources for row in s.of(self.part)]
        if not cells:
            raise DatasetError(
                f"{', '.join(str(source.root) for source in self.sources)}: split "
                f"{self.split!r} has no cell in part {self.part!r}"
            )
        merged = {c.id: 1 for c in CELL_CLASSES} if self.binary else self.label_map
        return [
            dict(
                img_path=str(source.root / row.image),
                seg_map_path=str(source.root / row.mask),
                dataset=source.name,
                stem=source.recorded(row.stem),
                group=source.recorded(row.group),
                class_name=row.class_name,
                label_map=merged,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for source, row in cells
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
