"""Point at an image, get its cells: the one class that a user of Python needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from leuko_mm.datasets.image_files import read_image
from leuko_mm.inference.assembly import assemble
from leuko_mm.inference.cells import find_cell_masks
from leuko_mm.inference.evidence import Evidence
from leuko_mm.inference.exported import read_model
from leuko_mm.inference.network_image import NetworkImage
from leuko_mm.inference.prediction import ImageScale, Prediction
from leuko_mm.inference.runtime_choice import choose_runtime
from leuko_mm.inference.runtimes import open_runtime
from leuko_mm.inference.scale import AUTO, check_scale, find_scale, network_red_cell
from leuko_mm.inference.shipped import DEFAULT_MODEL, shipped_checkpoint
from leuko_mm.inference.tile_network import TileNetwork
from leuko_mm.inference.tiling import probability_bands
from leuko_mm.transforms.image_input import as_rgb_uint8

ImageOrPath = np.ndarray | str | PathLike


class Predictor:
    """Find, outline and name the leukocytes of whole microscope fields.

    An image is brought to the scale of the training, enhanced by the window rule if
    the training was, segmented in overlapping tiles, and divided into cells. Memory
    grows with the image and its label maps, not with what the network needs.

    Args:
        checkpoint: a ``.pth`` of tensors, or an ``.onnx`` of ``leuko export``, with its
            JSON sidecar beside it.
        device: such as ``cpu`` or ``cuda:1``; None takes a GPU where there is one.
            Exported networks run on the CPU.
        scale: network pixels per pixel of an image; ``auto`` measures the red cells.
        um_per_px: size of a pixel of the images in um, instead of ``scale``.
        tta: average over eight mirrored and turned views, at eight times the time.
        min_area: pixels of the image below which nothing counts as a cell; None is
            half the area of a red cell.
        tile: side in network pixels of what the network sees at once.
        runtime: ``torch`` for a ``.pth``; ``openvino`` or ``onnxruntime`` for an
            export, None takes the first of them that is installed.

    Raises:
        CheckpointError: if the two files do not fit each other or this version.
        RuntimeChoiceError: if the runtime is not installed or does not fit the file.
        UnsafeCheckpointError: if the file holds more than tensors.
        ValueError: if another argument does not fit.

    Example:
        >>> predictor = Predictor("cbam_unet.pth")  # doctest: +SKIP
        >>> predictor.predict("field.jpg").counts  # doctest: +SKIP
        mappingproxy({'basophil': 0, 'eosinophil': 1, ...})
    """

    def __init__(
        self,
        checkpoint: str | PathLike,
        *,
        device: str | torch.device | None = None,
        scale: float | str | None = AUTO,
        um_per_px: float | None = None,
        tta: bool = False,
        min_area: float | None = None,
        tile: int = 512,
        runtime: str | None = None,
    ):
        check_scale(scale, um_per_px)
        if min_area is not None and not 0 <= min_area < np.inf:
            raise ValueError(f"min_area={min_area}: expected pixels, 0 or more")
        if tile < 64 or tile % 32:
            raise ValueError(f"tile={tile}: expected a multiple of 32, 64 or more")
        # What is not installed is told before a large file is read.
        self.runtime = choose_runtime(Path(checkpoint), runtime)
        self.checkpoint = read_model(checkpoint)
        self.scale, self.um_per_px, self.min_area = scale, um_per_px, min_area
        self.tile = tile
        self._network = TileNetwork(
            self.checkpoint,
            open_runtime(self.checkpoint, self.runtime, device=device),
            tta=tta,
        )

    @classmethod
    def from_zoo(cls, name: str = DEFAULT_MODEL, **options) -> Predictor:
        """Take a checkpoint that travels with the package.

        Args:
            name: as ``leuko zoo list`` prints it.
            **options: as for the class.

        Raises:
            NotShippedError: if the package carries none of that name; the message
                names the command that trains it.
        """
        return cls(shipped_checkpoint(name), **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class id, background first."""
        return self.checkpoint.classes

    def predict(
        self,
        images: ImageOrPath | Iterable[ImageOrPath],
        *,
        probabilities: bool = False,
    ) -> Prediction | Iterator[Prediction]:
        """Return the cells of an image, or an iterator over those of several.

        Args:
            images: RGB uint8 (H, W, 3) or what ``as_rgb_uint8`` takes, a file, or an
                iterable of them; of an iterable, one after the other is read.
            probabilities: also return those of every class at every pixel, which take
                two bytes a class and pixel.

        Raises:
            ImageFileError: if a file is no image that can be used.
            ValueError: if an array is none.
        """
        if isinstance(images, (str, PathLike, np.ndarray)):
            return self._predict(images, probabilities)
        return (self._predict(image, probabilities) for image in images)

    def _predict(self, image: ImageOrPath, probabilities: bool) -> Prediction:
        source = None if isinstance(image, np.ndarray) else Path(image)
        pixels = as_rgb_uint8(image) if source is None else read_image(source)
        scale = find_scale(
            pixels, self.checkpoint, scale=self.scale, um_per_px=self.um_per_px
        )
        evidence, every = self._segment(pixels, scale, probabilities)
        # Where the network sees more pixels than there are, they are not kept.
        grid = evidence.shape[0] / pixels.shape[0]
        red_cell = network_red_cell(self.checkpoint) / scale.factor * grid
        least = np.pi / 8 * red_cell**2
        if self.min_area is not None:
            least = self.min_area * grid**2
        masks = find_cell_masks(
            evidence.foreground, red_cell_px=red_cell, min_area=least
        )
        labels, instances, cells = assemble(masks, evidence, pixels.shape[:2])
        return Prediction(
            labels=labels,
            instances=instances,
            cells=cells,
            classes=self.classes,
            colours=self.checkpoint.colours,
            scale=scale,
            probabilities=every,
            source=source,
        )

    def _segment(
        self, pixels: np.ndarray, scale: ImageScale, keep: bool
    ) -> tuple[Evidence, np.ndarray | None]:
        """Run the network over all of an image; return what the cells need of it."""
        seen = NetworkImage(
            pixels,
            scale.factor,
            enhance=self.checkpoint.sidecar.get("enhance"),
            enhanced_at=self.checkpoint.prepared_px / (self.checkpoint.cell_px or 256),
        )
        evidence = Evidence(seen.grid, len(self.classes))
        every = None
        if keep:
            every = np.zeros((len(self.classes), *pixels.shape[:2]), np.float16)
        bands = probability_bands(
            seen.shape,
            seen.window,
            self._network,
            tile=self.tile,
            overlap=self.tile // 4,
            margin=self.tile // 16,
        )
        for first, band in seen.on_grid(bands):
            evidence.add(first, band)
            if every is not None:
                seen.spread(first, band, every)
        return evidence, every
