"""Measure how far apart copies and different cells lie under the perceptual hash.

    python tools/near_duplicates.py data/bcisc

Prints, for the training folds 1 to 3 only, the distances of cells from different
groups and of every cell to changed copies of itself: what the threshold in
leuko_mm/datasets/near_duplicates.py was chosen on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.datasets.near_duplicates import (
    MAX_DISTANCE,
    hash_distance,
    near_duplicates,
    perceptual_hash,
)
from leuko_mm.datasets.prepared import read_index, read_split
from leuko_mm.report.contact_sheet import read_images

EVERY_PAIR = 255


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Return the image after a JPEG of some quality."""
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """Return the image at another size."""
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=method)


def lit(image: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Return the image under another light."""
    return np.clip(image * factor + offset, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG, quality 90": lambda image: jpeg(image, 90),
    "JPEG, quality 30": lambda image: jpeg(image, 30),
    "0.3 of the size": lambda image: scaled(image, 0.3),
    "1.5 times the size": lambda image: scaled(image, 1.5),
    "15 % darker": lambda image: lit(image, 0.85, 0.0),
    "10 % brighter": lambda image: lit(image, 1.1, 0.0),
    "less contrast": lambda image: lit(image, 0.8, 25.0),
    "blurred, sigma 1.5": lambda image: cv2.GaussianBlur(image, (0, 0), 1.5),
    "half, dark, JPEG, turned": lambda image: np.rot90(
        jpeg(lit(scaled(image, 0.5), 0.9, 5.0), 50)
    ),
    "mirrored": lambda image: image[:, ::-1],
    "cropped by 4 pixels": lambda image: image[4:-4, 4:-4],
    "moved by 4 pixels": lambda image: np.roll(image, 4, axis=1),
}


def development_cells(root: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Return {stem: (group, image)} of the cells that folds 4 and 5 do not test."""
    kept_apart = {
        stem
        for fold in ("fold4", "fold5")
        for stem, part in read_split(root, fold).items()
        if part == "test"
    }
    rows = [r for r in read_index(root) if r.kind == "cell"]
    rows = [row for row in rows if row.stem not in kept_apart]
    images = read_images([root / row.image for row in rows])
    return {r.stem: (r.group, i) for r, i in zip(rows, images, strict=True)}


def main() -> None:
    """Print the distances."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="a prepared dataset with five folds")
    cells = development_cells(parser.parse_args().root)
    hashes = {stem: perceptual_hash(image) for stem, (_, image) in cells.items()}
    groups = {stem: group for stem, (group, _) in cells.items()}
    pairs = near_duplicates(hashes, groups, max_distance=EVERY_PAIR)
    found = sum(pair.distance <= MAX_DISTANCE for pair in pairs)
    print(f"{len(cells)} cells, {len(pairs)} pairs of different groups:")
    print(f"  {found} within {MAX_DISTANCE} bits; nearest: {pairs[:3]}")
    for name, change in CHANGES.items():
        distances = [
            hash_distance(hashes[stem], perceptual_hash(np.ascontiguousarray(copy)))
            for stem, copy in ((s, change(image)) for s, (_, image) in cells.items())
        ]
        print(f"  {name}: median {np.median(distances):.0f}, most {max(distances)}")


if __name__ == "__main__":
    main()
