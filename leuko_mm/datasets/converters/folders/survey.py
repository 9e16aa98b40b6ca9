"""Find out the form and meaning of a user's annotations, without writing.

Three kinds of masks look like classes by their values alone: cells that are numbered,
a nucleus and its cytoplasm, and masks whose background is marked instead of the cells.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from leuko_mm.datasets.converters.folders import (
    coco,
    labelme_qupath,
    pairs,
    yolo,
)
from leuko_mm.datasets.converters.folders.annotation import (
    Annotation,
    Annotations,
    Reader,
    SourceImage,
    box_of,
)
from leuko_mm.datasets.converters.folders.class_map import (
    BACKGROUND,
    IGNORE,
    KeyUse,
    guess_map,
    label_target,
)
from leuko_mm.datasets.converters.folders.masks import (
    class_masks,
    value_masks,
)
from leuko_mm.datasets.images import IMAGE_SUFFIXES, image_facts, read_image
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.files import real_path

ONE_PIECE = 0.8  # share of a value's pixels in its largest piece; the rest are specks
MOST = 0.9  # of the values
SPECK = 0.1  # of the usual size in an image; smaller values are no cells
UNLIKELY = 0.1
AROUND = 0.6  # share of a value's outer edge that another value has if it lies inside
FRAME = 0.8  # share of an image's edge that only a background has


class ShapeEvidence:
    """Shapes of each key over all masks; of outlines, only how many have a number."""

    def __init__(self) -> None:
        self._pieces: list[dict[str, float]] = []  # key -> share of the largest piece
        self._edges: dict[str, Counter] = defaultdict(Counter)  # key -> key around it
        self._framed: dict[str, str] = {}  # key -> a file that it frames

    def add(self, annotation: Annotation, file: str) -> None:
        """Look at one mask."""
        if annotation.instances is not None:
            drawn = Counter(key for key, _ in annotation.instances if key.isdecimal())
            self._pieces.append({key: 1 / count for key, count in drawn.items()})
            return
        codes, names = annotation.codes, ("", *annotation.keys)
        rims = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
        pieces, areas = {}, {}
        for code, name in enumerate(annotation.keys, 1):
            inside = codes == code
            if name in ("0", "#000000") or not inside.any():
                continue
            if (rims == code).mean() >= FRAME and inside.mean() > 0.5:
                self._framed.setdefault(name, file)
            x0, y0, x1, y1 = box_of(inside)
            near = codes[max(0, y0 - 1) : y1 + 1, max(0, x0 - 1) : x1 + 1]
            inside = (near == code).astype(np.uint8)
            found = cv2.connectedComponentsWithStats(inside)[2][1:, cv2.CC_STAT_AREA]
            pieces[name], areas[name] = found.max() / found.sum(), found.sum()
            edge = cv2.dilate(inside, np.ones((3, 3), np.uint8)) > inside
            around = np.bincount(near[edge], minlength=len(names)).tolist()
            self._edges[name].update(dict(zip(names, around, strict=True)))
        least = SPECK * np.median(list(areas.values())) if areas else 0
        self._pieces.append({k: p for k, p in pieces.items() if areas[k] >= least})

    def numbers_cells(self) -> bool:
        """Tell whether values number cells: each is one piece of its image.

        Each image counts from 1, or classes would hardly be so different by chance.
        """
        files = [pieces for pieces in self._pieces if pieces]
        keys = {key for pieces in files for key in pieces}
        shares = np.array([share for pieces in files for share in pieces.values()])
        if len(keys) < 2 or not all(key.isdecimal() for key in keys):
            return False
        if np.mean(shares >= ONE_PIECE) < MOST or 5 * len(self._nested()) >= len(keys):
            return False
        counts = [len(pieces) for pieces in files]
        if counts == [max(map(int, pieces)) for pieces in files]:
            return True
        if sum(counts) == len(keys) > len(counts):
            counts = [len(keys)]  # no value is there twice at all
        chance = np.prod([np.prod(1 - np.arange(n) / len(keys)) for n in counts])
        return bool(chance < UNLIKELY)

    def against(self, guess: Mapping[str, str | None]) -> tuple[list[str], set[str]]:
        """Return what contradicts a guess, in words, and the keys that it is about."""
        cells = {k for k, target in guess.items() if target not in (BACKGROUND, IGNORE)}
        said, doubted = [], set()
        for key in sorted(cells & self._framed.keys()):
            said.append(
                f"{key!r} is at the edges of {self._framed[key]}, as a background is: "
                "are masks inverted?"
            )
            doubted |= {key, "0", "#000000"} & guess.keys()
        for inner, outer in self._nested():
            if {inner, outer} <= cells - doubted and guess[inner] != guess[outer]:
                said.append(
                    f"{inner!r} lies inside {outer!r}, as a nucleus in its cytoplasm: "
                    "give both the same class"
                )
                doubted |= {inner, outer}
        return said, doubted

    def _nested(self) -> list[tuple[str, str]]:
        return [
            (inner, outer)
            for inner, edges in self._edges.items()
            for outer, pixels in edges.items()
            if outer in self._edges.keys() - self._framed.keys()
            and pixels >= AROUND * max(1, edges.total())
        ]


EXPECTED = (
    "expected masks (PNG or the like) named as the images; files of COCO; or one file "
    "an image of LabelMe, QuPath or YOLO segmentation"
)
CHANNELS = "; join nnU-Net's files of one channel each (_0001, ...) to RGB images"
# A key in JSON files of other programs -> what they are, and what to export instead.
OTHER_FORMS = {
    "_via_settings": "a project of VIA; export its annotations as COCO",
    "regions": "regions of VIA; export its annotations as COCO",
    "objects": "objects, as Supervisely has them; export COCO or masks",
    "bbox": "results of COCO without its images; give the file that has all tables",
    "result": "a task of Label Studio; export COCO, or masks where a brush was used",
    "annotator": "tasks of Label Studio; export COCO, or masks where a brush was used",
    "data": "tasks of Label Studio; export COCO, or masks where a brush was used",
}
SHOWN = 3
MANY_VALUES = 30
MANY, CORNER = 5, 0.52  # outlines, and the share of the sides that they keep to
SIDE, FILLED = 8, 0.9  # pixels of a box, and the share of it that no cell fills


@dataclass(frozen=True)
class Survey:
    """What was found in a user's folders."""

    images: Sequence[SourceImage]  # those that are annotated, in order
    annotations: Annotations
    uses: Mapping[str, KeyUse]  # every value, colour or label, and where it is
    guess: Mapping[str, str | None]  # what each probably means; None without a guess
    left_out: Sequence[str]  # images and annotations that have no counterpart
    remarks: Sequence[str] = ()  # what the annotations' shapes say
    numbered: bool = False  # whether the values of masks number cells


def survey_folders(
    images: Path,
    masks: Path | None = None,
    *,
    skip_unpaired: bool = False,
) -> Survey:
    """Find images and annotations, and read every annotation once.

    Args:
        images: folder of the images, or of ``images/`` and ``masks/``.
        masks: folder or file of the annotations; None looks in folders of usual names
            and beside the images.
        skip_unpaired: leave out what has no counterpart.

    Raises:
        DatasetError: if files are missing, unreadable, of another size than their
            image, or without a counterpart, or if their form is not known.
    """
    found, annotations, unread = _find_annotated(
        Path(images), Path(masks) if masks else None
    )
    annotated = [image for image in found if image.name in annotations.readers]
    bare = [str(image.path) for image in found if image.name not in annotations.readers]
    left_out = [*bare, *annotations.unused]
    if not annotated or (left_out and not skip_unpaired):
        raise DatasetError(_unpaired(len(found), bare, annotations.unused))
    evidence = ShapeEvidence()
    uses, cut = _count_keys(annotated, annotations, evidence)
    numbered = evidence.numbers_cells()
    names = [image.relative for image in annotated]
    guess = guess_map(uses, annotations.colours, names, numbered=numbered)
    remarks, doubted = evidence.against(guess)
    guess.update(dict.fromkeys(doubted))
    if numbered:
        remarks.insert(0, "the values number cells: each is one piece of its image")
    if len(uses) > MANY_VALUES and annotations.files and not numbered:
        remarks.append("were the masks resized, or a JPEG once? export them as PNG")
    if unread:
        remarks.append(f"not read: the folders {', '.join(unread)}")
    if cut:
        remarks.append(
            f"outlines are cut, covered or hold no pixel: {', '.join(cut[:SHOWN])}"
        )
    return Survey(annotated, annotations, uses, guess, left_out, remarks, numbered)


def _find_annotated(
    images: Path, masks: Path | None
) -> tuple[list[SourceImage], Annotations, list[str]]:
    """Return images, annotations, and folders of usual names that are not read."""
    place = pairs.find_place(images, masks)
    tries, error = [([place], True)], None
    if masks is None and place.masks == images:
        tries = [([place], False), (pairs.usual_places(images), True), ([place], True)]
    for places, others in tries:
        try:
            found = places and _look(places, others=others)
        except DatasetError as failed:
            # A JSON file beside folders of usual names may be of something else.
            if others or not tries[1][0]:
                raise
            found, error = None, failed
        if found:
            return *found, sorted({name for p in places for name in p.unread})
    if error:
        raise error
    there = Counter(p.suffix.lower() for p in place.masks.rglob("*") if p.is_file())
    kinds = ", ".join(f"{count} {kind}" for kind, count in there.most_common(SHOWN))
    more = pairs.folders_there(images) if masks is None else ""
    raise DatasetError(
        f"no annotations in {place.masks}, which has {kinds or 'no'} files{more}; "
        f"{EXPECTED}"
    )


def _look(
    places: Sequence[pairs.FolderPair], *, others: bool
) -> tuple[list[SourceImage], Annotations] | None:
    """Return images and annotations of places; XML and text only with ``others``."""
    pictures, drawn, texts, beside = [], [], [], False
    for place in places:
        paths, masks = pairs.list_files(place.images, IMAGE_SUFFIXES), []
        if place.masks.is_file():
            found = [place.masks]
            if place.masks.suffix.lower() in (*IMAGE_SUFFIXES, ".yaml", ".yml"):
                raise DatasetError(
                    f"{place.masks} is a file; give the folder of labels"
                )
        else:
            beside = real_path(place.masks) == real_path(place.images)
            listed = partial(pairs.list_files, place.masks, own_results=not beside)
            found = listed(pairs.JSON_SUFFIXES)
            if not beside:
                masks = listed(IMAGE_SUFFIXES)
            elif not found:
                paths, masks = pairs.divide_beside(paths)
            if others and not (found or masks):
                found = listed((".xml",)) or yolo.labels(listed((".txt",)), paths)
                # Beside the images any text may lie.
                names = {path.with_suffix("") for path in paths}
                if beside and found and found[0].suffix.lower() == ".txt":
                    found = [path for path in found if path.with_suffix("") in names]
        pictures += place.named(place.images, paths)
        drawn += place.named(place.masks, masks)
        texts += place.named(place.masks, found)
    if texts and drawn:
        raise DatasetError(
            f"{place.masks} holds masks ({drawn[0][1].name}) and other files "
            f"({texts[0][1].name}); which of them count? move the others elsewhere"
        )
    if pictures and not (texts or drawn):
        return None
    channel = pairs.channel_of(pictures, drawn)
    images = pairs.source_images(places[0].images, pictures, channel=channel)
    if drawn:
        return images, _from_masks(places[-1].masks, drawn, images)
    return images, _from_texts(places[-1].masks, texts, images)


def _from_texts(
    place: Path, texts: Sequence[tuple[str, Path]], found: Sequence[SourceImage]
) -> Annotations:
    path = texts[0][1]
    if path.suffix.lower() == ".txt":
        folders = sorted({path.parent for _, path in texts})
        named: dict[tuple[str, ...], tuple[Path, str]] = {}
        for folder in [place, *folders] if place.is_dir() else folders:
            names, file = yolo.class_names(folder)
            named.setdefault(tuple(names), (folder, file))
        unnamed = named.pop((), (place, "no file"))
        if len(named) > 1:
            places = " and ".join(str(folder) for folder, _ in named.values())
            raise DatasetError(
                f"the class names of the labels in {places} differ; move away those "
                "that are wrong, or prepare each folder as a dataset of its own"
            )
        names, (_, file) = next(iter(named.items()), ([], unnamed))
        read = partial(yolo.yolo_reader, list(names))
        return _from_files(f"YOLO outlines, classes of {file}", texts, found, read)
    if path.suffix.lower() == ".xml":
        raise DatasetError(
            f"{path} is XML, as CVAT and Pascal VOC write; export COCO or masks"
        )
    first = labelme_qupath.load_json(path)
    if coco.is_coco(first):
        return _from_coco(texts, found)
    if labelme_qupath.is_labelme(first):
        form, reader = "LabelMe shapes", labelme_qupath.labelme_reader
    elif labelme_qupath.is_geojson(first):
        form, reader = "GeoJSON features (QuPath)", labelme_qupath.geojson_reader
    else:
        raise DatasetError(f"{path} {_other_form(first)}; {EXPECTED}")
    if place.is_file():
        raise DatasetError(
            f"{place} is no COCO file, but annotates one image ({form}); give the "
            "folder that holds such files"
        )
    sized = reader is labelme_qupath.labelme_reader
    return replace(_from_files(form, texts, found, reader), sized=sized)


def _other_form(content: object) -> str:
    if isinstance(content, dict) and (content.keys() & set(coco.TABLES)):
        bad = [t for t in coco.TABLES if not isinstance(content.get(t), list)]
        return f"is no COCO file: its {bad[0]!r} is missing, or no list"
    inner = list(content.values()) if isinstance(content, dict) else content
    first = inner[:1] if isinstance(inner, list) else []
    for entry in (content, *first):
        for key, form in OTHER_FORMS.items():
            if isinstance(entry, dict) and key in entry:
                return f"holds {form}"
    return "is of no known form"


def _from_coco(
    texts: Sequence[tuple[str, Path]], found: Sequence[SourceImage]
) -> Annotations:
    listed, sized = [], True
    for relative, path in texts:
        content = labelme_qupath.load_json(path)
        if not coco.is_coco(content):
            raise DatasetError(
                f"{path} is no COCO file, as {texts[0][1]} is; move it away, or give "
                "the file that counts"
            )
        folder = "".join(relative.rpartition("/")[:2])
        listed += [(path, folder, *each) for each in coco.coco_images(path, content)]
        sized = sized and coco.is_sized(content)
    readers, sources, unused = pairs.match_listed(listed, found)
    files = path.name if len(texts) == 1 else f"{len(texts)} files"
    form = f"COCO polygons or run lengths ({files})"
    return Annotations(form, readers, sources, unused=unused, sized=sized)


def _from_files(
    form: str,
    texts: Sequence[tuple[str, Path]],
    found: Sequence[SourceImage],
    reader: Callable[[Path], Reader],
) -> Annotations:
    """Return the annotations of one file an image."""
    matched, unused = pairs.match_masks(texts, found)
    files = {name: _only(name, paths) for name, paths in matched.items()}
    readers = {name: reader(path) for name, path in files.items()}
    sources = {name: str(path) for name, path in files.items()}
    return Annotations(form, readers, sources, unused=unused, sized=False)


def _only(name: str, paths: Mapping[str, Path]) -> Path:
    if len(paths) > 1:
        files = ", ".join(map(str, paths.values()))
        raise DatasetError(f"{files} all annotate {name!r}; expected one file an image")
    return next(iter(paths.values()))


def _from_masks(
    place: Path,
    drawn: Sequence[tuple[str, Path]],
    found: Sequence[SourceImage],
) -> Annotations:
    matched, unused = pairs.match_masks(drawn, found)
    if not matched:
        raise DatasetError(
            f"none of the {len(drawn)} masks in {place} is named as an image: "
            f"{drawn[0][1].name}, but {found[0].path.name}; {EXPECTED}"
            f"{CHANNELS if any(i.name.endswith('_0001') for i in found) else ''}"
        )
    words = {word for paths in matched.values() for word in paths}
    single = all(len(paths) == 1 for paths in matched.values())
    # One word that all masks have says no more than `mask` does, unless it is a class.
    if single and len(words) == 1 and label_target(min(words)) is None:
        made = value_masks({name: _only(name, p) for name, p in matched.items()})
    elif "" in words:
        nameless = next(paths[""] for paths in matched.values() if "" in paths)
        raise DatasetError(
            f"{nameless} names no class, and others name {min(words - {''})!r}; "
            "expected one mask an image, or a class in the name or folder of every mask"
        )
    else:
        made = class_masks(matched)
    return replace(made, unused=unused)


def _unpaired(images: int, bare: Sequence[str], unused: Sequence[str]) -> str:
    parts = [
        f"{len(paths)} {what} ({', '.join(paths[:SHOWN])}"
        f"{', ...' if len(paths) > SHOWN else ''})"
        for paths, what in (
            (bare, f"of {images} images have no annotation"),
            (unused, "annotations have no image"),
        )
        if paths
    ]
    return (
        f"{' and '.join(parts)}; an annotation is named as its image; complete them, "
        "or leave them out with --skip-unpaired"
    )


def _count_keys(
    images: Sequence[SourceImage], annotations: Annotations, evidence: ShapeEvidence
) -> tuple[dict[str, KeyUse], list[str]]:
    """Return where each key is, and which images cut what is drawn on them.

    Keys are sorted: numbers by value, then texts, shorter ones first.
    """
    uses: dict[str, KeyUse] = {}
    cut: list[str] = []
    ends: list[tuple[float, float]] = []
    boxes = 0
    for image in images:
        height, width = _upright_size(image, annotations)
        source = annotations.sources[image.name]
        if source.endswith("json"):  # one file may hold all images
            source += f" ({image.relative})"
        annotation = annotations.readers[image.name](height, width)
        evidence.add(annotation, source)
        if annotation.cut:
            cut.append(f"{annotation.cut} of {image.relative}")
        for key, (x0, y0, x1, y1) in annotation.instances or ():
            ends.append((x1 / width, y1 / height))
            inside = annotation.codes[y0:y1, x0:x1] == annotation.keys.index(key) + 1
            boxes += _is_box(inside)
        for key, pixels in annotation.pixels().items():
            former = uses.get(key, KeyUse(0, 0, source))
            uses[key] = KeyUse(former.pixels + pixels, former.files + 1, former.first)
    if not uses:
        raise DatasetError(
            f"nothing is annotated in {len(images)} images, first "
            f"{annotations.sources[images[0].name]}"
        )
    right, bottom = np.max(ends, axis=0) if ends else (1, 1)
    if len(ends) >= MANY and max(right, bottom) <= CORNER:
        raise DatasetError(
            f"all {len(ends)} outlines lie in the upper left quarter of their images, "
            f"first {annotations.sources[images[0].name]}; they seem drawn on smaller "
            "images: scale them to the pixels of these"
        )
    if MANY <= len(ends) == boxes:
        raise DatasetError(
            f"all {boxes} outlines are rectangles, first "
            f"{annotations.sources[images[0].name]}; boxes have no outline of a cell: "
            "export polygons or masks"
        )
    order = sorted(uses, key=lambda key: (not key.isdecimal(), len(key), key))
    return {key: uses[key] for key in order}, cut


def _is_box(inside: np.ndarray) -> bool:
    """Tell whether pixels fill a rectangle, also a rotated one; not if it is tiny."""
    points = cv2.findNonZero(inside.astype(np.uint8))
    sides = np.array(cv2.minAreaRect(points)[1] if inside.any() else (0, 0)) + 1
    return bool(sides.min() >= SIDE and len(points) >= FILLED * sides.prod())


def _upright_size(image: SourceImage, annotations: Annotations) -> tuple[int, int]:
    """Return height and width; refuse an annotation that may not be turned alike."""
    facts = image_facts(image.path)
    masks = annotations.files.get(image.name, ())
    for other in [image_facts(path).orientation for path in masks] or [1]:
        both = sorted((facts.orientation, other))
        # Where one of them lies on its side, their sizes differ, and are compared.
        lying = both[0] == 1 and both[1] > 4 and facts.height != facts.width
        if other != facts.orientation and not (lying and annotations.sized):
            raise DatasetError(
                f"{image.path} has the EXIF orientation {facts.orientation}, but "
                f"{annotations.sources[image.name]} has {other} (1: none), so that "
                "one may be turned against the other; if it was drawn on the stored "
                "pixels, remove the tag (exiftool -Orientation= FILE), else turn the "
                "pixels (mogrify -auto-orient FILE)"
            )
    if facts.turned:
        return read_image(image.path).shape[:2]
    return facts.height, facts.width
