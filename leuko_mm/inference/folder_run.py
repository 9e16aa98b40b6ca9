"""Predict the images of folders: inputs, resumable state, shards and their merge."""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

import leuko_mm
from leuko_mm.classes import CLASS_NAMES, IGNORE_LABEL
from leuko_mm.datasets.images import IMAGE_SUFFIXES, MAX_PIXELS, read_image
from leuko_mm.errors import LeukoError, UsageError, did_you_mean
from leuko_mm.files import locked, sha256_of_file, write_text
from leuko_mm.inference.cells import Prediction
from leuko_mm.inference.exchange import COCO, GEOJSON, write_exchange
from leuko_mm.inference.model import TORCH, choose_runtime, shipped_checkpoint
from leuko_mm.inference.outputs import (
    BUILDING,
    CELLS,
    DIFFERENTIAL,
    IMAGE_TABLE,
    IMAGES,
    folder_of,
    forget,
    predict_page,
    records_below,
    write_image_files,
    write_tables,
)
from leuko_mm.processes import StoppedBySignal, share_of, stop_on_signals
from leuko_mm.report.predict_page import render_predict_report

# Levels of every channel that are black and white, with what JPEG makes of them.
BLACK, WHITE = 16, 239
FEW = 5  # grey levels: no photograph has as few, masks of nucleus and cell have three


@dataclass(frozen=True)
class InputImage:
    """One image to look at.

    Args:
        path: the file.
        name: its path below the folder that all images have in common, with slashes;
            unique, and the same on every machine that holds the same folder.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class InputPlan:
    """All images, in the order of their names.

    Args:
        root: the folder that they have in common.
        images: by name.
    """

    root: Path
    images: tuple[InputImage, ...]


def plan_inputs(paths: Sequence[str], *, leave_out: Path | None = None) -> InputPlan:
    """Return the images that files, folders and patterns name, each once.

    Args:
        paths: files (taken whatever they are called), folders (searched to any depth
            for files with the suffix of an image, hidden ones left out) and patterns
            with ``*``, ``?``, ``[]`` or ``**``.
        leave_out: a folder that is not entered, as that of the results.

    Raises:
        UsageError: if a path does not exist, or there is no image.
    """
    files: dict[Path, Path] = {}
    roots = []
    for text in paths:
        for path in _matches(text):
            roots.append(path if path.is_dir() else path.parent)
            found = _images_below(path, leave_out) if path.is_dir() else [path]
            for file in found:
                files.setdefault(_absolute(file), file)
    if not files:
        raise UsageError(
            f"no image in {', '.join(paths)}; expected files that end in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    root = Path(os.path.commonpath([_absolute(folder) for folder in roots]))
    images = [
        InputImage(file, absolute.relative_to(root).as_posix())
        for absolute, file in files.items()
    ]
    return InputPlan(root, tuple(sorted(images, key=lambda image: image.name)))


def _absolute(path: Path) -> Path:
    # Links are not followed: an image is called what the user calls it.
    return Path(os.path.abspath(path))


def _matches(text: str) -> list[Path]:
    path = Path(text)
    if path.exists():
        return [path]
    found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
    # `**` names a folder and all that is in it.
    found = [p for p in found if not p.is_dir()] or found
    if not found:
        here = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise UsageError(
            f"{text} does not exist{neighbour_of(path)}, and matches nothing{here}"
        )
    return found


def neighbour_of(path: Path) -> str:
    """Return which file beside a missing one may be meant, '' where none is near."""
    try:
        there = [found.name for found in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, there)


def _images_below(folder: Path, leave_out: Path | None) -> Iterable[Path]:
    avoided = leave_out.resolve() if leave_out else None
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (Path(here) / name).resolve() != avoided
        ]
        for name in names:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != ".":
                yield Path(here) / name


def refuse_mask(pixels: np.ndarray) -> None:
    """Refuse an image that is a mask: masks often lie among the fields they belong to.

    A mask has no colour and two to five values, or class ids and 255 alone; or it is
    black and white but for a few pixels, which soft edges or a lossy file make.

    Shape:
        (H, W, 3) uint8.

    Raises:
        UsageError: naming the values.

    Example:
        >>> refuse_mask(np.full((4, 4, 3), 200, np.uint8))
    """
    _refuse_ids(pixels)
    if _is_black_and_white(pixels):
        raise UsageError(
            "is black and white: a mask, not a photograph; keep masks in a folder of "
            "their own"
        )


def _refuse_ids(pixels: np.ndarray) -> None:
    grey = pixels[..., 0]
    # Most images tell by their first row that they are none.
    if any((pixels[:1, :, c] != grey[:1]).any() for c in (1, 2)):
        return
    # calcHist reads in place; numpy's counting takes eight times a large image.
    counts = cv2.calcHist([pixels], [0], None, [256], [0, 256])
    values = np.flatnonzero(counts).tolist()
    ids = {*range(len(CLASS_NAMES)), IGNORE_LABEL}
    mask = len(values) > 1 and (set(values) <= ids or len(values) <= FEW)
    if mask and all(np.array_equal(pixels[..., c], grey) for c in (1, 2)):
        raise UsageError(
            f"holds no values but {', '.join(map(str, values))}: a mask, not a "
            "photograph; keep masks in a folder of their own"
        )


def _is_black_and_white(pixels: np.ndarray) -> bool:
    """Whether 24 of 25 pixels are black or white, some this and some that."""

    def dark_and_light(part: np.ndarray) -> tuple[float, float]:
        dark = part.max(axis=-1) <= BLACK
        return float(dark.mean()), float((part.min(axis=-1) >= WHITE).mean())

    # Most images tell by their first row that they are none.
    if sum(dark_and_light(pixels[:1])) < 0.9:
        return False
    dark, light = dark_and_light(pixels)
    return min(dark, light) > 0 and dark + light >= 0.96


# Images done, all images, the next one, seconds left (None at first).
Progress = Callable[[int, int, str, float | None], None]


class SegmentsImages(Protocol):
    """What finds the cells of an image."""

    def predict(self, image: np.ndarray) -> Prediction:
        """Return the cells of an image, uint8 RGB (H, W, 3)."""


class PredictionStopped(LeukoError):  # noqa: N818 - not an error, an order
    """The prediction was asked to stop; what is done is kept.

    Args:
        number: the signal.
        out: folder of the results.
    """

    def __init__(self, number: int, out: Path):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; every image that is done is "
            f"kept in {out}: give the same command with --resume to go on"
        )
        self.exit_code = 128 + number


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What ``leuko predict`` was asked for.

    Attributes:
        paths: files, folders and patterns.
        out: folder of the results.
        checkpoint: a ``.pth`` or an exported ``.onnx`` with its sidecar; None takes the
            shipped one.
        device: such as ``cpu`` or ``cuda:0``; None takes what is there.
        runtime: what runs the network, see ``choose_runtime``; None takes what fits.
        scale: network pixels per pixel, None to estimate it.
        um_per_px: size of a pixel in micrometres, instead of ``scale``.
        tta: whether each image is also looked at mirrored and turned.
        min_area: pixels of the image below which nothing counts as a cell; None takes
            the default.
        max_megapixels: images of more million pixels are refused.
        coco, geojson: whether these are written too.
        shard: ``i/n`` does the i-th of n parts.
        resume: go on with what is in ``out``.
        force: replace what is in ``out``.
    """

    paths: Sequence[str]
    out: Path
    checkpoint: Path | None = None
    device: str | None = None
    runtime: str | None = None
    scale: float | None = None
    um_per_px: float | None = None
    tta: bool = False
    min_area: int | None = None
    max_megapixels: float = MAX_PIXELS / 1e6
    coco: bool = False
    geojson: bool = False
    shard: str | None = None
    resume: bool = False
    force: bool = False


@dataclass
class PredictOutcome:
    """What came of it.

    Attributes:
        records: of the images that are done, in order.
        failed: image and reason.
        new: how many images were looked at just now.
    """

    records: list[dict] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    new: int = 0


STATE, REPORT, LOCK = "predict.json", "report.html", ".lock"
STATE_SCHEMA = 1
# Made from the records when all images are done.
DERIVED = (CELLS, DIFFERENTIAL, IMAGE_TABLE, COCO, GEOJSON, f".{GEOJSON}", REPORT)
OURS = frozenset([*DERIVED, STATE, LOCK, IMAGES, BUILDING])


def read_state(out: Path) -> dict | None:
    """Return what ``predict.json`` says, None where there is none.

    Raises:
        UsageError: if it is broken or of another version.
    """
    file = out / STATE
    if not file.is_file():
        return None
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        schema = state["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{file} cannot be read ({error}); --force begins anew"
        ) from None
    if schema != STATE_SCHEMA:
        raise UsageError(
            f"{file} has schema {schema!r}, this version knows {STATE_SCHEMA}; --force "
            "begins anew"
        )
    return state


def write_state(out: Path, state: Mapping) -> None:
    """Write ``predict.json`` in one move."""
    content = {"schema": STATE_SCHEMA, "leuko_mm": leuko_mm.__version__, **state}
    write_text(out / STATE, json.dumps(content, indent=2) + "\n")


def check_place(out: Path, *, resume: bool, force: bool) -> None:
    """Refuse a folder that is not ours, or whose results are not to be touched.

    Raises:
        UsageError: saying what stands there and what can be done.
    """
    if not out.exists():
        return
    there = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    foreign = sorted(name for name in there - OURS if not _is_half(name))
    if not out.is_dir() or foreign:
        raise UsageError(
            f"{out} holds something else than a prediction ({', '.join(foreign[:3])}); "
            "choose another --out"
        )
    if there - {LOCK} and not (resume or force):
        raise UsageError(
            f"{out} holds a prediction; --resume goes on with it, --force replaces it, "
            "or choose another --out"
        )


def clear(out: Path, *, images: bool) -> None:
    """Remove tables and report, which are made anew, and with ``images`` everything."""
    names = [*DERIVED, BUILDING, *([IMAGES, STATE] if images else [])]
    names += [path.name for path in out.iterdir() if _is_half(path.name)]
    for path in (out / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_half(name: str) -> bool:
    """Tell whether a file is what a killed process was writing: ``.<ours>.<more>``."""
    return any(name.startswith(f".{known}.") for known in (*DERIVED, STATE))


def check_settings(former: Mapping, now: Mapping, out: Path) -> None:
    """Refuse to go on with other settings than those of what is done.

    Raises:
        UsageError: naming what differs.
    """
    differing = [
        f"{key} {former.get(key)!r}, now {value!r}"
        for key, value in now.items()
        if former.get(key) != value
    ]
    if differing:
        raise UsageError(
            f"{out} was made with {'; '.join(differing)}; give the same, --force, or "
            "another --out"
        )


@dataclass(frozen=True)
class Exchange:
    """Which files for other programs are written too."""

    coco: bool = False
    geojson: bool = False


def write_outputs(
    out: Path,
    records: Sequence[Mapping],
    failed: Mapping[str, str],
    state: Mapping,
    exchange: Exchange,
) -> None:
    """Write tables, files for other programs and the report, then the last word.

    Args:
        out: folder of the results, which holds the images' own files.
        records: of the images, in order.
        failed: image and reason.
        state: of ``predict.json``.
        exchange: what else is wanted.
    """
    classes = state["classes"]
    write_tables(out, records, failed, classes)
    write_exchange(out, records, classes, coco=exchange.coco, geojson=exchange.geojson)
    page = predict_page(out, records, failed, state)
    write_text(out / REPORT, render_predict_report(page))
    write_state(out, {**state, "failed": dict(failed), "complete": True})


def predict_files(
    request: PredictRequest,
    *,
    predictor_of: Callable[[PredictRequest, Path], SegmentsImages] | None = None,
    progress: Progress | None = None,
) -> PredictOutcome:
    """Look at every image, keep the results of each, and sum them up.

    A file that cannot be used stops no other. Whatever ends the process, the results
    of an image are there whole or not at all, and tables and report only once all
    images are done.

    Args:
        request: what to do.
        predictor_of: makes what finds the cells, from the request and a checkpoint.
        progress: called before each image.

    Raises:
        UsageError: if the images, the checkpoint or the folder do not fit.
        PredictionStopped: on SIGINT and SIGTERM.
    """
    out = request.out
    check_place(out, resume=request.resume, force=request.force)
    plan = plan_inputs(request.paths, leave_out=out)
    images = share_of(request.shard, "none").order(plan.images)
    checkpoint = request.checkpoint or shipped_checkpoint()
    if not checkpoint.is_file():
        raise UsageError(
            f"--checkpoint {checkpoint} does not exist{neighbour_of(checkpoint)}"
        )
    settings = settings_of(request, checkpoint)
    if not request.force and (former := read_state(out)):
        check_settings(former["settings"], settings, out)
    predictor = (predictor_of or make_predictor)(request, checkpoint)
    state = {
        "complete": False,
        "settings": settings,
        "checkpoint": checkpoint.name,
        "root": str(plan.root),
        "images": [image.name for image in images],
        "classes": list(getattr(predictor, "classes", CLASS_NAMES)),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK) as alone, stop_on_signals():
            if not alone:
                raise UsageError(f"another leuko predict is writing into {out}")
            clear(out, images=request.force)
            done = results_there(images, out)
            write_state(out, state)
            outcome = _look_at(images, done, predictor, request, progress)
            exchange = Exchange(coco=request.coco, geojson=request.geojson)
            write_outputs(out, outcome.records, outcome.failed, state, exchange)
            return outcome
    except StoppedBySignal as order:
        raise PredictionStopped(order.exit_code - 128, out) from None
    except OSError as error:
        raise UsageError(
            f"the results cannot be written ({error}); what is done is kept: mend it "
            "and go on with --resume"
        ) from error


def settings_of(request: PredictRequest, checkpoint: Path) -> dict:
    """Return all that the results of an image depend on, besides the image.

    Raises:
        RuntimeChoiceError: if the checkpoint cannot be run as asked.
    """
    runtime = choose_runtime(checkpoint, request.runtime)
    return {
        "checkpoint_sha256": sha256_of_file(checkpoint),
        # None where it was not told yet: what versions before this one began goes on.
        "runtime": None if runtime == TORCH else runtime,
        "scale": request.scale,
        "um_per_px": request.um_per_px,
        "tta": request.tta,
        "min_area": request.min_area,
        "shard": request.shard,
    }


def make_predictor(request: PredictRequest, checkpoint: Path) -> SegmentsImages:
    """Load the checkpoint.

    Raises:
        UsageError: if it, or a setting, cannot be used.
    """
    # Only here: tables and pages are made without a network.
    from leuko_mm.inference.predictor import Predictor

    try:
        return Predictor(
            checkpoint,
            device=request.device,
            scale=request.scale,
            um_per_px=request.um_per_px,
            tta=request.tta,
            min_area=request.min_area,
            runtime=request.runtime,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def results_there(images: Sequence[InputImage], out: Path) -> dict[str, dict]:
    """Return the records that stand already, of images that have not changed since.

    Raises:
        UsageError: if there are results of images that are not named now: tables
            would leave them out.
    """
    there = {record["image"]: record for record in records_below(out)}
    others = sorted(set(there) - {image.name for image in images})
    if others:
        raise UsageError(
            f"{out} holds results of {len(others)} image(s) that are not named now, "
            f"first {others[0]}; name the same paths as before, or choose another --out"
        )
    known = [image for image in images if image.name in there]
    return {
        image.name: there[image.name]
        for image in known
        if image.path.is_file()
        and there[image.name]["sha256"] == sha256_of_file(image.path)
    }


def _look_at(
    images: Sequence[InputImage],
    done: Mapping[str, dict],
    predictor: SegmentsImages,
    request: PredictRequest,
    progress: Progress | None,
) -> PredictOutcome:
    out, limit = request.out, round(request.max_megapixels * 1e6)
    outcome, records = PredictOutcome(), dict(done)
    todo = [image for image in images if image.name not in done]
    started = time.monotonic()
    for number, image in enumerate(todo):
        if progress:
            pace = (time.monotonic() - started) / number if number else None
            left = None if pace is None else pace * (len(todo) - number)
            progress(len(done) + number, len(images), image.name, left)
        begun = time.monotonic()
        try:
            digest = sha256_of_file(image.path)
            pixels = read_image(image.path, max_pixels=limit)
            refuse_mask(pixels)
            prediction = predictor.predict(pixels)
        except Exception as error:
            # Decoders and networks raise anything on what does not fit them, and one
            # image of a long night must not stop the others.
            outcome.failed[image.name] = _reason(error, image)
            forget(out, image.name)
            continue
        seconds = round(time.monotonic() - begun, 3)
        records[image.name] = write_image_files(
            out,
            image.name,
            pixels=pixels,
            prediction=prediction,
            facts={"sha256": digest, "seconds": seconds},
        )
        outcome.new += 1
    outcome.records = [records[i.name] for i in images if i.name in records]
    return outcome


def _reason(error: Exception, image: InputImage) -> str:
    words = str(error) or type(error).__name__
    # A message names the file by its path, which another machine does not know.
    words = words.replace(str(image.path), image.name).strip()
    return words.removeprefix(f"{image.name}: ").removeprefix(f"{image.name} ")


def merge_parts(
    parts: Sequence[Path], out: Path, *, exchange: Exchange, force: bool = False
) -> PredictOutcome:
    """Join finished parts; the result is that of one machine that did all of them.

    Args:
        parts: folders of results, as ``--shard`` made them.
        out: folder of the whole; none of the parts.
        exchange: which files for other programs are written.
        force: replace a prediction in ``out``.

    Raises:
        UsageError: if a part is not finished, is given twice or is missing, parts do
            not fit together, or ``out`` is not to be touched.
    """
    check_place(out, resume=False, force=force)
    if out.resolve() in {part.resolve() for part in parts}:
        raise UsageError(f"{out} is itself to be joined; choose another --out")
    states = [_finished(part) for part in parts]
    for part, state in zip(parts[1:], states[1:], strict=True):
        _refuse_different(parts[0], states[0], part, state)
    _refuse_shards(parts, states)
    found = _joined(parts)
    names = sorted({name for state in states for name in state["images"]})
    failed = {
        name: reason
        for state in states
        for name, reason in state["failed"].items()
        if name not in found
    }
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK) as alone:
        if not alone:
            raise UsageError(f"another leuko predict is writing into {out}")
        clear(out, images=True)
        for name in names:
            if name in found:
                _copy(folder_of(found[name][0], name), out, name)
        records = [found[name][1] for name in names if name in found]
        settings = {**states[0]["settings"], "shard": None}
        state = {**states[0], "complete": False, "settings": settings, "images": names}
        failed = {name: failed[name] for name in names if name in failed}
        write_outputs(out, records, failed, state, exchange)
    return PredictOutcome(records, failed, len(records))


def _finished(part: Path) -> dict:
    state = read_state(part)
    if state is None:
        raise UsageError(f"{part} holds no prediction; expected the --out of one")
    if not state["complete"]:
        raise UsageError(
            f"{part} is not finished; give its command again with --resume first"
        )
    return state


def _refuse_different(
    first: Path, expected: Mapping, part: Path, state: Mapping
) -> None:
    for key, value in expected["settings"].items():
        if key != "shard" and state["settings"].get(key) != value:
            raise UsageError(
                f"{first} was made with {key} {value!r}, but {part} with "
                f"{state['settings'].get(key)!r}; make both with the same"
            )


def _refuse_shards(parts: Sequence[Path], states: Sequence[Mapping]) -> None:
    """Refuse a part that is given twice, and parts of which some are not given."""
    there: dict[str, Path] = {}
    for part, state in zip(parts, states, strict=True):
        shard = state["settings"].get("shard")
        if shard is None:
            continue
        if shard in there:
            raise UsageError(f"{there[shard]} and {part} are both the shard {shard}")
        there[shard] = part
    for shard in list(there):
        count = int(shard.partition("/")[2])
        missing = [f"{i}/{count}" for i in range(count) if f"{i}/{count}" not in there]
        if missing:
            raise UsageError(
                f"the shard {', '.join(missing)} is not among the parts: the count "
                "would be of a part of the images; give the folders of all"
            )


def _joined(parts: Sequence[Path]) -> dict[str, tuple[Path, dict]]:
    """Return name -> part and record."""
    found: dict[str, tuple[Path, dict]] = {}
    for part in parts:
        for record in records_below(part):
            name = record["image"]
            former = found.setdefault(name, (part, record))
            if former[1]["sha256"] != record["sha256"]:
                raise UsageError(
                    f"{former[0]} and {part} hold results of two different images "
                    f"{name!r}; name the images of all parts from one folder above them"
                )
    return found


def _copy(source: Path, out: Path, name: str) -> None:
    building, place = out / BUILDING, folder_of(out, name)
    shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(source, building)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(building, place)
