"""Which images belong together, such as those of one slide: no split divides them.

Augmented copies of one image belong together, too. Their names tell it:
``cell_jpg.rf.0dc7...`` (Roboflow), ``x_original_cell.png_6f1c...`` (Augmentor), or
``cell_aug_3``, ``cell_flip_rot90``, where ``cell`` or another such copy is there.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leuko_mm.datasets.converters.folders.annotation import SourceImage
from leuko_mm.datasets.converters.folders.class_map import class_by_name
from leuko_mm.datasets.converters.folders.pairs import PARTS, stem_of
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.datasets.splits import joined_groups
from leuko_mm.files import sha256_of_file

PARENT = "parent"
# The number at the end of a name counts images; the text before it may be a slide.
NUMBERED = re.compile(r"^(.*[^-_. ])[-_. ]+\(?\d+\)?$")
MIN_GUESSED_GROUPS = 5  # as many as folds, or it is one word before every number
SUFFIX = r"(?:[._](?:png|jpe?g|tiff?|bmp|webp))?"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SURE = re.compile(
    rf"^(.+?){SUFFIX}\.rf\.[0-9a-z]{{8,}}$|^.*?_original_(.+?){SUFFIX}_{UUID}$", re.I
)
# `crop` and `tile` are none of them: those of a field show different cells.
MADE = (
    "aug(?:mented|mentation)?|[hv]?flip(?:ped)?(?:_?[hvxy]|_?lr|_?ud)?|mirror(?:ed)?|"
    "rot(?:ated?|ation)?"
)
# Where the image without the word is there, these tell of a copy, too.
CHANGED = "blur(?:red)?|nois[ey]|bright(?:er|ness)?|dark(?:er)?|contrast|gamma|hue|"
CHANGED += "saturation|(?:colou?r_?)?jitter|shear|elastic"
BEHIND = re.compile(rf"^(.+?)(?:[-_. ]+(?:{MADE}|{CHANGED})(?:[-_. ]*\d+)*)+$", re.I)
ENOUGH = re.compile(rf"[-_. ](?:{MADE})[-_. \d]*$", re.I)
BEFORE = re.compile(
    r"^(?:aug|augmented)[-_. ](?:original[-_. ])?(?:\d+[-_. ])?(.+)$", re.I
)
SHOWN = 2
APART = "--group-by '.+' keeps every image apart"
GUESS = "a guess: "


@dataclass(frozen=True)
class Grouping:
    """The groups of images."""

    groups: dict[str, str]  # stem -> group
    rule: str  # how they were found, for messages
    known: bool = True  # False where every image is a group of its own, for want of any
    remarks: tuple[str, ...] = ()  # on copies of one image

    def sizes(self) -> Counter:
        """Return how many images each group has."""
        return Counter(self.groups.values())

    @property
    def guessed(self) -> bool:
        """Whether names alone say so."""
        return self.rule.startswith(GUESS)


def group_images(
    images: Sequence[SourceImage], group_by: str | None, *, guess: bool = True
) -> Grouping:
    """Return the group of every image.

    Args:
        images: all of them.
        group_by: ``parent`` for the folder that an image is in; a ``.csv`` file with
            the columns stem and group; or a regular expression that finds the group
            in an image's path (its first bracket, or all that it matches). None
            guesses.
        guess: without it, None gives every image a group of its own.

    Raises:
        DatasetError: naming an image that gets no group.
    """
    origins = _origins(images)
    copies: dict[str, list[str]] = defaultdict(list)  # stems by what they are copies of
    for stem, origin in origins.items():
        copies[origin].append(stem)
    copies = {origin: stems for origin, stems in copies.items() if len(stems) > 1}
    if group_by is None:
        made = _guessed(images, origins) if guess else _own(origins)
        return _with_copies(made, copies)
    if group_by == PARENT:
        made = Grouping(_parents(images), "the folder of an image")
    elif group_by.lower().endswith(".csv"):
        groups = _from_table(images, Path(group_by), origins)
        made = Grouping(groups, f"the table {group_by}")
    else:
        made = Grouping(_from_pattern(images, group_by), f"the pattern '{group_by}'")
    groups = made.sizes()
    if _named_as_classes(groups):
        raise DatasetError(
            f"--group-by {group_by} makes a group of every class "
            f"({', '.join(groups)}), so that no fold has all classes; say of which "
            "slide an image is, or leave --group-by out"
        )
    divided = [
        stems for stems in copies.values() if len({made.groups[s] for s in stems}) > 1
    ]
    if divided:
        remark = (
            f"{len(divided)} image(s) have copies in several groups, by their names or "
            f"bytes ({_some(divided)}): train and test "
            "will share them; give copies one group, or leave --group-by out"
        )
        return replace(made, remarks=(remark,))
    return made


def _named_as_classes(groups: Iterable[str]) -> bool:
    """Tell whether every group has the name of a class, and no two of the same."""
    groups = set(groups)
    named = {class_by_name(f"{group}/") for group in groups} - {None}
    return 1 < len(named) == len(groups)


def _origins(images: Sequence[SourceImage]) -> dict[str, str]:
    """Return by stem the stem of what an image is a copy of: its own if of none."""
    stems = {image.stem: image.stem for image in images}
    origins = dict(stems)
    maybe: dict[str, list[str]] = defaultdict(list)
    for image in images:
        folder, slash, name = image.name.rpartition("/")
        if match := SURE.match(name):
            # Copies lie in several of the folders of a split.
            kept = [f for f in folder.split("/") if not re.fullmatch(PARTS, f.lower())]
            kept = "/".join([*kept, match[1] or match[2]]).strip("/")
            origins[image.stem] = stem_of(kept)
        elif match := BEHIND.match(name) or BEFORE.match(name):
            origin = stem_of(folder + slash + match[1])
            if origin in stems or ENOUGH.search(name) or match.re is BEFORE:
                maybe[origin].append(image.stem)
    for origin, copies in maybe.items():
        if origin in stems or 1 < len(copies) < len(images):
            origins.update(dict.fromkeys(copies, origin))
    return _same_files(images, origins)


def _same_files(
    images: Sequence[SourceImage], origins: Mapping[str, str]
) -> dict[str, str]:
    """Return the origins; files with the same bytes have one."""
    sizes: dict[int, list[SourceImage]] = defaultdict(list)
    for image in images:
        if image.path.is_file():
            sizes[image.path.stat().st_size].append(image)
    pairs, first = [], {}
    for image in (image for alike in sizes.values() if alike[1:] for image in alike):
        digest = sha256_of_file(image.path)
        pairs.append((first.setdefault(digest, image.stem), image.stem))
    return joined_groups(origins, pairs)


def _with_copies(guess: Grouping, copies: Mapping[str, Sequence[str]]) -> Grouping:
    """Return the grouping with the copies of an image in one group, and say so."""
    if not copies:
        return guess
    pairs = [(stems[0], other) for stems in copies.values() for other in stems[1:]]
    count = sum(map(len, copies.values()))
    remark = (
        f"{count} images are copies of {len(copies)} by their names or bytes "
        f"({_some(list(copies.values()))}) and share groups; "
        f"{APART}"
    )
    joined = joined_groups(guess.groups, pairs)
    rule = guess.rule if guess.known else "every image, with its copies, a group"
    return replace(guess, groups=joined, rule=rule, remarks=(remark,))


def _some(sets: Sequence[Sequence[str]]) -> str:
    shown = [" = ".join(stems[:2]) for stems in sets[:SHOWN]]
    return ", ".join(shown) + ", ..." * (len(sets) > SHOWN)


def _guessed(images: Sequence[SourceImage], origins: Mapping[str, str]) -> Grouping:
    places: dict[str, set[str]] = defaultdict(set)  # folders by what is in them
    for image in images:
        places[origins[image.stem]].add(image.name.rpartition("/")[0])
    folders = set().union(*places.values())
    # Folders named after classes hold many slides each, and no slide a copy of another.
    of_slides = all(len(found) == 1 for found in places.values()) and not any(
        class_by_name(f"{f.rpartition('/')[2]}/") for f in folders
    )
    # And those of a split, where one slide may be in several.
    of_parts = all(re.fullmatch(PARTS, f.rpartition("/")[2].lower()) for f in folders)
    if 1 < len(folders) < len(images) and of_slides and not of_parts:
        return Grouping(_parents(images), f"{GUESS}the folder of an image")
    names = dict(origins)
    for image in images if of_parts else ():
        if names[image.stem] == image.stem:
            names[image.stem] = image.name.rpartition("/")[2]
    matches = {stem: NUMBERED.match(name) for stem, name in names.items()}
    if all(matches.values()):
        groups = {stem: match[1] for stem, match in matches.items()}
        made = set(groups.values())
        several = MIN_GUESSED_GROUPS <= len(made) < len(set(origins.values()))
        if several and not _named_as_classes(made):
            return Grouping(groups, f"{GUESS}the name without the number at its end")
    return _own(origins)


def _own(origins: Mapping[str, str]) -> Grouping:
    return Grouping(dict(origins), "every image a group of its own", known=False)


def _parents(images: Sequence[SourceImage]) -> dict[str, str]:
    return {
        image.stem: image.name.rpartition("/")[0].replace("/", "-") or "."
        for image in images
    }


def _from_table(
    images: Sequence[SourceImage], path: Path, origins: Mapping[str, str]
) -> dict[str, str]:
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
    given: dict[str, str] = {}
    for row in rows:
        name, group = row["stem"], (row["group"] or "").strip()
        if group and given.setdefault(name, group) != group:
            _refuse_two_groups(path, {f"{name},{given[name]}", f"{name},{group}"})
    groups = {}
    often = Counter(name for i in images for name in {i.path.name, i.path.stem})
    for image in images:
        # An image may be named with or without its folder and its extension.
        names = [image.stem, image.name, image.relative, image.path.name]
        there = {n: given[n] for n in (*names, image.path.stem) if n in given}
        # Two folders may hold images of this name.
        own = {
            f"{n},{g}": g for n, g in there.items() if n in names[:3] or often[n] < 2
        }
        if len(set(own.values())) > 1:
            _refuse_two_groups(path, own)
        # A copy may be named as what it was made of.
        groups[image.stem] = next(
            iter(there.values()), given.get(origins[image.stem], "")
        )
        if not groups[image.stem]:
            raise DatasetError(
                f"{path} gives no group to {image.stem!r} ({image.relative}); add the "
                f"line '{image.stem},<group>'"
            )
    return groups


def _refuse_two_groups(path: Path, lines: Iterable[str]) -> None:
    raise DatasetError(
        f"{path} gives one image two groups: {' and '.join(map(repr, sorted(lines)))}; "
        "leave the line that is right"
    )


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
