"""AHE-Retinex over a file or a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from leuko_mm.datasets.images import (
    CLOSED,
    ENHANCED_BY,
    IMAGE_SUFFIXES,
    ImageFileError,
    ImageSearch,
    read_image,
)
from leuko_mm.errors import UsageError
from leuko_mm.files import real_path, replacing
from leuko_mm.transforms import RetinexParams, enhance_image


def enhance_files(
    source: Path,
    out: Path,
    *,
    reading: str = "hsv",
    preset: str = "default",
    force: bool = False,
    progress: Callable[[int, int, Path], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[Path, str | None]:
    """Enhance an image or every image of a folder; one broken file stops no other.

    Args:
        out: for an image, a .png file or a folder; for a folder, a folder.
        reading, preset: see ``ahe_retinex`` and ``RetinexParams.preset``.
        progress: called with the files done, their number, and the next one.
        say: called with a line on what was left out.

    Returns:
        For each image None, or the reason why it could not be enhanced; a folder that
        cannot be opened is one of them.

    Raises:
        UsageError: before anything is written, if there is no image, or the output
            exists (and ``force`` is not set), does not fit, or is the input itself.
    """
    search = ImageSearch(avoid=out)
    plan = planned_outputs(source, out, search)
    _check_targets(plan, force=force)
    params = RetinexParams.preset(preset)
    outcome: dict[Path, str | None] = {}
    for done, (file, target) in enumerate(plan.items()):
        if progress:
            progress(done, len(plan), file)
        try:
            image = read_image(file)
            result = enhance_image(image, reading=reading, params=params)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_png(target, result)
            outcome[file] = None
        except (ImageFileError, MemoryError, OSError) as error:
            outcome[file] = str(error) or type(error).__name__
    for closed in search.left_out(CLOSED):
        outcome[closed] = "the folder cannot be opened"
    if say and (line := search.line(source.absolute())):
        say(line)
    return outcome


def planned_outputs(
    source: Path, out: Path, search: ImageSearch
) -> Mapping[Path, Path]:
    """Return the file to write for each file to read.

    ``a.jpg`` becomes ``a.png``; where two images of a folder differ in their suffix
    alone, ``a.jpg`` becomes ``a.jpg.png`` and ``a.tif`` ``a.tif.png``.

    Raises:
        UsageError: if there is no image, or the output does not fit the input.
    """
    if source.is_file():
        if not out.suffix or out.is_dir():
            return {source: out / f"{source.stem}.png"}
        if out.suffix.lower() != ".png":
            raise UsageError(f"{out}: only PNG is written; name it {out.stem}.png")
        return {source: out}
    if not source.is_dir():
        where = "" if source.is_absolute() else f" (looked in {Path.cwd()})"
        raise UsageError(f"{source} does not exist{where}")
    if out.is_file():
        raise UsageError(f"{out} is a file; a folder of images needs a folder")
    files = sorted(search.below(source))
    if not files:
        line = search.line(source.absolute())
        line = line and f"; {line}"
        raise UsageError(f"{source} holds no image ({', '.join(IMAGE_SUFFIXES)}){line}")
    bare = [file.relative_to(source).with_suffix("") for file in files]
    often = Counter(str(path).lower() for path in bare)
    plan = {}
    for file, path in zip(files, bare, strict=True):
        name = path.name if often[str(path).lower()] == 1 else file.name
        plan[file] = out / path.parent / f"{name}.png"
    return plan


def _check_targets(plan: Mapping[Path, Path], *, force: bool) -> None:
    targets = list(plan.values())
    inputs = {real_path(file) for file in plan}
    onto = [target for target in targets if real_path(target) in inputs]
    if onto:
        raise UsageError(
            f"{onto[0]} is itself to be read; originals are never replaced: choose "
            "another OUT"
        )
    doubled = [t for t, n in Counter(str(t).lower() for t in targets).items() if n > 1]
    if doubled:
        raise UsageError(f"{doubled[0]} would be written twice; rename an image")
    there = [target for target in targets if target.exists()]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UsageError(
            f"{there[0]}{more} exist(s) already; --force replaces, or choose another "
            "OUT"
        )


def _write_png(path: Path, image: np.ndarray) -> None:
    info = PngInfo()
    info.add_text("Software", ENHANCED_BY)
    with replacing(path) as part:
        Image.fromarray(image).save(part, "PNG", pnginfo=info)
