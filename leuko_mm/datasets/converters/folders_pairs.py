"""Find the images of a folder, and which file annotates which of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from leuko_mm.datasets.converters.folders_annotation import FoundImage
from leuko_mm.datasets.image_files import IMAGE_SUFFIXES
from leuko_mm.datasets.prepared import DatasetError

# What stands behind an image's name in the name of its mask, and means no class.
MASK_WORDS = frozenset(
    [
        "mask",
        "masks",
        "label",
        "labels",
        "gt",
        "seg",
        "segmentation",
        "annotation",
        "annotations",
        "groundtruth",
        "ground_truth",
        "labelids",
    ]
)
ANNOTATION_SUFFIXES = (".json", ".geojson")
SHOWN = 5


def list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files below a folder by suffix, hidden ones left out, in order.

    Raises:
        DatasetError: if one is a link to a file outside: what a folder of strangers
            points to would be copied into the dataset.
    """
    inside = folder.resolve()
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    for path in found:
        if not path.resolve().is_relative_to(inside):
            raise DatasetError(
                f"{path} is a link to {path.resolve()}, outside of {folder}; put the "
                "file itself there"
            )
    return found


def key_of(folder: Path, path: Path) -> str:
    """Return a file's path below a folder, with slashes and without its extension."""
    return path.relative_to(folder).with_suffix("").as_posix()


def found_images(folder: Path, paths: Iterable[Path]) -> list[FoundImage]:
    """Return the images with names that are unique in the dataset.

    Raises:
        DatasetError: if there are none, or two have one name.
    """
    images: dict[str, FoundImage] = {}
    for path in paths:
        key = key_of(folder, path)
        stem = re.sub(r"[^\w.()+-]+", "_", key.replace("/", "-"))
        image = FoundImage(path, path.relative_to(folder).as_posix(), key, stem)
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


def split_folder(images: Path, masks: Path | None) -> tuple[Path, Path]:
    """Return the folder of the images and that of the annotations.

    Without masks, they lie in ``images/`` and ``masks/`` (or ``labels/``,
    ``annotations/``) of the folder, or beside the images.

    Raises:
        DatasetError: if a folder does not exist.
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


def divide_beside(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide the files of one folder into images and the masks beside them.

    ``cell.jpg`` with ``cell.png``, or ``cell.png`` with ``cell_mask.png``.

    Example:
        >>> divide_beside([Path("a.png"), Path("a_mask.png")])
        ([PosixPath('a.png')], [PosixPath('a_mask.png')])
    """
    names = {path.with_suffix("") for path in paths}
    masks = []
    for path in paths:
        bare = path.with_suffix("")
        match = re.match(r"(.+)[-_. ]([A-Za-z]+)$", bare.name)
        worded = match and match[2].lower() in MASK_WORDS
        if worded and bare.with_name(match[1]) in names:
            masks.append(path)
    if not masks:
        by_name = defaultdict(list)
        for path in paths:
            by_name[path.with_suffix("")].append(path)
        pairs = [sorted(same, key=_is_png) for same in by_name.values()]
        if all(len(pair) == 2 and _is_png(pair[1]) for pair in pairs):
            masks = [pair[1] for pair in pairs]
    taken = set(masks)
    return [path for path in paths if path not in taken], masks


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def match_masks(
    folder: Path, masks: Sequence[Path], images: Sequence[FoundImage]
) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Find the image of every mask, by name.

    A mask has its image's name, or that with a word behind it (``cell_mask``,
    ``cell_eosinophil``), or lies in a folder of such a word (``eosinophil/cell``).

    Returns:
        Key of an image -> {word: mask}, the word '' where it means no class; and the
        masks that belong to no image.
    """
    keys = {image.key for image in images}
    names = defaultdict(list)
    for key in keys:
        names[key.rpartition("/")[2]].append(key)
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    unused = []
    for path in masks:
        key, word = _owner(key_of(folder, path), keys, names)
        word = "" if word.lower() in MASK_WORDS else word
        if key is None:
            unused.append(str(path))
        elif word in found[key]:
            raise DatasetError(
                f"{found[key][word]} and {path} are both masks of {key!r}; name each "
                "after one image"
            )
        else:
            found[key][word] = path
    return dict(found), unused


def _owner(mask: str, keys: set[str], names: dict) -> tuple[str | None, str]:
    if mask in keys:
        return mask, ""
    for end in range(len(mask) - 1, 0, -1):
        if mask[end] in "-_. " and mask[:end] in keys:
            return mask[:end], mask[end + 1 :]
    folder, slash, rest = mask.partition("/")
    if slash:
        key, word = _owner(rest, keys, {})
        if key is not None:
            return key, word or folder
    same = names.get(mask.rpartition("/")[2], [])
    return (same[0], "") if len(same) == 1 else (None, "")
