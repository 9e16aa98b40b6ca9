"""The second layer of a prepared dataset: which pixels of a cell are its nucleus.

It stands in ``nuclei/<stem>.png``, 0 and 1 with a palette, for the datasets whose
publishers drew it. Nothing that trains on masks needs it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.datasets.prepared import DatasetError, IndexRow, how_to_mend

_PALETTE = [0, 0, 0, 255, 255, 255]


def nucleus_path(root: Path, stem: str) -> Path:
    """Return where the nucleus of a cell stands, whether or not it was drawn.

    Example:
        >>> nucleus_path(Path("data/segmentation_wbc"), "set1_001").as_posix()
        'data/segmentation_wbc/nuclei/set1_001.png'
    """
    return Path(root) / "nuclei" / f"{stem}.png"


def save_nucleus(root: Path, stem: str, nucleus: np.ndarray) -> None:
    """Write a nucleus, bool (H, W), into a dataset."""
    path = nucleus_path(root, stem)
    path.parent.mkdir(exist_ok=True)
    picture = Image.fromarray(nucleus.astype(np.uint8))
    picture.putpalette(_PALETTE)
    picture.save(path)


def read_nucleus(root: Path, row: IndexRow) -> np.ndarray | None:
    """Return the nucleus of a cell, bool (H, W), or None where none was drawn.

    Args:
        root: a prepared dataset.
        row: the cell's row, from ``read_index``.

    Raises:
        DatasetError: if the file leads out of the dataset, cannot be read, or does
            not fit its cell.
    """
    path = nucleus_path(root, row.stem)
    if not path.is_file():
        return None
    if not path.resolve().is_relative_to(Path(root).resolve()):
        raise DatasetError(f"{path} leads out of the dataset; remove that link")
    try:
        with Image.open(path) as picture:
            labels = np.array(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}); {how_to_mend(root)}"
        ) from None
    if labels.shape != (row.height, row.width) or labels.max(initial=0) > 1:
        raise DatasetError(
            f"{path}: {labels.shape}, values up to {labels.max(initial=0)}; expected "
            f"{(row.height, row.width)} of 0 and 1; {how_to_mend(root)}"
        )
    return labels.astype(bool)
