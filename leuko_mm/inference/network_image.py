"""An image as the network sees it: at its scale, enhanced, and given out in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import cv2
import numpy as np

from leuko_mm.registry import SCOPE, TRANSFORMS

Bands = Iterable[tuple[int, np.ndarray]]


class NetworkImage:
    """An image at the scale of a network.

    Shrunk or enhanced, it is held as a whole, which takes no more memory than the
    image itself; enlarged, every part is made when it is asked for. What comes back
    is kept on a ``grid`` that is never finer than the image.

    Args:
        image: RGB uint8 (H, W, 3).
        factor: network pixels per pixel of the image.
        enhance: config of the enhancement that the training used; None for none.
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
        self.image_shape = image.shape[:2]
        self.shape = _scaled(self.image_shape, factor)
        self.grid = tuple(map(min, self.shape, self.image_shape))
        if enhance:
            wanted = _scaled(self.image_shape, factor * enhanced_at)
            image = _enhanced(_resized(image, wanted), enhance)
        shrinks = self.shape[0] <= image.shape[0] and self.shape[1] <= image.shape[1]
        self._pixels = _resized(image, self.shape) if shrinks else image

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the image, RGB uint8."""
        if self._pixels.shape[:2] == self.shape:
            return self._pixels[rows, columns]
        spans, starts, matrix = [], [], np.eye(2, 3)
        for axis, span in ((0, rows), (1, columns)):
            ratio = self._pixels.shape[axis] / self.shape[axis]
            start = max(0, int(span.start * ratio) - 2)
            spans.append(slice(start, int(np.ceil(span.stop * ratio)) + 2))
            starts.append((span.start + 0.5) * ratio - 0.5 - start)
            matrix[1 - axis, 1 - axis] = ratio
        matrix[:, 2] = starts[::-1]
        return cv2.warpAffine(
            self._pixels[tuple(spans)],
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
                continue
            rows = _below(first, band.shape[1], self.grid[0], self.shape[0])
            columns = _nearest(np.arange(self.grid[1]), self.grid[1], self.shape[1])
            at = _nearest(rows, self.grid[0], self.shape[0]) - first
            if len(rows):
                yield int(rows[0]), band[:, at][:, :, columns]

    def spread(self, first: int, band: np.ndarray, out: np.ndarray) -> None:
        """Write a band (C, rows, W) of the grid into an array of the image's size."""
        height, width = self.image_shape
        rows = _below(first, band.shape[1], height, self.grid[0])
        at = _nearest(rows, height, self.grid[0]) - first
        columns = _nearest(np.arange(width), width, self.grid[1])
        if len(rows):
            out[:, rows[0] : rows[-1] + 1] = band[:, at][:, :, columns]


def _scaled(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    return tuple(max(1, round(side * factor)) for side in shape)


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == shape:
        return image
    # As training shrinks its cells; see datasets.tile_store.
    shrinks = shape[0] * shape[1] < image.shape[0] * image.shape[1]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, shape[::-1], interpolation=way)


def _enhanced(image: np.ndarray, enhance: Mapping) -> np.ndarray:
    step = TRANSFORMS.build({"_scope_": SCOPE, **enhance})
    # Transforms take what mmcv loads, which is BGR.
    out = step({"img": np.ascontiguousarray(image[..., ::-1])})["img"]
    return np.ascontiguousarray(out[..., ::-1])


def _nearest(places: np.ndarray, size: int, other: int) -> np.ndarray:
    """Return under which pixel of another size the middle of each pixel lies."""
    return np.minimum(((places + 0.5) * (other / size)).astype(np.intp), other - 1)


def _below(first: int, count: int, size: int, other: int) -> np.ndarray:
    """Return the rows, of ``size``, that lie on some rows of an image of ``other``."""
    low = max(0, int(first * size / other) - 2)
    high = min(size, int((first + count) * size / other) + 3)
    rows = np.arange(low, high)
    at = _nearest(rows, size, other)
    return rows[(at >= first) & (at < first + count)]
