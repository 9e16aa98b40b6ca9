"""Single cells with their surroundings at one scale: what a class network sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from torch.utils.data import Dataset

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, IGNORE_LABEL, OTHER
from leuko_mm.datasets.images import read_image, read_mask_file
from leuko_mm.datasets.joined import prepared_red_cell
from leuko_mm.datasets.layouts import number_in_middle
from leuko_mm.datasets.leukocyte import Step, build_pipeline
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.sampling import sample_randomness
from leuko_mm.registry import DATASETS, SCOPE
from leuko_mm.transforms.cell_crop import cut_square

# Cells of a class of a dataset above which it is not drawn more often.
ENOUGH = 60
# Of a red cell's diameter: how far a place without a leukocyte is from the nearest one,
# and from the border of the picture.
AWAY, INSIDE = 0.45, 0.4
KEPT_BYTES = 2**29
# Pictures in which a place without a leukocyte is looked for.
ATTEMPTS = 50


@DATASETS.register_module()
class CellCropDataset(Dataset):
    """Squares around the cells of one or several datasets, all at one scale.

    Every pixel of a square has the label of its cell; 0 stands for what is none of the
    classes. Training draws evenly by class, and among the datasets that have the class
    (one of few cells less often). A part of what is none of the classes are places
    without a leukocyte, from pictures whose outlines people drew.

    Args:
        dataset: config of a ``LeukocyteDataset``; its own pipeline is not used.
        size: side of a square in pixels.
        red_cell: diameter that a red cell has in a square, in pixels.
        red_cell_px: the diameter in a dataset's own cell images, by its name; of others
            it is measured.
        around: side of what is cut out in training over ``size``, so that a transform
            may turn and shrink it; the pipeline crops the middle.
        places: share of places without a leukocyte among what is none of the classes.
        pipeline: transforms or configs.
        seed: of what is drawn.
        test_mode: every cell once, as it is.

    Raises:
        DatasetError: as ``LeukocyteDataset``, or if the pictures of a dataset do not
            show enough red cells to know their scale.
    """

    def __init__(
        self,
        dataset: Mapping,
        *,
        size: int = 128,
        red_cell: float = 35.0,
        red_cell_px: Mapping[str, float] | None = None,
        around: float = 1.5,
        places: float = 0.5,
        pipeline: Sequence[Step] = (),
        seed: int = 0,
        test_mode: bool = False,
    ):
        if size < 32 or red_cell <= 0 or around < 1 or not 0 <= places <= 1:
            raise ValueError(
                f"CellCropDataset: size={size}, red_cell={red_cell}, "
                f"around={around}, places={places}; expected 32 or more, above 0, 1 or "
                "more, and 0 to 1"
            )
        dataset = {"type": "leuko_mm.LeukocyteDataset", "other": True, **dataset}
        dataset["test_mode"] = test_mode
        self.cells = DATASETS.build({"_scope_": SCOPE, **dataset})
        self.size, self.red_cell, self.around = size, red_cell, around
        self.places, self.seed, self.test_mode = places, seed, test_mode
        self.infos = [self.cells.get_data_info(i) for i in range(len(self.cells))]
        self.pipeline = build_pipeline(pipeline)
        sources = self.cells.sources
        self.factors = {
            source.name: red_cell / prepared_red_cell(source, red_cell_px or {})
            for source in sources
        }
        self._pools = _pools(self.infos)
        drawn = [s.name for s in sources if "outlined_by" not in s.about]
        self._pictures = [i for i, x in enumerate(self.infos) if x["dataset"] in drawn]
        self._kept: dict[int, np.ndarray] = {}
        self._free = KEPT_BYTES

    @property
    def metainfo(self) -> dict:
        """Classes and palette, as MMSegmentation asks for them."""
        return self.cells.metainfo

    def get_data_info(self, index: int) -> dict:
        """Return the entry of a cell, as ``LeukocyteDataset`` has it."""
        return self.infos[index]

    def __len__(self) -> int:
        return len(self.infos)

    def __iter__(self) -> Iterator[dict]:
        """Yield one epoch; iteration by global index would never end."""
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> dict:
        """Return a sample: by number in tests, else by global index."""
        if self.test_mode:
            if not 0 <= index < len(self):
                raise IndexError(f"cell {index} of {len(self)}, counted from 0")
            image = self._cut(index, self.size)
            return self.pipeline(self._sample(image, index, index))
        rng = np.random.default_rng([self.seed, index])
        cell = self._drawn(rng)
        image = self._place(rng) if cell is None else self._kept_cut(cell)
        with sample_randomness(self.seed, index):
            return self.pipeline(self._sample(image, cell, index))

    def _sample(self, image: np.ndarray, cell: int | None, index: int) -> dict:
        side = len(image)
        info = self.infos[cell] if cell is not None else dict(class_name=OTHER)
        keys = ("stem", "group", "class_name")
        tile = {key: info.get(key, "") for key in keys}
        return dict(
            img=np.ascontiguousarray(image[..., ::-1]),  # BGR, as mmcv loads
            gt_seg_map=np.full((side, side), _label(info["class_name"]), np.uint8),
            seg_fields=["gt_seg_map"],
            img_shape=(side, side),
            ori_shape=(side, side),
            tiles=[{**tile, "box": (0, 0, self.size, self.size)}],
            sample_idx=index,
            reduce_zero_label=False,
        )

    def _drawn(self, rng: np.random.Generator) -> int | None:
        """Draw a cell; None stands for a place without a leukocyte."""
        alone = self._pictures and self.places  # enough for a class without a cell
        names = [name for name in self._pools if self._pools[name] or alone]
        name = names[int(rng.integers(len(names)))]
        pools = self._pools[name]
        places = self.places if pools else 1
        if name == OTHER and self._pictures and rng.random() < places:
            return None
        weights = np.minimum([len(pool) for pool in pools], ENOUGH).astype(float)
        pool = pools[int(rng.choice(len(pools), p=weights / weights.sum()))]
        return int(pool[int(rng.integers(len(pool)))])

    def _kept_cut(self, cell: int) -> np.ndarray:
        if cell not in self._kept:
            image = self._cut(cell, round(self.size * self.around))
            if image.nbytes > self._free:
                return image
            self._kept[cell] = image
            self._free -= image.nbytes
        return self._kept[cell]

    def _cut(self, cell: int, side: int) -> np.ndarray:
        info = self.infos[cell]
        image = read_image(info["img_path"])
        centre = middle_of_cell(_labels(info), _label(info["class_name"]))
        factor = self.factors[info["dataset"]]
        return cut_square(image, centre, factor=factor, side=side)

    def _place(self, rng: np.random.Generator) -> np.ndarray:
        """Cut out a place without a leukocyte, every second time a dark one."""
        for _ in range(ATTEMPTS):
            if (square := self._free_place(rng)) is not None:
                return square
        names = ", ".join(self.factors)
        raise DatasetError(
            f"the pictures of {names} show no place without a leukocyte; add "
            "--cfg-options train_dataloader.dataset.places=0"
        )

    def _free_place(self, rng: np.random.Generator) -> np.ndarray | None:
        info = self.infos[self._pictures[int(rng.integers(len(self._pictures)))]]
        image, factor = read_image(info["img_path"]), self.factors[info["dataset"]]
        own = self.red_cell / factor
        free = (_labels(info) == BACKGROUND).astype(np.uint8)
        border = max(1, round(INSIDE * own))
        inner = np.zeros_like(free)
        inner[border:-border, border:-border] = 1
        apart = cv2.distanceTransform(free, cv2.DIST_L2, 5) > AWAY * own
        where = apart & (inner > 0)
        if rng.random() < 0.5:
            soft = cv2.blur(image[..., 1], (5, 5))
            where &= soft < np.median(soft)
        found = np.argwhere(where)
        if not len(found):
            return None
        y, x = found[int(rng.integers(len(found)))]
        side = round(self.size * self.around)
        return cut_square(image, (x + 0.5, y + 0.5), factor=factor, side=side)


def _label(class_name: str) -> int:
    return BACKGROUND if class_name == OTHER else CLASS_NAMES.index(class_name)


def _labels(info: Mapping) -> np.ndarray:
    return read_mask_file(info["seg_map_path"]).values


def _pools(infos: Sequence[Mapping]) -> dict[str, list]:
    """Return the cells by class, and in a class by dataset; ``other`` is last."""
    pools: dict[str, dict[str, list[int]]] = {}
    for i, info in enumerate(infos):
        pools.setdefault(info["class_name"], {}).setdefault(info["dataset"], []).append(
            i
        )
    names = [name for name in CLASS_NAMES if name in pools]
    return {name: list(pools.get(name, {}).values()) for name in [*names, OTHER]}


def middle_of_cell(labels: np.ndarray, label: int) -> tuple[float, float]:
    """Return the middle (x, y) of the box of a cell's largest piece.

    Args:
        label: of its class; 0 means none of the classes, whose pixels are 255. So are
            its neighbours', and the piece in the middle of the image is the cell.

    Shape:
        (H, W) -> two numbers in pixels; without a piece the middle of the image.
    """
    own = (labels == (label or IGNORE_LABEL)).astype(np.uint8)
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(own)
    if len(stats) < 2:
        return labels.shape[1] / 2, labels.shape[0] / 2
    number = 0 if label else number_in_middle(pieces)
    number = number or 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    left, top, width, height, _ = stats[number]
    return left + width / 2, top + height / 2
