"""Look at a user's folders without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.datasets.converters.folders_annotation import Annotations, FoundImage
from leuko_mm.datasets.converters.folders_forms import find_annotated
from leuko_mm.datasets.converters.folders_guess import guess_map
from leuko_mm.datasets.converters.folders_map import KeyUse
from leuko_mm.datasets.image_files import image_facts, read_image
from leuko_mm.datasets.prepared import DatasetError

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
