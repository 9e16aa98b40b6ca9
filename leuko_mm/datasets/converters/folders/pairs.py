"""Pairs of image and annotation: which files are images, and which file annotates them.

Files are paired by name: ``cell.jpg`` with ``masks/cell.png``, ``cell_mask.png``,
``cell_eosinophil.png`` or ``eosinophil/cell.png``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from leuko_mm.datasets.converters.folders.annotation import SourceImage
from leuko_mm.datasets.images import (
    CLOSED,
    ENHANCED,
    IMAGE_SUFFIXES,
    LINKED,
    ImageSearch,
)
from leuko_mm.datasets.prepared import DatasetError

# Behind an image's name in the name of its mask, these name no class.
MASK_WORDS = {"mask", "masks", "label", "labels", "labelids", "gt", "groundtruth"}
MASK_WORDS |= {"ground_truth", "seg", "segmentation", "annotation", "annotations"}
JSON_SUFFIXES = (".json", ".geojson")


def find_folders(images: Path, masks: Path | None) -> tuple[Path, Path]:
    """Return the folder of the images and the folder or file of the annotations.

    Without masks, they are in ``images/`` and ``masks/`` (or ``labels/``,
    ``annotations/``) of the folder, or beside the images.
    """
    if not images.is_dir():
        raise DatasetError(f"{images} is no folder; give the folder of the images")
    if masks is not None:
        if not masks.exists():
            raise DatasetError(f"{masks} does not exist; give the folder of the masks")
        return images, masks
    for name in ("masks", "labels", "annotations"):
        if (images / "images").is_dir() and (images / name).is_dir():
            return images / "images", images / name
    return images, images


def list_files(
    folder: Path, suffixes: Sequence[str], *, own_results: bool = False
) -> list[Path]:
    """Return the files below a folder by suffix, without hidden ones, in order.

    ``own_results`` of leuko are annotations, but no images.

    Raises:
        DatasetError: if a folder cannot be opened, or one is a link outside: what a
            folder of strangers points to would be copied into the dataset.
    """
    inside = folder.resolve()
    search = ImageSearch(suffixes, own_results=own_results)
    found = sorted(path for path in search.below(folder) if path.is_file())
    if closed := search.left_out(CLOSED):
        raise DatasetError(
            f"{closed[0]} cannot be opened; give yourself the right to read it, or "
            "move it away"
        )
    if enhanced := search.left_out(ENHANCED):
        raise DatasetError(
            f"{enhanced[0]} was made by leuko enhance, and trainings enhance images "
            "themselves; put the original in its place"
        )
    for path in [*found, *search.left_out(LINKED)]:
        if not path.resolve().is_relative_to(inside):
            raise DatasetError(
                f"{path} is a link to {path.resolve()}, outside of {folder}; put "
                f"the {'folder' if path.is_dir() else 'file'} itself there"
            )
    return found


def source_images(folder: Path, paths: Iterable[Path]) -> list[SourceImage]:
    """Return the images with stems that are unique in the dataset."""
    images: dict[str, SourceImage] = {}
    for path in paths:
        name = _name_below(folder, path)
        stem = stem_of(name)
        image = SourceImage(path, path.relative_to(folder).as_posix(), name, stem)
        if stem in images:
            raise DatasetError(
                f"{images[stem].path} and {path} would both be named {stem!r}; "
                "rename one of them, or put masks into a folder of their own"
            )
        images[stem] = image
    if not images:
        there = sorted({p.suffix for p in folder.rglob("*") if p.is_file()})
        raise DatasetError(
            f"no images in {folder}; expected files of {', '.join(IMAGE_SUFFIXES)}, "
            f"found {', '.join(there) or 'nothing'}"
        )
    return list(images.values())


def stem_of(name: str) -> str:
    """Return the stem in the dataset of an image's name below its folder."""
    return re.sub(r"[^\w.()+-]+", "_", name.replace("/", "-"))


def _name_below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def divide_beside(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide the files of one folder into images and the masks beside them.

    ``cell.jpg`` with ``cell.png``, or ``cell.png`` with ``cell_mask.png``.
    """
    same_name = defaultdict(list)
    for path in paths:
        same_name[path.with_suffix("")].append(path)
    masks = set()
    for path in paths:
        bare = path.with_suffix("")
        match = re.match(r"(.+)[-_. ]([A-Za-z]+)$", bare.name)
        worded = match and match[2].lower() in MASK_WORDS
        if worded and bare.with_name(match[1]) in same_name:
            masks.add(path)
    if not masks:
        pairs = [sorted(same, key=_is_png) for same in same_name.values()]
        if all(len(pair) == 2 and _is_png(pair[1]) for pair in pairs):
            masks = {pair[1] for pair in pairs}
    return [p for p in paths if p not in masks], [p for p in paths if p in masks]


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def match_masks(
    folder: Path, masks: Sequence[Path], images: Sequence[SourceImage]
) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Find the image of every mask, by name.

    Returns:
        Name of an image -> {word: mask}, the word '' where it names no class; and the
        masks that belong to no image.
    """
    names = {image.name for image in images}
    below_folders = defaultdict(list)
    for name in names:
        below_folders[name.rpartition("/")[2]].append(name)
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    unused = []
    for path in masks:
        name, word = _owner(_name_below(folder, path), names, below_folders)
        word = "" if word.lower() in MASK_WORDS else word
        if name is None:
            unused.append(str(path))
        elif word in found[name]:
            raise DatasetError(
                f"{found[name][word]} and {path} are both masks of {name!r}; name each "
                "after one image"
            )
        else:
            found[name][word] = path
    return dict(found), unused


def _owner(mask: str, names: set[str], below_folders: dict) -> tuple[str | None, str]:
    """Return the image that a mask is named after, and the word that is added."""
    if mask in names:
        return mask, ""
    for end in range(len(mask) - 1, 0, -1):
        if mask[end] in "-_. " and mask[:end] in names:
            return mask[:end], mask[end + 1 :]
    folder, slash, rest = mask.partition("/")
    if slash:
        name, word = _owner(rest, names, {})
        if name is not None:
            return name, word or folder
    same = below_folders.get(mask.rpartition("/")[2], [])
    return (same[0], "") if len(same) == 1 else (None, "")
