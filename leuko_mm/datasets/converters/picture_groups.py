"""Groups for data whose slides are not known: a picture each, but for its copies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from leuko_mm.datasets.grouped_splits import joined_groups
from leuko_mm.datasets.image_files import read_image
from leuko_mm.datasets.near_duplicates import near_duplicates, perceptual_hash

SHOWN = 8


def picture_groups(images: Mapping[str, Path], notes: list[str]) -> dict[str, str]:
    """Return a group for each picture: its own, or that of one that shows the same.

    Publishers have cut out the same cell twice now and then; such a pair on both
    sides of a split would test a network on what it learnt.

    Args:
        images: stem -> file.
        notes: takes what a user must know of the groups.

    Raises:
        DatasetError: if a file cannot be read.
    """
    notes.append(
        "no slide is known, so every picture is a group of its own, and pictures of "
        "one slide may stand on both sides of a split"
    )
    hashes = {stem: perceptual_hash(read_image(path)) for stem, path in images.items()}
    pairs = near_duplicates(hashes)
    if pairs:
        told = ", ".join(f"{pair.first} = {pair.second}" for pair in pairs[:SHOWN])
        more = f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else ""
        notes.append(
            f"{len(pairs)} pair(s) of pictures show the same cell and share a group: "
            f"{told}{more}"
        )
    return joined_groups({stem: stem for stem in images}, [pair[:2] for pair in pairs])
