"""What a prediction is asked for, what comes of it, and how it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from leuko_mm.datasets.image_headers import MAX_PIXELS
from leuko_mm.errors import LeukoError
from leuko_mm.inference.prediction import Prediction

# Images done, all images, the next one, seconds left (None at first).
Progress = Callable[[int, int, str, float | None], None]


class SegmentsImages(Protocol):
    """What finds the cells of an image."""

    def predict(self, image: np.ndarray) -> Prediction:
        """Return the cells of an image, uint8 RGB (H, W, 3)."""


class PredictionStopped(LeukoError):  # noqa: N818 - not an error, an order
    """The prediction was asked to stop; what is done is kept.

    Args:
        number: the signal.
        out: folder of the results.
    """

    def __init__(self, number: int, out: Path):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; every image that is done is "
            f"kept in {out}: give the same command with --resume to go on"
        )
        self.exit_code = 128 + number


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What ``leuko predict`` was asked for.

    Attributes:
        paths: files, folders and patterns.
        out: folder of the results.
        checkpoint: a ``.pth`` or an exported ``.onnx`` with its sidecar; None takes the
            shipped one.
        device: such as ``cpu`` or ``cuda:0``; None takes what is there.
        runtime: what runs the network, see ``choose_runtime``; None takes what fits.
        scale: network pixels per pixel, None to estimate it.
        um_per_px: size of a pixel in micrometres, instead of ``scale``.
        tta: whether each image is also looked at mirrored and turned.
        min_area: pixels of the image below which nothing counts as a cell; None takes
            the default.
        max_megapixels: images of more million pixels are refused.
        coco, geojson: whether these are written too.
        shard: ``i/n`` does the i-th of n parts.
        resume: go on with what is in ``out``.
        force: replace what is in ``out``.
    """

    paths: Sequence[str]
    out: Path
    checkpoint: Path | None = None
    device: str | None = None
    runtime: str | None = None
    scale: float | None = None
    um_per_px: float | None = None
    tta: bool = False
    min_area: int | None = None
    max_megapixels: float = MAX_PIXELS / 1e6
    coco: bool = False
    geojson: bool = False
    shard: str | None = None
    resume: bool = False
    force: bool = False


@dataclass
class PredictOutcome:
    """What came of it.

    Attributes:
        records: of the images that are done, in order.
        failed: image and reason.
        new: how many images were looked at just now.
    """

    records: list[dict] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    new: int = 0
