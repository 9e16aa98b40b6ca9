"""The class of every cell, from a network that sees the cell as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from leuko_mm.classes import BACKGROUND
from leuko_mm.errors import LeukoError
from leuko_mm.files import read_any_json
from leuko_mm.inference.cells import Cell
from leuko_mm.inference.model import (
    EXPORT_SUFFIX,
    TORCH,
    Checkpoint,
    CheckpointError,
    read_model,
    shipped_folder,
)
from leuko_mm.inference.runtimes import open_runtime
from leuko_mm.transforms.cell_crop import cut_square

# The head whose logits are those of a cell, not of pixels.
CLASS_HEAD = "leuko_mm.CellClassHead"
SHIPPED = "cell_classes.pth"
BATCH = 32
# Exponents of the probabilities of this network and of the one that segments. Over
# laboratories that neither has seen, on the halves to choose on, they name most cells
# rightly with a log loss within 1 % of the least (docs/models.md).
OWN, SEGMENTATION = 0.75, 0.35
# What a share of zero counts as, so that one network alone cannot exclude a class.
LEAST = 1e-3
# Quarter turns of a cell whose probabilities are averaged; a mirror image of each more
# with test-time augmentation.
TURNS = 4


def names_cells(sidecar: Mapping) -> bool:
    """Whether a network names cells, and does not segment, by its sidecar."""
    head = sidecar["config"]["model"].get("decode_head")
    return isinstance(head, dict) and head.get("type") == CLASS_HEAD


def classifier_of(checkpoint: Path, given: str | PathLike | None = None) -> Path | None:
    """Return the file of the network that names the cells of another one.

    Args:
        checkpoint: that segments; its sidecar may name a file beside it.
        given: another file instead, or ``""`` for none.
    """
    if given is not None:
        return Path(given) if given else None
    try:
        sidecar = read_any_json(checkpoint.with_suffix(".json"))
        named = sidecar.get("classifier")
    except (OSError, ValueError, AttributeError):
        return None  # a broken sidecar is refused where it is read
    if named is None:
        return None
    plain = isinstance(named, str) and Path(named).name == named != ".."
    if not plain or not 0 < len(named.encode()) < 250:
        raise CheckpointError(
            f"{checkpoint.with_suffix('.json')}: classifier is {repr(named)[:60]}; "
            "expected the name of a file beside it"
        )
    return checkpoint.with_name(named)


def accepted_by(checkpoint: Path) -> float | None:
    """Return the confidence from which a class counts, by a sidecar that says it."""
    try:
        return read_any_json(checkpoint.with_suffix(".json"))["accept"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def threshold_note() -> str:
    """Say that a class network without a threshold leaves no cell unsure."""
    shipped = accepted_by(shipped_folder() / SHIPPED)
    like = f" {shipped}, as the shipped one has it," if shipped else ""
    return (
        "the class network has no threshold: every class counts, and no cell is "
        f"unsure; --accept{like} sets one"
    )


def try_network(
    checkpoint: Checkpoint, call: Callable[[], np.ndarray], shape: tuple
) -> None:
    """Refuse a network that cannot answer, before an image is blamed for it."""
    try:
        with np.errstate(all="ignore"):
            answer = call()
        fault = f"of the shape {answer.shape} where {shape} was expected"
        if answer.shape == shape:
            fault = "" if np.isfinite(answer).all() else "of values that are not finite"
    except LeukoError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error
    except Exception as error:
        fault = f"that fails: {(str(error).splitlines() or [''])[0][:200]}"
    if fault:
        raise CheckpointError(
            f"{checkpoint.path} gives an answer {fault}; take it and its sidecar from "
            "one training"
        )


class CellClassifier:
    """Name the cells that another network has found.

    Each is cut out with its surroundings, at the scale of the training, and seen from
    four sides. Class 0 of the network is whatever is none of its classes. The class is
    that of both networks together: their probabilities are multiplied, each raised to
    its exponent.

    Args:
        path: of a checkpoint whose head is a ``CellClassHead``, or of its export.
        device: as of ``Predictor``.
        runtime: of the other network; taken where this one is exported, too.
        tta: also see every cell mirrored.

    Raises:
        CheckpointError: if the network segments, or its file cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str | None = None,
        tta: bool = False,
        runtime: str | None = None,
    ):
        self.checkpoint = read_model(path)
        if not names_cells(self.checkpoint.sidecar):
            raise CheckpointError(
                f"{path} segments images; expected a network that names cells, such "
                "as `leuko train cell_classes` makes"
            )
        self.tta = tta
        self.red_cell_px = self.checkpoint.rbc_px
        self.side = self.checkpoint.cell_px
        if not self.red_cell_px or not self.side:
            raise CheckpointError(
                f"{path}: its sidecar does not say the size of a red cell (rbc_px) "
                "and of a square (cell_px); train it with `leuko train cell_classes`"
            )
        # Small images of one cell gain nothing from bfloat16.
        exported = self.checkpoint.path.suffix == EXPORT_SUFFIX
        runtime = runtime if exported and runtime != TORCH else None
        self._runtime = open_runtime(
            self.checkpoint, runtime, device=device, float32=True
        )
        black = np.zeros((int(self.side), int(self.side), 3), np.uint8)
        try_network(
            self.checkpoint,
            lambda: self.probabilities([black]),
            (1, len(self.checkpoint.classes)),
        )

    def __call__(
        self, image: np.ndarray, cells: Sequence[Cell], *, red_cell_px: float
    ) -> tuple[Cell, ...]:
        """Return the cells with the classes of this network.

        Args:
            image: RGB uint8 (H, W, 3).
            cells: whose boxes are in its pixels.
            red_cell_px: diameter of a red cell in the image, in pixels.
        """
        named = []
        for first in range(0, len(cells), BATCH // TURNS):
            some = cells[first : first + BATCH // TURNS]
            squares = [
                cut_square(
                    image,
                    ((cell.box[0] + cell.box[2]) / 2, (cell.box[1] + cell.box[3]) / 2),
                    factor=self.red_cell_px / red_cell_px,
                    side=int(self.side),
                )
                for cell in some
            ]
            shares = self.probabilities(squares)
            named += [self._named(c, p) for c, p in zip(some, shares, strict=True)]
        return tuple(named)

    def probabilities(self, squares: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mean probabilities over the views of each square.

        Shape:
            N of RGB uint8 (side, side, 3) -> (N, C) float32, sum 1.
        """
        views = [np.rot90(x, turn) for x in squares for turn in range(TURNS)]
        if self.tta:
            views = [y for x in views for y in (x, x[:, ::-1])]
        inputs = self.checkpoint.normalised(np.stack(views)).transpose(0, 3, 1, 2)
        found = self._runtime(np.ascontiguousarray(inputs))[:, :, 0, 0]
        return found.reshape(len(squares), -1, found.shape[1]).mean(axis=1)

    def _named(self, cell: Cell, probabilities: np.ndarray) -> Cell:
        own = np.maximum(probabilities.astype(np.float64), LEAST) ** OWN
        other = own[BACKGROUND] / own.sum()
        own[BACKGROUND] = 0
        shares = own * np.maximum(cell.probabilities, LEAST) ** SEGMENTATION
        shares = shares / shares.sum()
        class_id = int(shares.argmax())
        return replace(
            cell,
            class_id=class_id,
            confidence=float((1 - other) * shares[class_id]),
            probabilities=tuple(shares.tolist()),
            other=float(other),
        )
