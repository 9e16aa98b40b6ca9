"""Which images belong together, such as those of one slide: no split divides them."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.converters.folders.annotation import SourceImage
from leuko_mm.datasets.converters.folders.class_map import class_by_name
from leuko_mm.datasets.converters.folders.pairs import PARTS
from leuko_mm.datasets.prepared import DatasetError

PARENT = "parent"
# The number at the end of a name counts images; the text before it may be a slide.
NUMBERED = re.compile(r"^(.*[^-_. ])[-_. ]+\(?\d+\)?$")
MIN_GUESSED_GROUPS = 5  # as many as folds, or it is one word before every number


@dataclass(frozen=True)
class Grouping:
    """The groups of images."""

    groups: dict[str, str]  # stem -> group
    rule: str  # how they were found, for messages
    known: bool = True  # False where every image is a group of its own, for want of any

    def sizes(self) -> Counter:
        """Return how many images each group has."""
        return Counter(self.groups.values())


def group_images(images: Sequence[SourceImage], group_by: str | None) -> Grouping:
    """Return the group of every image.

    Args:
        images: all of them.
        group_by: ``parent`` for the folder that an image is in; a ``.csv`` file with
            the columns stem and group; or a regular expression that finds the group
            in an image's path (its first bracket, or all that it matches). None
            guesses.

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


def _guessed(images: Sequence[SourceImage]) -> Grouping:
    folders = {image.name.rpartition("/")[0] for image in images}
    # Folders named after classes hold many slides each.
    of_classes = any(class_by_name(f"{f.rpartition('/')[2]}/") for f in folders)
    # And those of a split, where one slide may be in several.
    of_parts = all(re.fullmatch(PARTS, f.rpartition("/")[2].lower()) for f in folders)
    if 1 < len(folders) < len(images) and not of_classes and not of_parts:
        return Grouping(_parents(images), "a guess: the folder of an image")
    names = {i.stem: i.name.rpartition("/")[2] if of_parts else i.stem for i in images}
    matches = {stem: NUMBERED.match(name) for stem, name in names.items()}
    if all(matches.values()):
        groups = {stem: match[1] for stem, match in matches.items()}
        if MIN_GUESSED_GROUPS <= len(set(groups.values())) < len(images):
            return Grouping(groups, "a guess: the name without the number at its end")
    own = {image.stem: image.stem for image in images}
    return Grouping(own, "every image a group of its own", known=False)


def _parents(images: Sequence[SourceImage]) -> dict[str, str]:
    return {
        image.stem: image.name.rpartition("/")[0].replace("/", "-") or "."
        for image in images
    }


def _from_table(images: Sequence[SourceImage], path: Path) -> dict[str, str]:
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
    given = {row["stem"]: (row["group"] or "").strip() for row in rows}
    groups = {}
    for image in images:
        # An image may be named with or without its folder and its extension.
        names = (image.stem, image.name, image.relative)
        names += (image.path.name, image.path.stem)
        groups[image.stem] = next((given[n] for n in names if given.get(n)), "")
        if not groups[image.stem]:
            raise DatasetError(
                f"{path} gives no group to {image.stem!r} ({image.relative}); add the "
                f"line '{image.stem},<group>'"
            )
    return groups


def _from_pattern(images: Sequence[SourceImage], pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"--group-by '{pattern}' is no pattern: {error}") from None
    groups = {}
    for image in images:
        match = expression.search(image.name)
        found = match and (match[1] if expression.groups else match[0])
        if not found:
            raise DatasetError(
                f"--group-by '{pattern}' finds no group in {image.name!r}; give "
                "'parent', a table stem,group (.csv), or a pattern that fits every name"
            )
        groups[image.stem] = found.strip("/").replace("/", "-")
    return groups
