"""AHE-Retinex over a file or a folder: what is read, what is written where."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from leuko_mm.datasets.images import SUFFIXES, ImageFileError, read_image
from leuko_mm.errors import UsageError
from leuko_mm.files import replacing
from leuko_mm.report.overlay import side_by_side
from leuko_mm.transforms import RetinexParams, enhance_image

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
READ = frozenset(suffix for name in FORMATS for suffix in SUFFIXES[name])
BESIDE = "_side_by_side"


@dataclass
class EnhanceOutcome:
    """What came of each file.

    Attributes:
        written: pictures made, side-by-side ones not counted.
        failed: file and what is wrong with it.
    """

    written: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EnhanceRequest:
    """What to enhance, how, and where to.

    Attributes:
        source: an image or a folder of images.
        out: for an image, a .png file or a folder; for a folder, a folder.
        reading: see ``ahe_retinex``.
        preset: see ``retinex_params.PRESETS``.
        recursive: whether folders in the folder are entered; ``out`` repeats them.
        beside: whether a picture of the original beside its result is written too.
        force: whether files that exist are replaced.
    """

    source: Path
    out: Path
    reading: str = "hsv"
    preset: str = "default"
    recursive: bool = False
    beside: bool = False
    force: bool = False


def enhance_files(
    request: EnhanceRequest, *, progress: Callable[[int, int, Path], None] | None = None
) -> EnhanceOutcome:
    """Enhance an image or every image of a folder; one broken file stops no other.

    Each picture appears whole or not at all. Nothing is written before it is clear
    that nothing would be overwritten.

    Args:
        request: what to do.
        progress: called with the files done, their number, and the next one.

    Raises:
        UsageError: if there is no image, the output cannot be written, exists (and
            ``force`` is not set), or is the input itself.
    """
    plan = planned_outputs(request)
    refuse_overwriting(request, plan)
    params = RetinexParams.preset(request.preset)
    outcome = EnhanceOutcome()
    for i, (file, target) in enumerate(plan.items()):
        if progress:
            progress(i, len(plan), file)
        try:
            image = read_image(file)
            result = enhance_image(image, reading=request.reading, params=params)
            target.parent.mkdir(parents=True, exist_ok=True)
            if request.beside:
                write_png(beside(target), side_by_side([image, result]))
            write_png(target, result)
        except (ImageFileError, MemoryError, OSError) as error:
            outcome.failed[file] = str(error) or type(error).__name__
        else:
            outcome.written.append(target)
    return outcome


def planned_outputs(request: EnhanceRequest) -> Mapping[Path, Path]:
    """Return the file to write for each file to read.

    ``a.jpg`` becomes ``a.png``; where two images of a folder differ in their ending
    alone, ``a.jpg`` becomes ``a.jpg.png`` and ``a.tif`` ``a.tif.png``.

    Raises:
        UsageError: if there is no image, or the output does not fit the input.
    """
    source, out = Path(request.source), Path(request.out)
    if source.is_file():
        if out.suffix and not out.is_dir():
            if out.suffix.lower() != ".png":
                raise UsageError(f"{out}: only PNG is written; name it {out.stem}.png")
            return {source: out}
        return {source: out / f"{source.stem}.png"}
    if not source.is_dir():
        raise UsageError(f"{source} does not exist{_where(source)}")
    if out.is_file():
        raise UsageError(f"{out} is a file; a folder of images needs a folder")
    files = sorted(images_below(source, request.recursive, leave_out=out))
    if not files:
        deeper = "" if request.recursive else "; --recursive enters its folders"
        raise UsageError(f"{source} holds no image ({', '.join(sorted(READ))}){deeper}")
    bare = [file.relative_to(source).with_suffix("") for file in files]
    often = Counter(str(path).lower() for path in bare)
    plan = {}
    for file, path in zip(files, bare, strict=True):
        alone = often[str(path).lower()] == 1
        name = path.name if alone else file.name
        plan[file] = out / path.parent / f"{name}.png"
    return plan


def images_below(folder: Path, recursive: bool, *, leave_out: Path) -> Iterable[Path]:
    """Yield a folder's images by their endings; hidden ones and links to folders not.

    Args:
        folder: where to look.
        recursive: whether to look in its folders too.
        leave_out: a folder that is not entered.
    """
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if recursive
            and not name.startswith(".")
            and (Path(here) / name).resolve() != leave_out.resolve()
        ]
        for name in names:
            if Path(name).suffix.lower() in READ and not name.startswith("."):
                yield Path(here) / name


def refuse_overwriting(request: EnhanceRequest, plan: Mapping[Path, Path]) -> None:
    """Raise a UsageError where an output is an input, doubled, or there already."""
    targets = list(plan.values())
    if request.beside:
        targets += [beside(target) for target in plan.values()]
    inputs = {file.resolve() for file in plan}
    onto = [target for target in targets if target.resolve() in inputs]
    if onto:
        raise UsageError(
            f"{onto[0]} is itself to be read; originals are never replaced: choose "
            "another OUT"
        )
    doubled = [t for t, n in Counter(str(t).lower() for t in targets).items() if n > 1]
    if doubled:
        raise UsageError(f"{doubled[0]} would be written twice; rename an image")
    there = [target for target in targets if target.exists()]
    if there and not request.force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            f"{there[0]}{more} exist(s) already; --force replaces, or choose another "
            "OUT"
        )


def beside(target: Path) -> Path:
    """Return where the picture of original and result goes.

    Example:
        >>> beside(Path("out/a.png")).as_posix()
        'out/a_side_by_side.png'
    """
    return target.with_name(f"{target.stem}{BESIDE}.png")


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) uint8 RGB, so that the file is there whole or not."""
    with replacing(path) as part:
        Image.fromarray(image).save(part, "PNG")


def _where(path: Path) -> str:
    return "" if path.is_absolute() else f" (looked in {Path.cwd()})"
