"""The model of the package draws the outlines of cells that have none."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from leuko_mm.datasets.converters.outlined import Outliner
from leuko_mm.errors import UsageError
from leuko_mm.inference.predictor import Predictor
from leuko_mm.inference.scale import check_scale, measured_of


@contextmanager
def outlining(
    scale: float | None,
    pictures: Sequence[Path] = (),
    *,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Iterator[Outliner]:
    """Give what outlines cells; a process that is ended removes what is half written.

    Args:
        scale: pixels of the network per pixel of a picture; None measures it.
        pictures: on some of these, which were all taken alike.
        progress: is called with how many pictures are outlined, and of how many.

    Raises:
        UsageError: if the scale is impossible, or cannot be measured.
    """

    def end(number: int, frame) -> None:
        raise SystemExit(128 + number)  # so that what is half written is removed

    def find(image: np.ndarray) -> np.ndarray:
        return predictor.predict(image).instances

    try:
        check_scale(scale, None)
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    # The same on every machine, but for the rounding of its processor.
    predictor = Predictor.from_zoo(device="cpu", classifier="")
    model, note = predictor.checkpoint, ""
    if scale is None:
        found = predictor.common_scale(measured_of(pictures))
        if found is None:
            raise UsageError(
                "the pictures show neither red cells of one size nor leukocytes that "
                "tell their scale; give --scale, 53 over the width of a red cell in "
                "pixels"
            )
        scale, note = round(found.factor, 3), found.note
    predictor.scale = scale
    about = dict(model=model.path.name, sha256=model.sidecar["sha256"], scale=scale)
    former = signal.signal(signal.SIGTERM, end)
    try:
        yield Outliner(find, about, progress, note)
    finally:
        signal.signal(signal.SIGTERM, former)
