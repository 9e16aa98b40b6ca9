"""What the outcome of a deterministic pipeline follows from, as the name of a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path

import cv2
import mmcv
import mmseg
import numpy as np

from leuko_mm import __version__

# Steps of the libraries below that give the same for the same file every time.
# Steps of ours, or of a plug-in, say so by a number, `cache_version`.
KNOWN_STEPS = {
    ("mmcv.transforms.loading", "LoadImageFromFile"),
    ("mmseg.datasets.transforms.loading", "LoadAnnotations"),
}
# Where a cell stands, in which no pixel of it depends.
PLACE_KEYS = ("img_path", "seg_map_path", "sample_idx")


def pipeline_recipe(pipeline: Callable) -> str | None:
    """Return all that a pipeline's result follows from but its input.

    A step whose class states a number ``cache_version`` promises to give the same for
    the same input every time, and to state another number when it is changed. None if
    there is another step than such and loading, since it may draw random numbers; or
    if there is loading alone, which is as fast as a cache.

    Args:
        pipeline: with a list ``transforms``, as ``build_pipeline`` returns it.
    """
    parts, worth = [], False
    for step in getattr(pipeline, "transforms", ()):
        kind = type(step)
        # Asked of the class itself: what is derived from it may draw.
        version = vars(kind).get("cache_version")
        if version is None and (kind.__module__, kind.__name__) not in KNOWN_STEPS:
            return None
        worth = worth or version is not None
        said = sorted(vars(step).items())
        parts.append(f"{kind.__module__}.{kind.__qualname__} {version} {said!r}")
    if not worth:
        return None
    parts.append(
        f"leuko_mm {__version__}, mmcv {mmcv.__version__}, mmseg {mmseg.__version__}, "
        f"cv2 {cv2.__version__}, numpy {np.__version__}"
    )
    return "\n".join(parts)


def cell_key(recipe: str, info: Mapping) -> str:
    """Return the name of a cell's entry.

    Args:
        recipe: see ``pipeline_recipe``.
        info: what the pipeline is given; ``img_path`` and ``seg_map_path`` are read.

    Raises:
        OSError: if a file cannot be read.
    """
    digest = blake2b(recipe.encode(), digest_size=20)
    said = sorted((k, v) for k, v in info.items() if k not in PLACE_KEYS)
    digest.update(repr(said).encode())
    for path in (info["img_path"], info["seg_map_path"]):
        # Each by its own digest: together they could be cut at another place.
        digest.update(blake2b(Path(path).read_bytes()).digest())
    return digest.hexdigest()
