"""n x n mosaics of single cells: the images that the paper trains and tests on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from leuko_mm.classes import BACKGROUND, IGNORE_LABEL
from leuko_mm.datasets.composition import (
    EACH_ONCE,
    EVERY,
    EVERY_ALIKE,
    compose_every,
    compose_every_alike,
    compose_fixed,
    compose_one,
    compose_one_balanced,
)
from leuko_mm.datasets.images import read_image, read_mask_file
from leuko_mm.datasets.joined import common_red_cell, prepared_red_cell
from leuko_mm.datasets.layouts import (
    Mosaic,
    SmearOdds,
    Tile,
    cell_box,
    lay_grid,
    lay_smear,
)
from leuko_mm.datasets.leukocyte import (
    Enhancement,
    Step,
    build_pipeline,
    described,
    with_enhancement,
)
from leuko_mm.datasets.prepared import DatasetError, read_index
from leuko_mm.datasets.sampling import sample_randomness
from leuko_mm.registry import DATASETS, SCOPE

MODES = ("fixed", "resample", *EACH_ONCE)
LAYOUTS = ("grid", "smear")


class TileStore:
    """Load cells through a pipeline, resize them, and keep the tiles in memory.

    Args:
        cells: a dataset with ``get_data_info``.
        pipeline: from such an entry to a sample with ``img`` and ``gt_seg_map``.
        seed: of the pipeline, which draws the same for a cell every time.
        limit: bytes of tiles to keep at most; others are made again.
        fit: from (cell, image, labels, height, width) to a tile.
    """

    def __init__(
        self,
        cells,
        pipeline: Callable[[dict], dict],
        *,
        seed: int = 0,
        limit: int = 2**29,
        fit: Callable[..., Tile] = lambda cell, *given: resize_tile(*given),
    ):
        self.cells, self.pipeline, self.seed = cells, pipeline, seed
        self.fit, self.limit, self.used = fit, limit, 0
        self._kept: dict[tuple[int, int, int], Tile] = {}

    def tile(self, cell: int, height: int, width: int) -> Tile:
        """Return image (H, W, 3) and labels (H, W) of a cell; do not write to them."""
        key = (cell, height, width)
        if key in self._kept:
            return self._kept[key]
        tile = self.fit(cell, *self._load(cell), height, width)
        size = sum(array.nbytes for array in tile)
        if self.used + size <= self.limit:
            self._kept[key] = tile
            self.used += size
        return tile

    def _load(self, cell: int) -> Tile:
        with sample_randomness(self.seed, cell):
            sample = self.pipeline(self.cells.get_data_info(cell))
        return _checked_tile(sample, self.pipeline, "tile_pipeline")


def _checked_tile(
    sample: object,
    pipeline: Callable[[dict], dict],
    name: str,
    size: tuple[int, int] | None = None,
) -> Tile:
    """Return image and labels that a pipeline made, or refuse what fits no mosaic."""
    made = sample if isinstance(sample, Mapping) else {}
    image, labels = made.get("img"), made.get("gt_seg_map")
    found = size or np.shape(labels)
    if described(image) != f"uint8 {(*found, 3)}" or np.shape(labels) != found:
        steps = (type(step).__name__ for step in getattr(pipeline, "transforms", ()))
        height, width = size or "HW"
        raise ValueError(
            f"{name} ({', '.join(steps)}) gives img {described(image)} and gt_seg_map "
            f"{described(labels)}; expected img uint8 ({height}, {width}, 3) and "
            f"gt_seg_map ({height}, {width}), as LoadImageFromFile and "
            "LoadAnnotations give them"
        )
    return image, labels


def resize_tile(image: np.ndarray, labels: np.ndarray, height: int, width: int) -> Tile:
    """Resize an image smoothly, and its labels to the nearest."""
    # Area averaging when shrinking: a linear kernel would alias granules.
    shrinks = height * width < image.shape[0] * image.shape[1]
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return (
        cv2.resize(image, (width, height), interpolation=smooth),
        cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT),
    )


def scale_tile(
    image: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, int],
    *,
    factor: float,
    ignored: bool = True,
) -> Tile:
    """Resize a cell by a factor, then crop it around its labels or fill the tile up.

    What is filled up is mirrored pixels, labelled 255, or with mirrored labels where
    not ``ignored``.
    """
    size = [max(1, round(side * factor)) for side in labels.shape]
    image, labels = resize_tile(image, labels, *size)
    own = (labels > 0) & (labels < IGNORE_LABEL)
    # 255 may be a neighbour or a frame: it is the cell where nothing else is.
    own = own if own.any() else labels
    x0, y0, x1, y1 = cell_box(own) if own.any() else (0, 0, *size[::-1])
    middles = (y0 + y1) // 2, (x0 + x1) // 2
    starts = [
        min(max(0, middle - side // 2), max(0, whole - side))
        for middle, side, whole in zip(middles, shape, size, strict=True)
    ]
    here = tuple(slice(at, at + side) for at, side in zip(starts, shape, strict=True))
    image, labels = image[here], labels[here]
    lack = [side - had for side, had in zip(shape, labels.shape, strict=True)]
    around = [(n // 2, n - n // 2) for n in lack]
    how = dict(constant_values=IGNORE_LABEL) if ignored else dict(mode="symmetric")
    image = np.pad(image, (*around, (0, 0)), mode="symmetric")
    return image, np.pad(labels, around, **how)


def _augmented(
    augmentation: Callable[[dict], dict], image: np.ndarray, labels: np.ndarray
) -> Tile:
    if not augmentation.transforms:
        return image, labels
    sample = augmentation(
        dict(
            img=image.copy(),
            gt_seg_map=labels.copy(),
            seg_fields=["gt_seg_map"],
            img_shape=labels.shape,
        )
    )
    return _checked_tile(sample, augmentation, "tile_augmentation", labels.shape)


class FieldWindows:
    """Draw squares from the fields of the slides that are trained on.

    Pixels that nobody labelled keep the label 255.

    Args:
        root: a prepared dataset.
        groups: slides whose fields may be shown.
        size: side of a window in pixels.
        cell_px: side that a prepared cell image has where the network sees it.
        factor: by which its cells are resized instead, where that is one for all.

    ``fields`` is empty where no field of these slides has a cell whose place is known.
    """

    def __init__(
        self,
        root: Path,
        groups: Collection[str],
        *,
        size: int,
        cell_px: int,
        factor: float | None = None,
    ):
        self.root, self.size = Path(root), size
        rows = read_index(self.root)
        factors = {
            row.place.parent: row.place.scale * (factor or cell_px / row.width)
            for row in rows
            if row.kind == "cell" and row.place is not None
        }
        self.fields = [
            (row, factors[row.stem])
            for row in rows
            if row.kind == "field" and row.group in groups and row.stem in factors
        ]
        self._read: dict[int, Tile] = {}

    def field(self, number: int) -> Tile:
        """Return a field, BGR, and its labels, at the network's scale."""
        if number not in self._read:
            row, factor = self.fields[number]
            image = np.ascontiguousarray(read_image(self.root / row.image)[..., ::-1])
            labels = read_mask_file(self.root / row.mask).values.astype(np.uint8)
            size = tuple(max(1, round(s * factor)) for s in (row.width, row.height))
            self._read[number] = (
                cv2.resize(image, size, interpolation=cv2.INTER_AREA),
                cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT),
            )
        return self._read[number]

    def window(self, rng: np.random.Generator) -> Tile:
        """Return a random square (size, size) of a field, with some labelled pixel."""
        image, labels = self.field(int(rng.integers(len(self.fields))))
        lack = [max(0, self.size - side) for side in labels.shape]
        if any(lack):
            grown = ((0, lack[0]), (0, lack[1]))
            image = np.pad(image, (*grown, (0, 0)), mode="symmetric")
            labels = np.pad(labels, grown, constant_values=IGNORE_LABEL)
        labelled = np.argwhere(labels != IGNORE_LABEL)
        around = (0, 0)
        if len(labelled):
            around = labelled[int(rng.integers(len(labelled)))]
        y, x = (
            int(np.clip(at - rng.integers(self.size), 0, whole - self.size))
            for at, whole in zip(around, labels.shape, strict=True)
        )
        here = np.s_[y : y + self.size, x : x + self.size]
        return image[here].copy(), labels[here].copy()


def as_binary(labels: np.ndarray) -> np.ndarray:
    """Return labels with every leukocyte as 1; 255 stays."""
    cells = (labels != BACKGROUND) & (labels != IGNORE_LABEL)
    return np.where(cells, 1, labels).astype(np.uint8)


@DATASETS.register_module()
class MosaicDataset(Dataset):
    """Compose cells of a dataset into mosaics of n x n.

    Modes: ``fixed`` deals the cells into ``mosaics`` images once, without replacement
    until all are used; ``resample`` draws each mosaic by (seed, global index);
    ``every`` shows every cell exactly once, for testing: tiles left over in its last
    mosaic stay background; ``every_alike`` does so with mosaics of one class each.

    Layouts: ``grid`` puts the cells side by side; ``smear`` composes fields of few or
    no cells, some touching or cut off, with platelets (see ``lay_smear``).

    Tiles go through ``tile_pipeline`` (loading and enhancement: the same for a cell
    every time, so it is kept in memory), are resized to their place, go through
    ``tile_augmentation`` one by one, and the mosaic through ``pipeline``. Each sample
    has ``tiles``, a list of ``{stem, group, class_name, box}`` with box
    (x0, y0, x1, y1) in mosaic pixels, and ``spare_tiles``, the boxes without a cell.

    Args:
        dataset: config of a ``LeukocyteDataset``; its own pipeline is not used.
        n: tiles along a side.
        size: side s of the mosaic in pixels.
        mode: ``fixed``, ``resample``, ``every`` or ``every_alike``.
        mosaics: how many, in ``fixed`` and ``resample``.
        class_balanced: in ``resample``, draw every class equally often, instead of
            every cell; of joined datasets, every class of each dataset.
        red_cell_px: brings the cells of joined datasets to the scale of the first, by
            the size of their red cells: {dataset: pixels in its prepared cells}. Those
            that are not named are measured. None resizes each cell to its tile.
        layout: ``grid`` or ``smear``.
        smear: options of ``SmearOdds``, for the layout of that name.
        fields: share of the images that are windows of whole fields of the same slides
            instead, augmented as one tile (see ``FieldWindows``); the joined datasets
            that have such fields take equal shares.
        enhance: a transform's config, inserted behind the loading of each tile.
        tile_pipeline: transforms of each tile, or their configs; see above.
        tile_augmentation: transforms of each tile that draw random numbers.
        pipeline: transforms of the whole image.
        fill: grey level of spare tiles, 0-255.
        seed: of composition and augmentation.
        test_mode: as in MMSegmentation: the sample's index is not a global one.

    Raises:
        ValueError: if a number or name does not fit, or a mosaic has more tiles than
            there are cells.
        DatasetError: as ``LeukocyteDataset``; if ``fields`` are asked for and there are
            none; or if too few red cells are seen.
    """

    def __init__(
        self,
        dataset: Mapping,
        *,
        n: int = 2,
        size: int = 512,
        mode: str = "fixed",
        mosaics: int | None = None,
        class_balanced: bool = False,
        red_cell_px: Mapping[str, float] | None = None,
        layout: str = "grid",
        smear: Mapping | None = None,
        fields: float = 0.0,
        enhance: Step | None = None,
        tile_pipeline: Sequence[Step] = (),
        tile_augmentation: Sequence[Step] = (),
        pipeline: Sequence[Step] = (),
        fill: int = 230,
        seed: int = 0,
        test_mode: bool = False,
    ):
        self.n, self.size, self.mode, self.seed = n, size, mode, seed
        self.fill, self.test_mode = fill, test_mode
        self.class_balanced, self.layout, self.fields = class_balanced, layout, fields
        self._check_choices()
        self._check_numbers(mosaics, enhance)
        if not isinstance(red_cell_px, (Mapping, type(None))):
            raise ValueError(
                f"red_cell_px must be {{dataset: pixels}}, got {red_cell_px!r}"
            )
        self.odds = SmearOdds(**(smear or {}))
        self.cells = self._build_cells(dict(dataset))
        infos = [self.cells.get_data_info(cell) for cell in range(len(self.cells))]
        keys = ("stem", "group", "class_name")
        self._about = [{key: info[key] for key in keys} for info in infos]
        self._classes = [about["class_name"] for about in self._about]
        self._datasets = [info.get("dataset", "") for info in infos]
        kinds = zip(self._datasets, self._classes, strict=True)
        self._kinds = ["/".join(kind) for kind in kinds]
        self._mosaics = self._composed(mosaics)
        self.tile_pipeline = build_pipeline(
            with_enhancement(tile_pipeline, enhance and Enhancement(enhance))
        )
        self.tile_augmentation = build_pipeline(tile_augmentation)
        self.pipeline = build_pipeline(pipeline)
        self._factors = {} if red_cell_px is None else self._to_first(red_cell_px)
        self.store = TileStore(
            self.cells, self.tile_pipeline, seed=seed, fit=self._fitted
        )
        self.windows = self._windows() if fields else []

    def _check_choices(self) -> None:
        mode, balanced = self.mode, self.class_balanced
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {LAYOUTS}, got {self.layout!r}")
        if self.test_mode and (balanced or self.layout != "grid"):
            raise ValueError(
                "test mosaics show their cells on the grid as they are; leave out "
                f"class_balanced={balanced} and layout={self.layout!r}, or test_mode"
            )
        if balanced and mode != "resample":
            raise ValueError(
                f"class_balanced draws the cells of each mosaic; use mode 'resample', "
                f"not {mode!r}"
            )

    def _check_numbers(self, mosaics: int | None, enhance: Step | None) -> None:
        n, size, mode, fields = self.n, self.size, self.mode, self.fields
        if n < 1 or size < n:
            raise ValueError(f"n must be 1 or more and at most size, got {n}, {size}")
        if mode not in EACH_ONCE and (mosaics is None or mosaics < 1):
            raise ValueError(
                f"mode {mode!r} needs the number of mosaics, 1 or more; got {mosaics}"
            )
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill must be a grey level of 0 to 255, got {self.fill}")
        if not 0 <= fields < 1:
            raise ValueError(f"fields must be a share of 0 to below 1, got {fields}")
        if fields and (enhance is not None or mode != "resample"):
            raise ValueError(
                f"fields={fields} shows windows of raw fields among resampled "
                f"mosaics; use mode 'resample' without enhance, not {mode!r} with "
                f"{enhance}"
            )

    def _build_cells(self, dataset: dict):
        dataset.setdefault("type", "leuko_mm.LeukocyteDataset")
        dataset["test_mode"] = self.test_mode
        return DATASETS.build({"_scope_": SCOPE, **dataset})

    def _composed(self, mosaics: int | None) -> list:
        tiles = self.n**2
        if self.mode == "resample":
            # Composed on demand; composing the first one reports too few cells now.
            self._drawn(0)
            return [None] * mosaics
        if self.mode == EVERY:
            return compose_every(len(self.cells), tiles, seed=self.seed)
        if self.mode == EVERY_ALIKE:
            return compose_every_alike(self._classes, tiles, seed=self.seed)
        return compose_fixed(len(self.cells), mosaics, tiles, seed=self.seed)

    def _drawn(self, index: int) -> list[int]:
        by = dict(seed=self.seed, index=index)
        if self.class_balanced:
            return compose_one_balanced(self._kinds, self.n**2, **by)
        return compose_one(len(self.cells), self.n**2, **by)

    def _to_first(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return {dataset: factor of its cells}, but for the first of those joined."""
        first, *others = self.cells.sources
        shown = [source for source in others if source.name in set(self._datasets)]
        if not shown:
            return {}
        common = common_red_cell(first, given, cell_px=self.size // self.n)
        return {s.name: common / prepared_red_cell(s, given) for s in shown}

    def _fitted(
        self, cell: int, image: np.ndarray, labels: np.ndarray, *shape: int
    ) -> Tile:
        factor = self._factors.get(self._datasets[cell])
        if factor is None:
            return resize_tile(image, labels, *shape)
        # A smear shows a cell without its tile: it takes the largest piece.
        ignored = self.layout == "grid"
        return scale_tile(image, labels, shape, factor=factor, ignored=ignored)

    def _windows(self) -> list[FieldWindows]:
        groups, found = {about["group"] for about in self._about}, []
        other = "test" if self.cells.part == "train" else "train"
        for source in self.cells.sources:
            own = {r.group for r in source.rows if source.recorded(r.group) in groups}
            # Where a split divides a slide, its field shows cells of both parts.
            if source.parts is not None:
                own -= {r.group for r in source.of(other)}
            factor = self._factors.get(source.name)
            scale = dict(cell_px=self.size // self.n, factor=factor)
            found.append(FieldWindows(source.root, own, size=self.size, **scale))
        if not any(windows.fields for windows in found):
            raise DatasetError(
                f"no field of the {len(groups)} slides trained on in which a cell is "
                "placed; add --cfg-options train_dataloader.dataset.fields=0, or "
                "prepare a dataset with fields"
            )
        return [windows for windows in found if windows.fields]

    @property
    def metainfo(self) -> dict:
        """Classes and palette, as MMSegmentation asks for them."""
        return self.cells.metainfo

    def __len__(self) -> int:
        return len(self._mosaics)

    def cells_of(self, index: int) -> list[int | None]:
        """Return the cells of a mosaic by global index; None marks a spare tile."""
        if self.mode == "resample":
            return self._drawn(index)
        return self._mosaics[index % len(self)]

    def __getitem__(self, index: int) -> dict:
        """Return one mosaic by global index (see ``GlobalIndexSampler``)."""
        if self.test_mode and not 0 <= index < len(self):
            raise IndexError(f"mosaic {index} of {len(self)}, counted from 0")
        with sample_randomness(self.seed, index):
            mosaic = self.compose(index)
            sample = self.pipeline({**mosaic})
        if "data_samples" in sample:
            # Also in training: a loss that is no number is traced to its cells.
            sample["data_samples"].set_metainfo(dict(tiles=mosaic["tiles"]))
        return sample

    def __iter__(self) -> Iterator[dict]:
        """Yield one epoch; iteration by global index would never end."""
        return (self[i] for i in range(len(self)))

    def compose(self, index: int) -> dict:
        """Return one mosaic before ``pipeline``: img BGR, gt_seg_map, tiles."""
        cells, mosaic = self._laid_out(index)
        places = list(zip(cells, mosaic.boxes, strict=True))
        shape = (self.size, self.size)
        return dict(
            img=mosaic.image,
            gt_seg_map=mosaic.labels,
            seg_fields=["gt_seg_map"],
            img_shape=shape,
            ori_shape=shape,
            tiles=[
                {**self._about[cell], "box": box}
                for cell, box in places
                if cell is not None
            ],
            spare_tiles=[box for cell, box in places if cell is None],
            sample_idx=index,
            reduce_zero_label=False,
        )

    def _laid_out(self, index: int) -> tuple[list[int | None], Mosaic]:
        if self.windows:
            rng = np.random.default_rng([self.seed, index, 2])
            if rng.random() < self.fields:
                windows = self.windows[0]
                if len(self.windows) > 1:
                    windows = self.windows[int(rng.integers(len(self.windows)))]
                window = windows.window(rng)
                image, labels = _augmented(self.tile_augmentation, *window)
                if self.cells.binary:
                    labels = as_binary(labels)
                return [], Mosaic(image, labels, [])
        cells, n, size = self.cells_of(index), self.n, self.size
        if self.layout == "grid":
            return cells, lay_grid(cells, self._tile, n=n, size=size, fill=self.fill)
        cells = [cell for cell in cells if cell is not None]
        tiles = [self._tile(cell, size // n, size // n) for cell in cells]
        # A stream of its own: places do not depend on which cells they are.
        rng = np.random.default_rng([self.seed, index, 1])
        return cells, lay_smear(tiles, n=n, size=size, rng=rng, odds=self.odds)

    def _tile(self, cell: int, height: int, width: int) -> Tile:
        tile = self.store.tile(cell, height, width)
        return _augmented(self.tile_augmentation, *tile)
