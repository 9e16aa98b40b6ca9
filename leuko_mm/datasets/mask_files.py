"""Read mask files of any origin (see ``datasets.image_files`` for what is refused)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leuko_mm.datasets.image_files import check_frames, decoded, without_alpha
from leuko_mm.datasets.image_headers import (
    ALPHA_MODES,
    GREY_MODES,
    ImageFileError,
    image_facts,
)


@dataclass(frozen=True)
class MaskFile:
    """The content of a mask file.

    Attributes:
        values: whole numbers (H, W), or colours (H, W, 3) uint8.
        palette: (N, 3) uint8 colours of the values, None where the file has none.
    """

    values: np.ndarray
    palette: np.ndarray | None = None


def read_mask_file(path: Path) -> MaskFile:
    """Return the values or colours of a mask file, upright.

    Raises:
        ImageFileError: where the table of this module says refused.
    """
    facts = image_facts(path)
    check_frames(facts)
    grey = facts.mode in GREY_MODES
    if not grey and (facts.bits > 8 or facts.mode not in (*ALPHA_MODES, "RGB")):
        raise ImageFileError(
            f"{path}: {facts.bits} bits of type {facts.mode} a channel; expected a "
            "mask of whole numbers, of a palette or of 8-bit RGB colours"
        )
    image = decoded(facts)
    if facts.alpha and facts.mode != "P":
        image = without_alpha(facts, image)
        grey = facts.mode in ("LA", "La")
    if not grey:
        return MaskFile(np.array(image.convert("RGB")))
    values = np.array(image)
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    palette = image.getpalette("RGB") if image.mode == "P" else None
    colours = None if palette is None else np.array(palette, np.uint8).reshape(-1, 3)
    return MaskFile(values, colours)
