"""YOLO's text files: outlines as shares of the image, a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Patch,
    Reader,
    fill_rings,
    paint,
    points_of_shares,
)
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.files import real_path

NAME_FILES = ("*.yaml", "*.yml", "classes.txt", "obj.names", "*.names")
OTHER_TEXTS = ("classes", "train", "val", "valid", "test", "readme", "labels")


def labels(paths: list[Path], images: list[Path]) -> list[Path]:
    """Return the text files that may be labels of images, by their names."""
    names = {image.stem for image in images}
    others = [p for p in paths if p.name.lower().split(".")[0] in OTHER_TEXTS]
    return [p for p in paths if p not in others or p.stem in names]


def class_names(folder: Path) -> tuple[list[str], str]:
    """Return the names of the classes and their file, of the folder or two above.

    Without one, there are none.
    """
    places = [folder, *real_path(folder).parents[:2]]
    for place in places:
        found = [(_names_in(p), p) for n in NAME_FILES for p in sorted(place.glob(n))]
        found = [(names, path) for names, path in found if names]
        for names, path in found[1:]:
            if names != found[0][0]:
                raise DatasetError(
                    f"{found[0][1]} and {path} name the classes differently; move away "
                    "the one that is wrong"
                )
        if found:
            return found[0][0], found[0][1].name
    return [], "no file"


def _names_in(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix not in (".yaml", ".yml"):
            lines = [line.strip() for line in text.rstrip().splitlines()]
            if "" in lines:  # classes are counted by lines
                raise ValueError(f"line {lines.index('') + 1} names no class")
            return lines
        content = yaml.safe_load(text) if re.search("^ *names *:", text, re.M) else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DatasetError(
            f"{path} cannot be read ({' '.join(str(error).split())[:80]})"
        ) from None
    if not isinstance(content, dict) or "names" not in content:
        return []
    if "kpt_shape" in content:
        raise DatasetError(f"{path} is of key points; export YOLO segmentation")
    names = content["names"]
    if isinstance(names, dict) and names.keys() == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    plain = isinstance(names, list) and all(isinstance(n, (str, int)) for n in names)
    if not plain:
        raise DatasetError(
            f"{path}: 'names' is {type(names).__name__}; expected a list of texts, or "
            "texts by their numbers from 0"
        )
    return [str(name).strip() for name in names]


def yolo_reader(names: list[str], path: Path) -> Reader:
    """Return the reader of a YOLO file of outlines.

    Libraries that read them, ``supervision`` and ``datumaro``, would each bring ten
    more packages or a second OpenCV.
    """

    def read(height: int, width: int) -> Annotation:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return paint(_patches(lines, names, height, width), height, width)
        except UnicodeDecodeError:
            raise DatasetError(f"{path} is no text; expected lines of YOLO") from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"{path}: {error}") from None

    return read


def _patches(
    lines: list[str], names: list[str], height: int, width: int
) -> Iterator[Patch]:
    for number, line in enumerate(lines, 1):
        first, *shares = line.split() or [""]
        if not first:
            continue
        if not (first.isascii() and first.isdigit() and len(first) < 10):
            raise ValueError(
                f"line {number} begins with {first[:20]!r}; expected the number of a "
                "class, then x y x y ... of YOLO segmentation, or another form"
            )
        if names and int(first) >= len(names):
            raise ValueError(
                f"line {number} is of class {first}, but only {len(names)} have names: "
                f"{', '.join(names[:6])}"
            )
        if len(shares) in (4, 5):
            raise ValueError(
                f"line {number} is a box (YOLO detection), which has no outline; "
                "export YOLO segmentation, COCO segmentation or masks"
            )
        if len(shares) % 2:
            raise ValueError(
                f"line {number} has {len(shares)} numbers after the class; expected "
                "x y pairs: leave out confidences and key points"
            )
        key = names[int(first)] if names else f"class {first}"
        size = dict(height=height, width=width)
        points = list(zip(shares[::2], shares[1::2], strict=True))
        try:
            yield fill_rings(key, [points_of_shares(points, **size)], **size)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
