"""Which file annotates which image, and which images belong together."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.converters.folders.annotation import FoundImage, class_by_name
from leuko_mm.datasets.images import IMAGE_SUFFIXES
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


PARENT = "parent"
# The number at the end of a name counts images; what stands before it may be a slide.
COUNTED = re.compile(r"^(.*[^-_. ])[-_. ]+\(?\d+\)?$")


@dataclass(frozen=True)
class Grouping:
    """The groups of images.

    Args:
        groups: stem -> group.
        words: how they were found, for people.
        known: False where every image is a group of its own for want of a better one.
    """

    groups: dict[str, str]
    words: str
    known: bool = True

    @property
    def number(self) -> int:
        """How many groups there are."""
        return len(set(self.groups.values()))

    def largest(self) -> tuple[str, int]:
        """Return the name and size of the largest group."""
        return Counter(self.groups.values()).most_common(1)[0]


def group_images(images: Sequence[FoundImage], group_by: str | None) -> Grouping:
    """Return the group of every image.

    Args:
        images: all of them.
        group_by: ``parent`` for the folder that an image lies in; a ``.csv`` file
            with the columns stem and group; or a regular expression that finds the
            group in an image's path (its first bracket, or all that it matches).
            None guesses.

    Raises:
        DatasetError: naming an image that gets no group.
    """
    if group_by is None:
        return _guessed(images)
    if group_by == PARENT:
        return Grouping(_parents(images), "the folder of an image")
    if group_by.lower().endswith(".csv"):
        return Grouping(_from_table(images, Path(group_by)), f"the table {group_by}")
    return Grouping(_from_pattern(images, group_by), f"the pattern '{group_by}'")


def _guessed(images: Sequence[FoundImage]) -> Grouping:
    parents = _parents(images)
    # Folders named after classes hold many slides each.
    folders = {image.key.rpartition("/")[0] for image in images}
    last = {folder.rpartition("/")[2] for folder in folders}
    slides = len(folders) > 1 and not any(class_by_name(f"{name}/") for name in last)
    if slides and len(set(parents.values())) < len(images):
        return Grouping(parents, "a guess: the folder of an image")
    matches = {image.stem: COUNTED.match(image.stem) for image in images}
    if all(matches.values()):
        groups = {stem: match[1] for stem, match in matches.items()}
        # As many as folds, or it is the same word before every number.
        if 5 <= len(set(groups.values())) < len(images):
            words = "a guess: the name without the number at its end"
            return Grouping(groups, words)
    own = {image.stem: image.stem for image in images}
    return Grouping(own, "every image a group of its own", known=False)


def _parents(images: Sequence[FoundImage]) -> dict[str, str]:
    return {
        image.stem: image.key.rpartition("/")[0].replace("/", "-") or "."
        for image in images
    }


def _from_table(images: Sequence[FoundImage], path: Path) -> dict[str, str]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            header = reader.fieldnames or []
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a table ({error})") from None
    if not {"stem", "group"} <= set(header):
        raise DatasetError(
            f"{path}: the first line is {','.join(header)!r}; expected 'stem,group'"
        )
    named = {row["stem"]: (row["group"] or "").strip() for row in rows}
    groups = {}
    for image in images:
        # An image may be named with or without its folder and its extension.
        names = (
            image.stem,
            image.key,
            image.relative,
            image.path.name,
            image.path.stem,
        )
        groups[image.stem] = next((named[n] for n in names if named.get(n)), "")
        if not groups[image.stem]:
            raise DatasetError(
                f"{path} gives no group to {image.stem!r} ({image.relative}); add the "
                f"line '{image.stem},<group>'"
            )
    return groups


def _from_pattern(images: Sequence[FoundImage], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"--group-by '{pattern}' is no pattern: {error}") from None
    groups = {}
    for image in images:
        match = expression.search(image.key)
        found = match and (match[1] if expression.groups else match[0])
        if not found:
            raise DatasetError(
                f"--group-by '{pattern}' finds no group in {image.key!r}; give "
                "'parent', a table stem,group (.csv), or a pattern that fits every name"
            )
        groups[image.stem] = found.strip("/").replace("/", "-")
    return groups
