"""Pairs of image and annotation: which files are images, and which file annotates them.

Files are paired by name: ``cell.jpg`` with ``masks/cell.png``, ``cell_mask.png``,
``cell_eosinophil.png`` or ``eosinophil/cell.png``. A file that annotates many images
lists their names.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from leuko_mm.classes import CLASSES
from leuko_mm.datasets.converters.folders.annotation import Reader, SourceImage
from leuko_mm.datasets.images import (
    CLOSED,
    ENHANCED,
    IMAGE_SUFFIXES,
    LINKED,
    ImageSearch,
)
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.files import real_path

# Behind an image's name in the name of its mask, these name no class.
MASK_WORDS = {"mask", "masks", "label", "labels", "labelids", "gt", "groundtruth"}
MASK_WORDS |= {"ground_truth", "seg", "segmentation", "annotation", "annotations"}
JSON_SUFFIXES = (".json", ".geojson")
CHANNEL = "_0000"
SHOWN = 12  # folders
LABEL_SUFFIXES = (*JSON_SUFFIXES, ".xml", ".txt")

# Usual names of folders in small letters, without signs; the first one counts. A part,
# as in `labelsTr` or `train_masks`, is that of both folders.
PARTS = "tr|ts|train(?:ing)?|val(?:id)?(?:ation)?|test(?:ing)?"
IMAGE_FOLDERS = "images? imgs? jpegimages? (?:original|raw|input)s?(?:images?)? "
IMAGE_FOLDERS += "(?:picture|pic|photo)s?"
MASK_FOLDERS = "(?:binary)?masks?(?:images?)? labels?(?:images?|masks?)? "
MASK_FOLDERS += "segmentationclass seg(?:mentation)?s?(?:masks?)? gts?(?:masks?)? "
MASK_FOLDERS += "groundtruths?(?:masks?)? annot(?:ation)?s?|outlines?|polygons?|json"


@dataclass(frozen=True)
class FolderPair:
    """A folder of images, and the folder or file that annotates them."""

    images: Path
    masks: Path
    part: str = ""  # before the names of images, such as ``train/``
    unread: tuple[str, ...] = ()  # folders of usual names beside them

    def named(self, folder: Path, paths: Iterable[Path]) -> list[tuple[str, Path]]:
        """Return the files with their names below the folder, in slashes."""
        folder = folder if folder.is_dir() else folder.parent
        return [(self.part + p.relative_to(folder).as_posix(), p) for p in paths]


def find_place(images: Path, masks: Path | None) -> FolderPair:
    """Return where images and their annotations are.

    Without masks, they are in ``images/`` and ``masks/`` (or ``labels/``,
    ``annotations/``) of the folder, or beside the images.
    """
    if not images.is_dir():
        raise DatasetError(f"{images} is no folder; give the folder of the images")
    if masks is not None:
        if not masks.exists():
            raise DatasetError(f"{masks} does not exist; give the folder of the masks")
        return FolderPair(images, masks)
    for name in ("masks", "labels", "annotations"):
        if (images / "images").is_dir() and (images / name).is_dir():
            unread = _usual_pairs([p.name for p in images.iterdir() if p.is_dir()])[1]
            unread = tuple(other for other in unread if other != name)
            return FolderPair(images / "images", images / name, unread=unread)
    return FolderPair(images, images)


def usual_places(folder: Path) -> list[FolderPair]:
    """Return the pairs of folders of usual names, at any depth."""
    places = []
    for here, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        pairs, unread = _usual_pairs(names)
        for part, (image, mask) in pairs.items():
            below = Path(here, part).relative_to(folder).as_posix()
            place = FolderPair(Path(here, image), Path(here, mask), f"{below}/", unread)
            if not ImageSearch().in_own_results(place.masks):
                places.append(place)
        if pairs:
            names.clear()
    # One pair needs no part.
    return [replace(places[0], part="")] if len(places) == 1 else places


def _usual_pairs(
    names: Sequence[str],
) -> tuple[dict[str, tuple[str, str]], tuple[str, ...]]:
    """Return part -> folders of images and masks, and usual names without a pair."""
    best: tuple[dict, dict] = {}, {}  # part -> rank and name, of images and masks
    for name in names:
        bare = re.sub(r"[-_. ]", "", name.lower())
        for found, words in zip(best, (IMAGE_FOLDERS, MASK_FOLDERS), strict=True):
            for rank, word in enumerate(words.split()):
                if match := re.fullmatch(f"({PARTS})?(?:{word})({PARTS})?", bare):
                    found.setdefault(match[1] or match[2] or "", []).append(
                        (rank, name)
                    )
    images, masks = best
    pairs = {p: (min(images[p])[1], min(masks[p])[1]) for p in images if p in masks}
    usual = (name for found in best for same in found.values() for _, name in same)
    paired = {name for pair in pairs.values() for name in pair}
    return pairs, tuple(name for name in usual if name not in paired)


def folders_there(folder: Path) -> str:
    """Return which folders hold files that may be images or annotations."""
    suffixes, counts = (*IMAGE_SUFFIXES, *LABEL_SUFFIXES), {}
    for here, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        count = sum(Path(file).suffix.lower() in suffixes for file in files)
        if count and Path(here) != folder:
            counts[Path(here).relative_to(folder)] = count
    if not counts:
        return ""
    of_classes = {name for c in CLASSES for name in (c.name, *c.aliases)}
    sorted_cells = sum(path.name.lower() in of_classes for path in counts) > 1
    outline = ", or --outline for pictures of one cell each, without masks"
    listed = [f"{path} ({count} files)" for path, count in counts.items()]
    more = ", ..." * (len(listed) > SHOWN)
    return (
        f"; there are the folders {', '.join(listed[:SHOWN])}{more}; "
        "name that of the images and that of the masks: leuko prepare folders IMAGES "
        f"MASKS --name NAME{outline * sorted_cells}"
    )


def list_files(
    folder: Path, suffixes: Sequence[str], *, own_results: bool = False
) -> list[Path]:
    """Return the files below a folder by suffix, without hidden ones, in order.

    ``own_results`` of leuko are annotations, but no images. A prepared dataset below
    the folder, such as that of the last run, is neither.

    Raises:
        DatasetError: if a folder cannot be opened, or one is a link outside: what a
            folder of strangers points to would be copied into the dataset.
    """
    inside = real_path(folder)
    search = ImageSearch(suffixes, own_results=own_results, prepared=False)
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
        if not real_path(path).is_relative_to(inside):
            raise DatasetError(
                f"{path} is a link to {real_path(path)}, outside of {folder}; put "
                f"the {'folder' if path.is_dir() else 'file'} itself there"
            )
    return found


def source_images(
    folder: Path, named: Iterable[tuple[str, Path]], *, channel: str = ""
) -> list[SourceImage]:
    """Return the images with stems that are unique in the dataset.

    ``channel`` ends the names of all files, and belongs to no name.
    """
    images: dict[str, SourceImage] = {}
    for relative, path in named:
        name = _bare(relative).removesuffix(channel)
        stem = stem_of(name)
        image = SourceImage(path, relative, name, stem)
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


def _bare(relative: str) -> str:
    return PurePosixPath(relative).with_suffix("").as_posix()


def channel_of(images: Sequence[tuple[str, Path]], masks: Sequence) -> str:
    """Return ``_0000``, which nnU-Net adds to images and not to masks, or ''."""
    added = all(_bare(name).endswith(CHANNEL) for name, _ in images)
    return CHANNEL if masks and added and CHANNEL not in str(masks) else ""


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


def composed(name: str) -> str:
    """Return a name as most systems write it: a Mac may store ö as o and two dots."""
    return unicodedata.normalize("NFC", name)


def match_masks(
    masks: Sequence[tuple[str, Path]], images: Sequence[SourceImage]
) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Find the image of every mask, by name.

    Returns:
        Name of an image -> {word: mask}, the word '' where it names no class; and the
        masks that belong to no image.
    """
    names = {composed(image.name): image.name for image in images}
    below_folders = defaultdict(list)
    for name in names:
        below_folders[name.rpartition("/")[2]].append(name)
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    unused = []
    for relative, path in masks:
        name, word = _owner(composed(_bare(relative)), names, below_folders)
        word = "" if word.lower() in MASK_WORDS else word
        name = names.get(name)
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


def _owner(
    mask: str, names: Mapping[str, str], below_folders: dict
) -> tuple[str | None, str]:
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
        # In a part, the folder of a class comes second.
        above, _, last = mask.rpartition("/")
        part, _, folder = above.rpartition("/")
        if f"{part}/{last}" in names:
            return f"{part}/{last}", folder
    same = below_folders.get(mask.rpartition("/")[2], [])
    return (same[0], "") if len(same) == 1 else (None, "")


def match_listed(
    listed: Iterable[tuple[Path, str, str, Reader]], images: Sequence[SourceImage]
) -> tuple[dict[str, Reader], dict[str, str], list[str]]:
    """Find the image of every name that files list.

    Args:
        listed: file, its folder below the images, the name in it, and the reader. A
            name is that of a path below the images or that folder, or of a file that
            is there once.
        images: all of them.

    Returns:
        The readers and the files of the images, by name, and the names without one.
    """
    by_path = {composed(image.relative): image for image in images}
    by_file_name = defaultdict(list)
    for image in images:
        by_file_name[composed(image.path.name)].append(image)
    readers, sources, unused = {}, {}, []
    for file, folder, name, reader in listed:
        name = composed(name.replace("\\", "/"))
        last = PurePosixPath(name).name
        # Label Studio puts eight letters before the names of what is uploaded.
        for shown in (last, re.sub("^[0-9a-f]{8}-", "", last)):
            if same := by_file_name.get(shown, []):
                break
        image = by_path.get(folder + name) or by_path.get(name)
        image = image or (same[0] if len(same) == 1 else None)
        if image is None:
            unused.append(name)
        elif image.name in readers:
            other = sources[image.name]
            both = "twice" if other == str(file) else f"as {other} does"
            raise DatasetError(f"{file} lists {name} {both}; keep one")
        else:
            readers[image.name], sources[image.name] = reader, str(file)
    return readers, sources, unused
