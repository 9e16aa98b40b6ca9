"""Write a surveyed folder as a prepared dataset, with images whole or cells cut out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.classes import (
    BACKGROUND,
    BINARY_NAMES,
    CLASS_NAMES,
    IGNORE_LABEL,
    OTHER,
)
from leuko_mm.datasets.audit_checks import (
    RULES,
    fitting_orientations,
    turned_masks,
)
from leuko_mm.datasets.converters.folders import class_map
from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Box,
    SourceImage,
)
from leuko_mm.datasets.converters.folders.groups import Grouping, group_images
from leuko_mm.datasets.converters.folders.pairs import list_files, source_images
from leuko_mm.datasets.converters.folders.survey import Survey
from leuko_mm.datasets.converters.outlined import (
    Outliner,
    SortedCell,
    prepare_sorted,
)
from leuko_mm.datasets.images import IMAGE_SUFFIXES, image_facts, read_image
from leuko_mm.datasets.prepared import NOT_STATED, DatasetError, Place
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.datasets.splits import development_split, grouped_folds

FOLDS = 5
# What a folder of pictures can be, where a model draws the outlines.
SORTED_TARGETS = (*CLASS_NAMES[1:], OTHER, class_map.IGNORE)
MIN_CELL_PIXELS = 25  # smaller connected pieces of a mask are specks of the brush


@dataclass(frozen=True)
class FoldersRequest:
    """What a user agreed to."""

    name: str  # of the dataset
    targets: Mapping[str, str]  # key -> target (see ``class_map``)
    grouping: Grouping
    crop: int | None = None  # pixels of a window around every cell; None: whole images
    licence: str = NOT_STATED
    citation: str = NOT_STATED


def prepare_folders(
    survey: Survey, out: Path, request: FoldersRequest, *, force: bool = False
) -> bool:
    """Write the dataset of a survey, with folds that divide no group.

    Without ``crop`` an image is one cell, its class the one with the most pixels, or
    ``other`` where only such cells are; an image without a cell is kept as a field,
    which no split names. With ``crop`` every image is a field, and every cell in it a
    cell of the dataset.

    Raises:
        DatasetError: if the map does not fit, an image cannot be read, or there is
            no cell.
    """
    class_map.check_map(request.targets, survey.uses)
    request = replace(request, grouping=_grouping(survey, request))
    splits: dict[str, dict[str, str]] = {}
    notes = _notes(survey, request)
    return write_prepared(
        Path(out),
        _cells(survey, request, splits, notes),
        name=request.name,
        source=f"{survey.annotations.form}, map {class_map.map_text(request.targets)}",
        licence=request.licence,
        citation=request.citation,
        splits=splits,
        classes=BINARY_NAMES if class_map.is_binary(request.targets) else CLASS_NAMES,
        notes=notes,
        force=force,
    )


@dataclass(frozen=True)
class SortedFolder:
    """Pictures of single cells, without masks, in folders by class."""

    images: list[SourceImage]
    kinds: dict[str, str]  # stem -> the folder that says the class
    targets: dict[str, str]  # such a folder -> one of ``SORTED_TARGETS``


def sort_by_folder(
    folder: Path, given: Mapping[str, str] | None = None
) -> SortedFolder:
    """Return the pictures of a folder by the folders that name their class.

    Of the folders above a picture, the nearest that is in the map counts; else the
    nearest that names one of the five classes. Else, without a map, the nearest is of
    class ``other``.

    Raises:
        DatasetError: if a picture is in no folder, or the map does not fit.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is no folder; give the folder of the pictures")
    paths = list_files(folder, IMAGE_SUFFIXES)
    names = [path.relative_to(folder).as_posix() for path in paths]
    images = source_images(folder, zip(names, paths, strict=True))
    given, kinds = dict(given or {}), {}
    for image in images:
        above = image.relative.split("/")[-2::-1]
        named = [f for f in above if f in given] or [f for f in above if _class_of(f)]
        kinds[image.stem] = [*named, *above, ""][0]
        if not above or (given and not named):
            lack = "the map says nothing of its folder" if above else "in no folder"
            raise DatasetError(
                f"{image.path}: {lack}; with --outline, the folder of a picture is its "
                "class, or --map FOLDER=CLASS,... says which"
            )
    there = {f for image in images for f in image.relative.split("/")[:-1]}
    for folder_name in given.keys() - there:
        raise DatasetError(
            f"--map {folder_name}={given[folder_name]}: {folder} has no pictures in a "
            f"folder of this name; there are {', '.join(sorted(there))}"
        )
    guessed = sorted(set(kinds.values()) - given.keys())
    targets = given | {k: _class_of(k) or OTHER for k in guessed}
    odd = [f"{k}={t}" for k, t in targets.items() if t not in SORTED_TARGETS]
    if not given and not set(targets.values()) & set(CLASS_NAMES):
        raise DatasetError(
            f"no folder is named after a class ({', '.join(guessed)}); say what they "
            f"are: --map FOLDER=CLASS,..., with {', '.join(SORTED_TARGETS)}"
        )
    if odd or not set(targets.values()) & set(CLASS_NAMES):
        raise DatasetError(
            f"--map {odd[0] if odd else class_map.map_text(targets)}: expected "
            f"{', '.join(SORTED_TARGETS)}, and a class for some"
        )
    return SortedFolder(images, kinds, targets)


def _class_of(folder: str) -> str | None:
    target = class_map.label_target(folder)
    return target if target in CLASS_NAMES[1:] else None


def prepare_outlined(
    pictures: SortedFolder,
    out: Path,
    request: FoldersRequest,
    outliner: Outliner,
    *,
    force: bool = False,
) -> bool:
    """Write cells that are sorted by class, outlined by a model and checked."""
    groups, targets = request.grouping.groups, request.targets
    kinds = {i: pictures.kinds[i.stem] for i in pictures.images}
    return prepare_sorted(
        [
            SortedCell(i.stem, i.path, kind, targets[kind], i.relative)
            for i, kind in kinds.items()
            if targets[kind] != class_map.IGNORE
        ],
        out,
        outliner,
        grouped=lambda paths: {stem: groups[stem] for stem in paths},
        dealt=lambda own, kind_of: _folds([(s, own[s], kind_of[s]) for s in own]),
        notes=_group_notes(request),
        name=request.name,
        source=f"cells sorted by class, map {class_map.map_text(targets)}",
        licence=request.licence,
        citation=request.citation,
        force=force,
    )


def _group_notes(request: FoldersRequest) -> list[str]:
    notes = [f"groups: {request.grouping.rule}", *request.grouping.remarks]
    if not request.grouping.known:
        notes.append("slides may stand in train and test alike: groups are not known")
    return notes


def _notes(survey: Survey, request: FoldersRequest) -> list[str]:
    notes = _group_notes(request)
    if survey.left_out:
        count = len(survey.left_out)
        notes.append(f"{count} file{'s' * (count != 1)} without a counterpart left out")
    if request.crop:
        notes.append(f"cells cut out of fields, {request.crop} pixels a side")
    return notes


def _grouping(survey: Survey, request: FoldersRequest) -> Grouping:
    """Return the groups; guessed ones that are the classes are not known."""
    guess, found = request.grouping, {}
    if not guess.guessed or len(guess.sizes()) > len(CLASS_NAMES):
        return guess
    for image in survey.images:
        pixels = read_image(image.path)
        for cell in _cells_of(image, pixels, survey, request, Counter()):
            name = cell.class_name
            if cell.kind == "cell" and found.setdefault(cell.group, name) != name:
                return guess
    if not _are_classes(found.items()):
        return guess
    own = group_images(survey.images, None, guess=False)
    remark = f"not used, as it makes a group of every class: {guess.rule}"
    return replace(own, remarks=(remark, *own.remarks))


def _are_classes(pairs: Iterable[tuple[str, str]]) -> bool:
    """Tell whether every (group, class) is the only one of its group and class."""
    pairs = set(pairs)
    return 1 < len(pairs) == len({g for g, _ in pairs}) == len({c for _, c in pairs})


def _cells(
    survey: Survey, request: FoldersRequest, splits: dict, notes: list[str]
) -> Iterator[PreparedCell]:
    rows, counts, orientations = [], Counter(), []
    for image in survey.images:
        pixels = read_image(image.path)
        for cell in _cells_of(image, pixels, survey, request, counts):
            if cell.place is None:  # the whole image
                orientations.append(fitting_orientations(pixels, cell.mask))
            if cell.kind == "cell":
                rows.append((cell.stem, cell.group, cell.class_name))
                counts["mixed"] += len(_cell_labels(cell.mask)) > 1
            yield cell
    if not rows:
        raise DatasetError(
            f"no cell in {len(survey.images)} images: no pixel of theirs is a leukocyte"
        )
    splits.update(_folds(rows))
    if request.grouping.known and _are_classes(row[1:] for row in rows):
        notes.append(
            "no folds: every group is a class, which none of them would train on"
        )
    if counts["mixed"]:
        advice = "" if request.crop else "; --crop PX cuts every cell out"
        notes.append(f"{counts['mixed']} cells show more than one class{advice}")
    if counts["cut"]:
        notes.append(f"{counts['cut']} cells are larger than their crop")
    if counts["parts"]:
        notes.append(f"{counts['parts']} areas in a cell of their class are part of it")
    if words := turned_masks(orientations):
        notes.append(f"{words}: {RULES['turned-masks'].cure}")


def _cells_of(
    image: SourceImage,
    pixels: np.ndarray,
    survey: Survey,
    request: FoldersRequest,
    counts: Counter,
) -> Iterator[PreparedCell]:
    annotation = survey.annotations.readers[image.name](*pixels.shape[:2])
    source = survey.annotations.sources[image.name]
    used = annotation.pixels()
    values = class_map.label_values(request.targets, image.relative, used, source)
    # A key may be there and wholly painted over.
    values = {key: values.get(key, BACKGROUND) for key in annotation.keys}
    labels = annotation.labels(values)
    binary = class_map.is_binary(request.targets)
    names = dict(enumerate(BINARY_NAMES if binary else CLASS_NAMES))
    names[class_map.OTHER_LABEL] = OTHER
    mask = np.where(labels == class_map.OTHER_LABEL, IGNORE_LABEL, labels)
    main = _majority(labels) if request.crop is None else None
    whole = PreparedCell(
        stem=image.stem,
        class_name="" if main is None else names[main],
        group=request.grouping.groups[image.stem],
        image=image.path if image_facts(image.path).plain else pixels,
        mask=mask,
        kind="field" if main is None else "cell",
        source=image.relative,
    )
    yield whole
    if request.crop is None:
        return
    kinds = {request.targets[key] for key in survey.uses}
    numbered = (
        survey.numbered and len(kinds - {class_map.BACKGROUND, class_map.IGNORE}) == 1
    )
    crops = find_crops(annotation, labels, values, request.crop, numbered=numbered)
    for number, crop in enumerate(crops, 1):
        x0, y0, x1, y1 = crop.box
        own = mask[y0:y1, x0:x1]
        if crop.label == class_map.OTHER_LABEL:  # its neighbours teach nothing
            own = np.where(own, IGNORE_LABEL, own)
        counts["cut"] += crop.cut
        counts["parts"] += crop.parts
        yield replace(
            whole,
            stem=f"{image.stem}_cell{number}",
            class_name=names[crop.label],
            image=np.ascontiguousarray(pixels[y0:y1, x0:x1]),
            mask=own,
            kind="cell",
            place=Place(image.stem, x0, y0, 1),
        )


def _majority(labels: np.ndarray) -> int | None:
    counts = np.bincount(labels.ravel(), minlength=IGNORE_LABEL + 1)
    counts[[BACKGROUND, IGNORE_LABEL]] = 0
    # Only a picture without any class is of class ``other``.
    counts[class_map.OTHER_LABEL] = counts[class_map.OTHER_LABEL] > 0
    return int(counts.argmax()) if counts.any() else None


def _cell_labels(labels: np.ndarray) -> list[int]:
    return np.setdiff1d(labels, (BACKGROUND, IGNORE_LABEL)).tolist()


def _folds(rows: list[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """Return five folds of (stem, group, class) rows, fewer of few groups."""
    groups = {stem: group for stem, group, _ in rows}
    classes = {stem: name for stem, _, name in rows}
    most = max(Counter(classes.values()).values())
    folds = min(FOLDS, len(set(groups.values())), most)
    if folds < 2 or _are_classes(row[1:] for row in rows):
        return {}
    made = grouped_folds(groups, classes, folds=folds)
    return {**made, "development": development_split(made)} if folds == FOLDS else made


@dataclass(frozen=True)
class Crop:
    """A cell in its field."""

    label: int  # class id
    box: Box  # the window around it, in field pixels
    cut: bool  # whether the cell is larger than the window
    parts: int = 0  # other things that are a part of it


@dataclass
class _Thing:
    """Something that may be a cell."""

    label: int
    box: Box
    inside: np.ndarray  # bool, in its box: where another thing is a part of it
    parts: int = 0

    def holds(self, other: _Thing) -> bool:
        """Tell whether another one of its class is a part of it."""
        (x0, y0, x1, y1), (a0, b0, a1, b1) = self.box, other.box
        inside = x0 <= a0 and y0 <= b0 and x1 >= a1 and y1 >= b1
        if self.label != other.label or not inside:
            return False
        window = np.s_[b0 - y0 : b1 - y0, a0 - x0 : a1 - x0]
        return bool((_filled(self.inside)[window] | ~other.inside).all())


def find_crops(
    annotation: Annotation,
    labels: np.ndarray,
    values: Mapping[str, int],
    size: int,
    *,
    numbered: bool = False,
) -> list[Crop]:
    """Return a window around every annotated cell, from the top to the bottom.

    Cells are the things that were drawn one by one, where the form of the annotation
    knows them, or the keys of a mask that are ``numbered``, which may touch; else the
    connected pieces of each class (8 neighbours). Those of a mask have at least
    ``MIN_CELL_PIXELS``. A thing that lies in another one of its class, such as a
    nucleus, is a part of that; of pieces, one whose box does. The square window of
    ``size`` pixels is moved to lie inside the field.

    Raises:
        DatasetError: if the field is smaller than the window.
    """
    height, width = labels.shape
    if size > min(height, width):
        raise DatasetError(
            f"crops of {size} pixels do not fit into {width}x{height}; use a smaller "
            "--crop, or none where every image shows one cell"
        )
    if numbered or annotation.instances is None:
        things = _things_of_mask(annotation, labels, values, numbered=numbered)
    else:
        things = [
            _Thing(
                values[key],
                box,
                labels[box[1] : box[3], box[0] : box[2]] == values[key],
            )
            for key, box in annotation.instances
        ]
    crops = []
    for cell in sorted(_outermost(things), key=lambda cell: cell.box[1::-1]):
        box = cell.box
        x0 = min(max(0, (box[0] + box[2] - size) // 2), width - size)
        y0 = min(max(0, (box[1] + box[3] - size) // 2), height - size)
        x1, y1 = x0 + size, y0 + size
        # A cell may be wholly painted over by others.
        if (labels[y0:y1, x0:x1] == cell.label).any():
            cut = max(box[2] - box[0], box[3] - box[1]) > size
            crops.append(Crop(cell.label, (x0, y0, x1, y1), cut, cell.parts))
    return crops


def _things_of_mask(
    annotation: Annotation,
    labels: np.ndarray,
    values: Mapping[str, int],
    *,
    numbered: bool,
) -> list[_Thing]:
    pixels, known = labels, {label: label for label in _cell_labels(labels)}
    if numbered:
        pixels = annotation.codes
        known = {code: values[key] for code, key in enumerate(annotation.keys, 1)}
    things = []
    for value, label in known.items():
        inside = (pixels == value).astype(np.uint8)
        if numbered:
            found = [(*cv2.boundingRect(inside), cv2.countNonZero(inside))]
        else:
            found = cv2.connectedComponentsWithStats(inside)[2][1:].tolist()
        for x, y, wide, tall, area in found:
            if area >= MIN_CELL_PIXELS:
                # The specks around a piece are parts of it.
                own = inside[y : y + tall, x : x + wide] > 0
                own = own if numbered else np.ones_like(own)
                things.append(_Thing(label, (x, y, x + wide, y + tall), own))
    return things


def _outermost(things: list[_Thing]) -> list[_Thing]:
    kept: list[_Thing] = []
    things = [t for t in things if t.label not in (BACKGROUND, IGNORE_LABEL)]
    for thing in sorted(things, key=_area, reverse=True):
        whole = next((other for other in kept if other.holds(thing)), None)
        if whole:
            whole.parts += 1
        else:
            kept.append(thing)
    return kept


def _area(thing: _Thing) -> int:
    x0, y0, x1, y1 = thing.box
    return (x1 - x0) * (y1 - y0)


def _filled(inside: np.ndarray) -> np.ndarray:
    """Return the connected piece that spans the most, with its holes."""
    filled = np.zeros(inside.shape, np.uint8)
    pieces, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    if pieces:
        largest = max(pieces, key=lambda piece: np.prod(cv2.boundingRect(piece)[2:]))
        cv2.drawContours(filled, [largest], 0, 1, cv2.FILLED)
    return filled > 0
