"""Find out the form and meaning of a user's annotations, without writing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.converters.folders.annotation import (
    Annotations,
    FoundImage,
    Reader,
    guess_map,
    named_target,
)
from leuko_mm.datasets.converters.folders.class_map import KeyUse
from leuko_mm.datasets.converters.folders.coco import coco_annotations, is_coco
from leuko_mm.datasets.converters.folders.masks import class_masks, value_masks
from leuko_mm.datasets.converters.folders.outlines import (
    geojson_reader,
    is_geojson,
    is_labelme,
    labelme_reader,
    load_json,
)
from leuko_mm.datasets.converters.folders.pairs import (
    ANNOTATION_SUFFIXES,
    divide_beside,
    found_images,
    list_files,
    match_masks,
    split_folder,
)
from leuko_mm.datasets.images import IMAGE_SUFFIXES, image_facts, read_image
from leuko_mm.datasets.prepared import DatasetError

EXPECTED = (
    "expected masks (PNG or the like) named as the images, a COCO file, or a JSON "
    "file an image of LabelMe or QuPath"
)


def find_annotated(
    images: Path, masks: Path | None
) -> tuple[list[FoundImage], Annotations]:
    """Return the images of a folder and their annotations, whatever form they have.

    Args:
        images: folder of the images, or of ``images/`` and ``masks/``.
        masks: folder or COCO file of the annotations; None looks beside the images.

    Raises:
        DatasetError: if there are none, or their form is not known or not clear.
    """
    images, place = split_folder(images, masks)
    pictures = list_files(images, IMAGE_SUFFIXES)
    if place.is_file():
        return _from_coco(images, pictures, place)
    texts = list_files(place, ANNOTATION_SUFFIXES)
    beside = place.resolve() == images.resolve()
    drawn = [] if beside else list_files(place, IMAGE_SUFFIXES)
    if texts and drawn:
        raise DatasetError(
            f"{place} holds masks ({drawn[0].name}) and JSON files ({texts[0].name}); "
            "which of them count? move the others elsewhere"
        )
    if texts:
        return _from_texts(images, pictures, place, texts)
    if beside:
        pictures, drawn = divide_beside(pictures)
    found = found_images(images, pictures)
    if not drawn:
        raise DatasetError(f"no annotations in {place}; {EXPECTED}")
    return found, _from_masks(place, drawn, found)


def _from_coco(images: Path, pictures: list[Path], place: Path):
    content = load_json(place)
    if not is_coco(content):
        raise DatasetError(
            f"{place} is no COCO file, which has images, annotations and categories; "
            "for one file an image give the folder that holds them"
        )
    found = found_images(images, pictures)
    return found, coco_annotations(place, content, found)


def _from_texts(images: Path, pictures: list[Path], place: Path, texts: list[Path]):
    first = load_json(texts[0])
    if is_coco(first):
        if len(texts) > 1:
            raise DatasetError(
                f"{place} holds {len(texts)} JSON files, the first of them of COCO; "
                f"give the one that counts: {texts[0]}"
            )
        return _from_coco(images, pictures, texts[0])
    reader: Callable[[Path], Reader]
    if is_labelme(first):
        words, reader = "LabelMe shapes", labelme_reader
    elif is_geojson(first):
        words, reader = "GeoJSON features (QuPath)", geojson_reader
    else:
        raise DatasetError(f"{texts[0]} is of no known form; {EXPECTED}")
    found = found_images(images, pictures)
    matched, unused = match_masks(place, texts, found)
    files = {key: _only(key, named) for key, named in matched.items()}
    readers = {key: reader(path) for key, path in files.items()}
    sources = {key: str(path) for key, path in files.items()}
    return found, Annotations(words, readers, sources, unused=unused)


def _only(key: str, named: dict[str, Path]) -> Path:
    if len(named) > 1:
        paths = ", ".join(map(str, named.values()))
        raise DatasetError(f"{paths} all annotate {key!r}; expected one file an image")
    return next(iter(named.values()))


def _from_masks(
    place: Path, drawn: list[Path], found: Sequence[FoundImage]
) -> Annotations:
    matched, unused = match_masks(place, drawn, found)
    if not matched:
        raise DatasetError(
            f"none of the {len(drawn)} masks in {place} is named as an image: "
            f"{drawn[0].name}, but {found[0].path.name}; {EXPECTED}"
        )
    words = {word for named in matched.values() for word in named}
    # One word that is everywhere says no more than `mask` does, but for a class.
    single = all(len(named) == 1 for named in matched.values())
    if single and len(words) == 1 and named_target(min(words)) is None:
        masks = {key: _only(key, named) for key, named in matched.items()}
        made = value_masks(masks)
    elif "" in words:
        key = next(key for key, named in matched.items() if "" in named)
        other = sorted(words - {""})[0]
        raise DatasetError(
            f"{matched[key]['']} names no class, and others name {other!r}; expected "
            "one mask an image, or a class in the name or folder of every mask"
        )
    else:
        made = class_masks(matched)
    return Annotations(made.words, made.readers, made.sources, made.colours, unused)


SHOWN = 3


@dataclass(frozen=True)
class Survey:
    """What was found in a user's folders.

    Args:
        images: those that are annotated, in order.
        annotations: of them.
        uses: every value, colour or label, and where it stands.
        guess: what each probably means; None where there is no guess.
        left_out: images and annotations that have no counterpart.
    """

    images: Sequence[FoundImage]
    annotations: Annotations
    uses: Mapping[str, KeyUse]
    guess: Mapping[str, str | None]
    left_out: Sequence[str]


def survey_folders(
    images: Path, masks: Path | None = None, *, skip_unpaired: bool = False
) -> Survey:
    """Find images and annotations, and read every annotation once.

    Args:
        images: folder of the images, or of ``images/`` and ``masks/``.
        masks: folder or COCO file of the annotations; None looks beside the images.
        skip_unpaired: leave out what has no counterpart, and say so.

    Raises:
        DatasetError: if files are missing, unreadable, of another size than their
            image, or without a counterpart.
    """
    found, annotations = find_annotated(Path(images), Path(masks) if masks else None)
    annotated = [image for image in found if image.key in annotations.readers]
    bare = [str(image.path) for image in found if image.key not in annotations.readers]
    left_out = [*bare, *annotations.unused]
    if not annotated or (left_out and not skip_unpaired):
        raise DatasetError(_unpaired(found, bare, annotations.unused))
    uses = _count_keys(annotated, annotations)
    keys = sorted(uses, key=lambda key: (not key.isdecimal(), len(key), key))
    guess = guess_map(keys, annotations.colours, [i.relative for i in annotated])
    ordered = {key: uses[key] for key in keys}
    return Survey(annotated, annotations, ordered, guess, left_out)


def _unpaired(found: Sequence, bare: Sequence[str], unused: Sequence[str]) -> str:
    parts = []
    if bare:
        parts.append(
            f"{len(bare)} of {len(found)} images have no annotation "
            f"({', '.join(bare[:SHOWN])}{', ...' if len(bare) > SHOWN else ''})"
        )
    if unused:
        parts.append(
            f"{len(unused)} annotations have no image "
            f"({', '.join(unused[:SHOWN])}{', ...' if len(unused) > SHOWN else ''})"
        )
    return (
        f"{' and '.join(parts)}; an annotation is named as its image; complete them, "
        "or leave them out with --skip-unpaired"
    )


def _count_keys(
    images: Sequence[FoundImage], annotations: Annotations
) -> dict[str, KeyUse]:
    uses: dict[str, KeyUse] = {}
    for image in images:
        height, width = size_of(image.path)
        annotation = annotations.readers[image.key](height, width)
        source = annotations.sources[image.key]
        for key, pixels in annotation.pixels().items():
            former = uses.get(key, KeyUse(0, 0, _file(source, image)))
            uses[key] = KeyUse(former.pixels + pixels, former.files + 1, former.first)
    if not uses:
        raise DatasetError(
            f"nothing is annotated in {len(images)} images, first "
            f"{annotations.sources[images[0].key]}"
        )
    return uses


def _file(source: str, image: FoundImage) -> str:
    """Name the annotation, and the image too where one file holds all of them."""
    return f"{source} ({image.relative})" if source.endswith("json") else source


def size_of(path: Path) -> tuple[int, int]:
    """Return the height and width of an image as it stands upright."""
    facts = image_facts(path)
    if facts.turned:
        return read_image(path).shape[:2]
    return facts.height, facts.width
