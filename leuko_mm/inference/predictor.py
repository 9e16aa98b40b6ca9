"""From an image to its cells: the one class that a user of Python needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.datasets.images import read_image
from leuko_mm.inference.cells import (
    UNSURE_SCALE,
    Box,
    Cell,
    Evidence,
    ImageScale,
    Prediction,
    assemble,
    find_cell_masks,
    moved,
    with_others,
)
from leuko_mm.inference.classify import (
    CellClassifier,
    classifier_of,
    names_cells,
    try_network,
)
from leuko_mm.inference.model import (
    DEFAULT_MODEL,
    Checkpoint,
    CheckpointError,
    read_model,
    shipped_model,
)
from leuko_mm.inference.not_smear import NotSmear, Part, find_doubts, find_not_smear
from leuko_mm.inference.regions import SIDE, find_regions, grown, inside
from leuko_mm.inference.runtimes import Runtime, choose_runtime, open_runtime
from leuko_mm.inference.scale import (
    AUTO,
    MEASURING,
    RED_CELLS,
    agreed_scale,
    areas_of_pieces,
    assumed_scale,
    check_scale,
    find_scale,
    network_red_cell,
    scale_of_leukocytes,
    with_own_size,
)
from leuko_mm.transforms.ahe_retinex import (
    as_rgb_uint8,
    enhance_image,
    window_starts,
    window_weights,
)
from leuko_mm.transforms.retinex import RetinexParams

ImageOrPath = np.ndarray | str | PathLike
Bands = Iterable[tuple[int, np.ndarray]]
# Sides that every network takes: none here halves more often than five times.
DIVISOR = 32
# Images whose leukocytes are measured, and how often, at most.
MEASURED, ROUNDS = 8, 4
# How far the logarithm of a scale may be from that of leukocytes.
ROUGHLY = 0.3
# Share of an image: where parts have more pixels, all of it is segmented.
MOST_IN_PARTS = 0.75
# Pixels of a single image above which its leukocytes are not measured: it takes time.
LARGE = 2048 * 2048


class Predictor:
    """Find, outline and name the leukocytes of whole microscope fields.

    Areas that are no smear are covered by what surrounds them. An image is brought to
    the scale of the training, enhanced if the training was, segmented in overlapping
    tiles, and divided into cells.

    Args:
        checkpoint: a ``.pth`` of tensors, or an ``.onnx`` of ``leuko export``, with its
            JSON sidecar beside it.
        device: such as ``cpu`` or ``cuda:1``; None takes a GPU where there is one.
            Exported networks run on the CPU.
        scale: network pixels per pixel of an image; ``auto`` measures the red cells.
        um_per_px: size of a pixel of the images in um, instead of ``scale``.
        tta: average over eight mirrored and turned views, at eight times the time.
        min_area: pixels of the image below which nothing counts as a cell, and half of
            that where its border cuts a cell; None is half the area of a red cell.
        tile: side in network pixels of what the network sees at once.
        exhaustive: segment every pixel of a large image. By default only parts with
            the stain of nuclei are.
        classifier: a network that names the cells instead, as ``CellClassifier``; None
            takes the one that the sidecar names in the same folder, ``""`` none.
        accept: confidence from 0 to 1 from which the class of a cell counts; below,
            the cell is unsure. None takes that of the sidecar of the network that
            names the cells, else 0: every class.
        runtime: ``torch`` for a ``.pth``; ``openvino`` or ``onnxruntime`` for an
            export, None takes the first of them that is installed.

    Raises:
        CheckpointError: if the two files do not fit each other or this version.
        RuntimeChoiceError: if the runtime is not installed or does not fit the file.
        UnsafeCheckpointError: if the file holds more than tensors.
        ValueError: if another argument does not fit.
    """

    def __init__(
        self,
        checkpoint: str | PathLike,
        *,
        device: str | None = None,
        scale: float | str | None = AUTO,
        um_per_px: float | None = None,
        tta: bool = False,
        min_area: float | None = None,
        tile: int = 512,
        exhaustive: bool = False,
        classifier: str | PathLike | None = None,
        accept: float | None = None,
        runtime: str | None = None,
    ):
        check_scale(scale, um_per_px)
        if min_area is not None and not 0 <= min_area < np.inf:
            raise ValueError(f"min_area={min_area}: expected pixels, 0 or more")
        if tile < 64 or tile % DIVISOR:
            raise ValueError(f"tile={tile}: expected a multiple of 32, 64 or more")
        # A missing library is reported before a large file is read.
        self.runtime = choose_runtime(Path(checkpoint), runtime)
        self.checkpoint = read_model(checkpoint)
        self.scale, self.um_per_px, self.min_area = scale, um_per_px, min_area
        self.tile, self.exhaustive = tile, exhaustive
        if names_cells(self.checkpoint.sidecar):
            raise CheckpointError(
                f"{checkpoint} names cells and finds none: give it as the classifier"
            )
        names = classifier_of(self.checkpoint.path, classifier)
        self.classifier = (
            CellClassifier(names, device=device, tta=tta, runtime=runtime)
            if names
            else None
        )
        if self.classifier and self.classifier.checkpoint.classes != self.classes:
            raise CheckpointError(
                f"{names} names {', '.join(self.classifier.checkpoint.classes[1:])}, "
                f"but {checkpoint} has the classes {', '.join(self.classes[1:])}"
            )
        self.accept = self._accepted(accept)
        network = open_runtime(self.checkpoint, self.runtime, device=device)
        self._network = TileNetwork(self.checkpoint, network, tta=tta)
        try_network(
            self.checkpoint,
            lambda: self._network(try_enhancement(self.checkpoint.enhance)),
            (len(self.classes), 64, 64),
        )

    def _accepted(self, accept: float | None) -> float:
        if accept is None:
            named_by = self.classifier or self
            accept = named_by.checkpoint.sidecar.get("accept", 0.0)
        if not isinstance(accept, (int, float)) or not 0 <= accept <= 1:
            raise ValueError(
                f"accept={accept!r}: expected a confidence from 0 (every class counts) "
                "to 1"
            )
        return float(accept)

    @classmethod
    def from_zoo(cls, name: str = DEFAULT_MODEL, **options) -> Predictor:
        """Take a network that the package carries, by its name in the zoo.

        Raises:
            NotShippedError: naming the command that trains such a model.
        """
        chosen = {key: options.get(key) for key in ("device", "runtime")}
        return cls(shipped_model(name, **chosen), **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class id, background first."""
        return self.checkpoint.classes

    def predict(
        self,
        images: ImageOrPath | Iterable[ImageOrPath],
        *,
        scale: ImageScale | None = None,
    ) -> Prediction | Iterator[Prediction]:
        """Return the cells of an image, or an iterator over those of several.

        Args:
            images: RGB uint8 (H, W, 3) or what ``as_rgb_uint8`` takes, a file, or an
                iterable of them, of which one after the other is read.
            scale: of all of them, such as ``common_scale`` found; None finds that of
                each.

        Raises:
            ImageFileError: if a file is no image that can be used.
        """
        if isinstance(images, (str, PathLike, np.ndarray)):
            return self._predict(images, scale)
        return (self._predict(image, scale) for image in images)

    def common_scale(
        self,
        images: Sequence[ImageOrPath],
        *,
        progress: Callable[[int, int, str], object] | None = None,
    ) -> ImageScale | None:
        """Return one scale for images that were taken alike.

        It is that of their red cells. Where too few are seen, it is that at which the
        leukocytes of the images have their usual size. None where the red cells of the
        images do not agree, no leukocyte is found either, or a scale was given.

        Args:
            images: as for ``predict``; those that cannot be read are left out.
            progress: is called before each: how many are done, of how many, with what.
        """
        if self.scale not in (AUTO, None) or self.um_per_px is not None:
            return None
        found, few = [], []
        for number, smear in enumerate(_read_ahead(images)):
            if progress:
                progress(number, len(images), MEASURING)
            # Why an image cannot be used is said where it is predicted.
            if smear:
                found.append(find_scale(smear.pixels, self.checkpoint))
                if len(few) < MEASURED and smear.pixels.size <= 3 * LARGE:
                    few.append(smear)
        seen = [one for one in found if one.how == RED_CELLS]
        agreed = agreed_scale(found)
        if 2 * len(seen) > len(found):
            return agreed
        # What is round in a few images may be no red cell: leukocytes, where any are
        # found, must not contradict.
        rough = self._scale_by_leukocytes(few)
        if rough is None:
            return agreed
        fitting = [one for one in seen if _alike(one, rough, by=ROUGHLY)]
        agreed = agreed_scale(fitting, measured=len(found))
        sure = agreed and len(fitting) > 1 and agreed.confidence >= UNSURE_SCALE
        return agreed if sure else rough

    def _scale_by_leukocytes(self, images: Sequence[_Smear]) -> ImageScale | None:
        # The scale decides which leukocytes are found, and they decide the scale.
        scale = None
        for _ in range(ROUNDS):
            before, areas = scale, []
            for smear in images:
                used = scale or assumed_scale(self.checkpoint)
                labels, _, _ = self._found(smear, used, exhaustive=True)
                areas += areas_of_pieces(labels > BACKGROUND)
            scale = scale_of_leukocytes(areas, self.checkpoint)
            if scale is None or (before and _alike(scale, before, by=0.05)):
                break
        return scale

    def _scale_of(self, image: _Smear) -> ImageScale:
        scale = find_scale(
            image.pixels, self.checkpoint, scale=self.scale, um_per_px=self.um_per_px
        )
        if scale.confidence >= UNSURE_SCALE or image.pixels.size > 3 * LARGE:
            return scale
        found = self._scale_by_leukocytes([image])
        # One leukocyte tells a scale roughly: one of a usual size changes nothing.
        usual = found is None or _alike(found, scale, by=ROUGHLY)
        return scale if usual else found

    def _predict(self, image: ImageOrPath, scale: ImageScale | None) -> Prediction:
        smear = _read(image)
        measured = scale is None and self.scale in (AUTO, None) and not self.um_per_px
        scale = scale or self._scale_of(smear)
        if not measured:
            scale = with_own_size(scale, smear.pixels, self.checkpoint)
        labels, instances, cells = self._found(smear, scale, self.exhaustive)
        red_cell = network_red_cell(self.checkpoint) / scale.factor
        doubts = find_doubts(smear.pixels, red_cell) if cells else ()
        if self.classifier and cells:
            cells = self.classifier(smear.pixels, cells, red_cell_px=red_cell)
            names = np.array([BACKGROUND, *(cell.class_id for cell in cells)], np.uint8)
            labels = names[instances]
        if areas := smear.areas:
            part, whole = smear.part, smear.whole
            labels, instances = (_placed(a, part, whole) for a in (labels, instances))
            cells = tuple(moved(c, part[1].start, part[0].start) for c in cells)
        found = Prediction(
            labels=labels,
            instances=instances,
            cells=cells,
            classes=self.classes,
            colours=self.checkpoint.colours,
            scale=scale,
            source=None if isinstance(image, np.ndarray) else Path(image),
            excluded=areas.share if areas else 0.0,
            doubts=doubts,
            names_other=self.classifier is not None,
            accept=self.accept,
        )
        return with_others(found)

    def _found(
        self, smear: _Smear, scale: ImageScale, exhaustive: bool
    ) -> tuple[np.ndarray, np.ndarray, tuple[Cell, ...]]:
        """Return labels, instances and cells."""
        pixels, areas = smear.pixels, smear.areas
        shape = pixels.shape[:2]
        evidence = self._segment(pixels, scale, exhaustive)
        # Where the network sees more pixels than the image has, they are not kept.
        grid = evidence.shape[0] / shape[0]
        red_cell = network_red_cell(self.checkpoint) / scale.factor * grid
        least = np.pi / 8 * red_cell**2
        if self.min_area is not None:
            least = self.min_area * grid**2
        masks = find_cell_masks(
            evidence.foreground, red_cell_px=red_cell, min_area=least, areas=areas
        )
        return assemble(masks, evidence, shape, areas=areas)

    def _segment(
        self, pixels: np.ndarray, scale: ImageScale, exhaustive: bool
    ) -> Evidence:
        seen = NetworkImage(
            pixels,
            scale.factor,
            enhance=self.checkpoint.enhance,
            enhanced_at=self.checkpoint.prepared_px / (self.checkpoint.cell_px or 256),
        )
        evidence = Evidence(seen.grid, len(self.classes))
        if not exhaustive and (parts := self._parts(seen)) is not None:
            self._segment_parts(seen, parts, evidence)
            return evidence
        for first, band in seen.on_grid(self._bands(seen)):
            evidence.add(first, band)
        return evidence

    def _bands(self, seen: NetworkImage, part: Box | None = None) -> Bands:
        """Yield the probabilities of a part of an image, by default of all of it."""
        x0, y0, x1, y1 = part or (0, 0, *seen.shape[::-1])
        return probability_bands(
            (y1 - y0, x1 - x0),
            lambda rows, columns: seen.window(
                _shifted(rows, y0), _shifted(columns, x0)
            ),
            self._network,
            tile=self.tile,
            overlap=self.tile // 4,
            margin=self.tile // 16,
        )

    def _parts(self, seen: NetworkImage) -> list[Box] | None:
        """Return parts that hold all leukocytes, None where all is to be segmented."""
        # What is seen at once takes no longer; enhanced images have another stain.
        if max(seen.shape) <= self.tile or self.checkpoint.enhance or not seen.shrinks:
            return None
        red_cell = network_red_cell(self.checkpoint)
        parts = find_regions(seen.pixels, red_cell_px=red_cell)
        size = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in parts)
        return parts if size <= MOST_IN_PARTS * np.prod(seen.shape) else None

    def _segment_parts(
        self, seen: NetworkImage, parts: list[Box], evidence: Evidence
    ) -> None:
        """Segment parts of an image; what a part cuts is seen again in a wider one."""
        red_cell = network_red_cell(self.checkpoint)
        known, waiting = set(parts), list(parts)
        while waiting:
            part = waiting.pop()
            found = np.concatenate([band for _, band in self._bands(seen, part)], 1)
            mask = (found[BACKGROUND] < 0.5).astype(np.uint8)
            _, pieces, stats, _ = cv2.connectedComponentsWithStats(mask)
            for number, (x, y, width, height, _) in enumerate(stats[1:].tolist(), 1):
                left, top = part[0] + x, part[1] + y
                piece = (left, top, left + width, top + height)
                # Near a border the network did not see what is around.
                needed = grown(piece, self.tile // 16, seen.shape, step=1)
                if not inside(needed, part):
                    if any(inside(needed, other) for other in known - {part}):
                        continue
                    wider = grown(piece, red_cell, seen.shape, SIDE * red_cell)
                    if not inside(wider, part) and wider not in known:
                        known.add(wider)
                        waiting.append(wider)
                        continue
                own = np.s_[y : y + height, x : x + width]
                evidence.put(top, left, found[(..., *own)], pieces[own] == number)


class _Smear(NamedTuple):
    """What of an image is a smear: pixels, where they are in it, and what is none."""

    pixels: np.ndarray
    whole: tuple[int, int]
    part: Part | None = None
    areas: NotSmear | None = None


def _read(image: ImageOrPath) -> _Smear:
    array = isinstance(image, np.ndarray)
    pixels = as_rgb_uint8(image) if array else read_image(Path(image))
    whole = pixels.shape[:2]
    if not (areas := find_not_smear(pixels)):
        return _Smear(pixels, whole)
    part, areas = areas.cropped(whole)
    return _Smear(areas.filled(pixels[part]), whole, part, areas)


def _read_ahead(images: Sequence[ImageOrPath]) -> Iterator[_Smear | None]:
    """Yield images, None for those that cannot be read; the next is read meanwhile."""
    ahead = None
    with ThreadPoolExecutor(1) as pool:
        for number, image in enumerate(images, 1):
            smear = None
            with contextlib.suppress(Exception):
                smear = ahead.result() if ahead else _read(image)
            # Two large ones would be too much memory.
            small = smear and smear.pixels.size <= 3 * LARGE and number < len(images)
            ahead = pool.submit(_read, images[number]) if small else None
            yield smear


def _alike(one: ImageScale, other: ImageScale, *, by: float) -> bool:
    return abs(np.log(one.factor / other.factor)) < by


class NetworkImage:
    """An image at the scale of a network.

    Shrunk or enhanced, it is in memory as a whole; enlarged, every window is made on
    request. Results are kept on a ``grid`` that is never finer than the image.

    Attributes:
        shape: height and width that the network sees.
        shrinks: whether ``pixels`` are what it sees.

    Args:
        image: RGB uint8 (H, W, 3).
        factor: network pixels per pixel of the image.
        enhance: config of the training's enhancement, None without one.
        enhanced_at: pixels at the scale of the enhancement per network pixel.
    """

    def __init__(
        self,
        image: np.ndarray,
        factor: float,
        *,
        enhance: Mapping | None = None,
        enhanced_at: float = 1.0,
    ):
        given = image.shape[:2]
        self.shape = _scaled(given, factor)
        self.grid = tuple(map(min, self.shape, given))
        if enhance:
            wanted = _scaled(given, factor * enhanced_at)
            image = _enhanced(_resized(image, wanted), enhance)
        shrinks = self.shape[0] <= image.shape[0] and self.shape[1] <= image.shape[1]
        self.shrinks = shrinks
        self.pixels = _resized(image, self.shape) if shrinks else image

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the image, RGB uint8."""
        if self.pixels.shape[:2] == self.shape:
            return self.pixels[rows, columns]
        spans, starts, matrix = [], [], np.eye(2, 3)
        for axis, span in ((0, rows), (1, columns)):
            ratio = self.pixels.shape[axis] / self.shape[axis]
            start = max(0, int(span.start * ratio) - 2)
            spans.append(slice(start, int(np.ceil(span.stop * ratio)) + 2))
            starts.append((span.start + 0.5) * ratio - 0.5 - start)
            matrix[1 - axis, 1 - axis] = ratio
        matrix[:, 2] = starts[::-1]
        return cv2.warpAffine(
            self.pixels[tuple(spans)],
            matrix,
            (columns.stop - columns.start, rows.stop - rows.start),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def on_grid(self, bands: Bands) -> Iterator[tuple[int, np.ndarray]]:
        """Yield bands (C, rows, W) of the network's size in that of the grid."""
        for first, band in bands:
            if self.grid == self.shape:
                yield first, band
            else:
                rows, band = _resampled(first, band, self.shape, self.grid)
                if len(rows):
                    yield int(rows[0]), band


def _shifted(span: slice, by: int) -> slice:
    return slice(span.start + by, span.stop + by)


def _placed(array: np.ndarray, part: Part, shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape, array.dtype)
    out[part] = array
    return out


def _scaled(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    return tuple(max(1, round(side * factor)) for side in shape)


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == shape:
        return image
    # As training shrinks its cells.
    shrinks = shape[0] * shape[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, shape[::-1], interpolation=method)


def try_enhancement(enhance: Mapping | None) -> np.ndarray:
    """Return an image of noise, enhanced if there is something to enhance it."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return _enhanced(noise, enhance) if enhance else noise


def _enhanced(image: np.ndarray, enhance: Mapping) -> np.ndarray:
    options = {key: value for key, value in enhance.items() if key != "type"}
    known = set(options) <= {"reading", "preset", "window"}
    if enhance["type"] == "leuko_mm.AHERetinex" and known:
        # Without the registry: an exported network needs no torch.
        window = options.get("window", 256)
        return enhance_image(
            image,
            window=window,
            overlap=window // 4,
            reading=options.get("reading", "hsv"),
            params=RetinexParams.preset(options.get("preset", "default")),
        )
    from leuko_mm.datasets.leukocyte import Enhancement
    from leuko_mm.datasets.sampling import sample_randomness

    # Transforms take what mmcv loads, which is BGR.
    bgr = np.ascontiguousarray(image[..., ::-1])
    with sample_randomness(0, 0):  # an image is enhanced alike every time
        out = Enhancement(enhance)({"img": bgr})["img"]
    return np.ascontiguousarray(out[..., ::-1])


def _resampled(
    first: int, band: np.ndarray, shape: tuple[int, int], target: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of ``target`` whose nearest row is in the band, and their values.

    The band (C, rows, W) begins at the row ``first`` of ``shape``.
    """
    height, count = target[0], band.shape[1]
    low = max(0, int(first * height / shape[0]) - 2)
    high = min(height, int((first + count) * height / shape[0]) + 3)
    rows = np.arange(low, high)
    nearest = _nearest(rows, height, shape[0])
    inside = (nearest >= first) & (nearest < first + count)
    columns = _nearest(np.arange(target[1]), target[1], shape[1])
    return rows[inside], band[:, nearest[inside] - first][:, :, columns]


def _nearest(places: np.ndarray, size: int, other: int) -> np.ndarray:
    return np.minimum(((places + 0.5) * (other / size)).astype(np.intp), other - 1)


class TileNetwork:
    """Call a network on a tile as its training did.

    Shape:
        RGB uint8 (h, w, 3) -> probabilities (C, h, w) float32, sum 1 over C.
    """

    def __init__(self, checkpoint: Checkpoint, runtime: Runtime, *, tta: bool = False):
        self.checkpoint, self.runtime, self.tta = checkpoint, runtime, tta

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        """Return the probabilities of a tile."""
        if not self.tta:
            return self._one(tile)
        total = 0.0
        for turn in range(4):
            for mirror in (False, True):
                view = np.rot90(tile[:, ::-1] if mirror else tile, turn)
                seen = np.rot90(self._one(view), -turn, axes=(1, 2))
                total = total + (seen[:, :, ::-1] if mirror else seen)
        return total / 8

    def _one(self, tile: np.ndarray) -> np.ndarray:
        height, width = tile.shape[:2]
        # Mirrored, since training never showed a dark frame; a tile too narrow for
        # that repeats its border.
        mirrors = min(height, width) >= DIVISOR
        full = cv2.copyMakeBorder(
            np.ascontiguousarray(tile),
            *(0, -height % DIVISOR, 0, -width % DIVISOR),
            cv2.BORDER_REFLECT if mirrors else cv2.BORDER_REPLICATE,
        )
        values = np.ascontiguousarray(self.checkpoint.normalised(full))
        return self.runtime(values.transpose(2, 0, 1)[None])[0, :, :height, :width]


def probability_bands(
    shape: tuple[int, int],
    window: Callable[[slice, slice], np.ndarray],
    network: Callable[[np.ndarray], np.ndarray],
    *,
    tile: int = 512,
    overlap: int = 128,
    margin: int = 32,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the class probabilities of an image in bands of finished rows.

    Neighbouring tiles overlap; the outermost ``margin`` pixels of a tile at an inner
    border do not count, since the network could not see what is beyond, and over the
    rest of the overlap one fades into the other. Only one band of tiles is in memory.

    Args:
        shape: height and width at the network's scale.
        window: from rows and columns to that part of the image, (h, w, 3) uint8.
        network: from a tile (h, w, 3) uint8 to probabilities (C, h, w) float32.
        tile, overlap: side, and least overlap of neighbouring tiles, in pixels.
        margin: in pixels; at most half of the overlap.

    Yields:
        The first row of a band, and the band (C, rows, W) float32; the bands follow
        each other without a gap, the probabilities of a pixel sum to 1.
    """
    if tile < 1 or not 0 <= 2 * margin <= overlap < tile:
        raise ValueError(
            f"tile={tile}, overlap={overlap}, margin={margin}; expected a margin of at "
            "most half of the overlap, and an overlap smaller than the tile"
        )
    height, width = shape
    tops, lefts = (window_starts(side, tile, overlap) for side in shape)
    rows, columns = min(tile, height), min(tile, width)
    fades_y = window_weights(tops, rows, margin=margin)
    fades_x = window_weights(lefts, columns, margin=margin)
    band: np.ndarray | None = None
    for i, top in enumerate(tops):
        for left, fade_x in zip(lefts, fades_x, strict=True):
            place = slice(left, left + columns)
            piece = network(window(slice(top, top + rows), place))
            if band is None:
                band = np.zeros((len(piece), rows, width), np.float32)
            band[:, :, place] += piece * (fades_y[i][:, None] * fade_x)
        done = rows if i == len(tops) - 1 else tops[i + 1] - top
        yield top, band[:, :done].copy()
        band[:, : rows - done] = band[:, done:].copy()
        band[:, rows - done :] = 0
