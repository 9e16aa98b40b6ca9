"""Find out the form and meaning of a user's annotations, without writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from leuko_mm.datasets.converters.folders import coco, labelme_qupath, pairs
from leuko_mm.datasets.converters.folders.annotation import Annotations, SourceImage
from leuko_mm.datasets.converters.folders.class_map import (
    KeyUse,
    guess_map,
    label_target,
)
from leuko_mm.datasets.converters.folders.masks import class_masks, value_masks
from leuko_mm.datasets.images import IMAGE_SUFFIXES, image_facts, read_image
from leuko_mm.datasets.prepared import DatasetError

EXPECTED = (
    "expected masks (PNG or the like) named as the images, a COCO file, or a JSON "
    "file an image of LabelMe or QuPath"
)
SHOWN = 3


@dataclass(frozen=True)
class Survey:
    """What was found in a user's folders."""

    images: Sequence[SourceImage]  # those that are annotated, in order
    annotations: Annotations
    uses: Mapping[str, KeyUse]  # every value, colour or label, and where it is
    guess: Mapping[str, str | None]  # what each probably means; None without a guess
    left_out: Sequence[str]  # images and annotations that have no counterpart


def survey_folders(
    images: Path, masks: Path | None = None, *, skip_unpaired: bool = False
) -> Survey:
    """Find images and annotations, and read every annotation once.

    Args:
        images: folder of the images, or of ``images/`` and ``masks/``.
        masks: folder or COCO file of the annotations; None looks beside the images.
        skip_unpaired: leave out what has no counterpart.

    Raises:
        DatasetError: if files are missing, unreadable, of another size than their
            image, or without a counterpart, or if their form is not known.
    """
    found, annotations = _find_annotated(Path(images), Path(masks) if masks else None)
    annotated = [image for image in found if image.name in annotations.readers]
    bare = [str(image.path) for image in found if image.name not in annotations.readers]
    left_out = [*bare, *annotations.unused]
    if not annotated or (left_out and not skip_unpaired):
        raise DatasetError(_unpaired(len(found), bare, annotations.unused))
    uses = _count_keys(annotated, annotations)
    guess = guess_map(uses, annotations.colours, [i.relative for i in annotated])
    return Survey(annotated, annotations, uses, guess, left_out)


def _find_annotated(
    images: Path, masks: Path | None
) -> tuple[list[SourceImage], Annotations]:
    images, place = pairs.find_folders(images, masks)
    pictures = pairs.list_files(images, IMAGE_SUFFIXES)
    beside = place.resolve() == images.resolve()
    drawn = []
    if place.is_file():
        texts = [place]
    else:
        listed = partial(pairs.list_files, place, own_results=not beside)
        texts = listed(pairs.JSON_SUFFIXES)
        drawn = [] if beside else listed(IMAGE_SUFFIXES)
    if texts and drawn:
        raise DatasetError(
            f"{place} holds masks ({drawn[0].name}) and JSON files ({texts[0].name}); "
            "which of them count? move the others elsewhere"
        )
    if beside and not texts:
        pictures, drawn = pairs.divide_beside(pictures)
    found = pairs.source_images(images, pictures)
    if texts:
        return found, _from_json(place, texts, found)
    if drawn:
        return found, _from_masks(place, drawn, found)
    raise DatasetError(f"no annotations in {place}; {EXPECTED}")


def _from_json(
    place: Path, texts: list[Path], found: Sequence[SourceImage]
) -> Annotations:
    first = labelme_qupath.load_json(texts[0])
    if coco.is_coco(first):
        if len(texts) > 1:
            raise DatasetError(
                f"{place} holds {len(texts)} JSON files, the first of them of COCO; "
                f"give the one that counts: {texts[0]}"
            )
        return coco.coco_annotations(texts[0], first, found)
    if place.is_file():
        raise DatasetError(
            f"{place} is no COCO file, which has images, annotations and categories; "
            "for one file an image give the folder that holds them"
        )
    if labelme_qupath.is_labelme(first):
        form, reader = "LabelMe shapes", labelme_qupath.labelme_reader
    elif labelme_qupath.is_geojson(first):
        form, reader = "GeoJSON features (QuPath)", labelme_qupath.geojson_reader
    else:
        raise DatasetError(f"{texts[0]} is of no known form; {EXPECTED}")
    matched, unused = pairs.match_masks(place, texts, found)
    files = {name: _only(name, paths) for name, paths in matched.items()}
    readers = {name: reader(path) for name, path in files.items()}
    sources = {name: str(path) for name, path in files.items()}
    return Annotations(form, readers, sources, unused=unused)


def _only(name: str, paths: Mapping[str, Path]) -> Path:
    if len(paths) > 1:
        told = ", ".join(map(str, paths.values()))
        raise DatasetError(f"{told} all annotate {name!r}; expected one file an image")
    return next(iter(paths.values()))


def _from_masks(
    place: Path, drawn: list[Path], found: Sequence[SourceImage]
) -> Annotations:
    matched, unused = pairs.match_masks(place, drawn, found)
    if not matched:
        raise DatasetError(
            f"none of the {len(drawn)} masks in {place} is named as an image: "
            f"{drawn[0].name}, but {found[0].path.name}; {EXPECTED}"
        )
    words = {word for paths in matched.values() for word in paths}
    single = all(len(paths) == 1 for paths in matched.values())
    # One word that all masks have says no more than `mask` does, unless it is a class.
    if single and len(words) == 1 and label_target(min(words)) is None:
        made = value_masks(
            {name: _only(name, paths) for name, paths in matched.items()}
        )
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
    images: Sequence[SourceImage], annotations: Annotations
) -> dict[str, KeyUse]:
    """Return where each key is: numbers by value, then texts, shorter ones first."""
    uses: dict[str, KeyUse] = {}
    for image in images:
        height, width = _upright_size(image.path)
        source = annotations.sources[image.name]
        if source.endswith("json"):  # one file may hold all images
            source += f" ({image.relative})"
        annotation = annotations.readers[image.name](height, width)
        for key, pixels in annotation.pixels().items():
            former = uses.get(key, KeyUse(0, 0, source))
            uses[key] = KeyUse(former.pixels + pixels, former.files + 1, former.first)
    if not uses:
        raise DatasetError(
            f"nothing is annotated in {len(images)} images, first "
            f"{annotations.sources[images[0].name]}"
        )
    order = sorted(uses, key=lambda key: (not key.isdecimal(), len(key), key))
    return {key: uses[key] for key in order}


def _upright_size(path: Path) -> tuple[int, int]:
    facts = image_facts(path)
    if facts.turned:
        return read_image(path).shape[:2]
    return facts.height, facts.width
