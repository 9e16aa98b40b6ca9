"""Predict the images of folders, here or by dask's workers, with a resumable state."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import leuko_mm
from leuko_mm.datasets.images import (
    CLOSED,
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    ImageSearch,
    image_facts,
    read_image,
)
from leuko_mm.errors import UsageError, did_you_mean
from leuko_mm.files import (
    locked,
    read_json,
    sha256_of_file,
    write_text,
)
from leuko_mm.inference.cells import ImageScale, Prediction
from leuko_mm.inference.classify import accepted_by, classifier_of, threshold_note
from leuko_mm.inference.mask_images import refuse_mask
from leuko_mm.inference.model import TORCH, shipped_model
from leuko_mm.inference.outputs import (
    CELLS,
    DIFFERENTIAL,
    IMAGE_TABLE,
    IMAGES,
    REPORT,
    copy_notes,
    doubt_notes,
    excluded_note,
    missing_files,
    records_below,
    remove_image_files,
    write_image_files,
    write_report,
    write_tables,
)
from leuko_mm.inference.predictor import LARGE, Predictor
from leuko_mm.inference.runtimes import choose_runtime
from leuko_mm.inference.scale import scales_of_run
from leuko_mm.processes import (
    dask_client,
    finished_tasks,
    keep_memory,
    stopped_by_signals,
)

STATE, LOCK = "predict.json", ".lock"
STATE_SCHEMA = 1
COCO, GEOJSON = "coco.json", "geojson"
# Made from the records when all images are done.
DERIVED = (CELLS, DIFFERENTIAL, IMAGE_TABLE, COCO, GEOJSON, f".{GEOJSON}", REPORT)
OURS = frozenset([*DERIVED, STATE, LOCK, IMAGES])
PREDICTOR_OPTIONS = (
    *("device", "runtime", "scale", "um_per_px"),
    *("tta", "min_area", "accept", "classifier", "exhaustive"),
)

# Images done, all images, and the last one.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What ``leuko predict`` was asked for.

    Attributes:
        paths: files, folders and patterns.
        out: folder of the results; ``resume`` continues and ``force`` replaces it.
        checkpoint: a ``.pth`` or an exported ``.onnx`` with its sidecar; None takes the
            shipped one.
        device, runtime, scale, um_per_px, tta, min_area, accept, classifier,
            exhaustive: as for ``Predictor``.
        max_megapixels: images of more million pixels are refused.
        dask: see ``dask_client``; its workers must see the same folders.
        keep_scales: keep the scales of what is continued even where images are new.
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
    accept: float | None = None
    classifier: str | None = None
    exhaustive: bool = False
    max_megapixels: float = MAX_PIXELS / 1e6
    coco: bool = False
    geojson: bool = False
    dask: str | None = None
    resume: bool = False
    force: bool = False
    keep_scales: bool = False


class OtherSettingsError(UsageError):
    """A prediction was to be continued with other settings.

    Attributes:
        keys: of the settings that differ.
    """

    keys: tuple[str, ...] = ()


@dataclass
class PredictOutcome:
    """The result of ``predict_files``.

    Attributes:
        records: of the images that are done, in order.
        failed: image and reason.
        new: number of images that were predicted just now.
        left_out: sentences on files that were not read.
        advice: sentences on the settings.
        closed: folders that could not be opened.
    """

    records: list[dict] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    new: int = 0
    left_out: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return sentences on what was left out, and on images that are there twice."""
        excluded, doubts = excluded_note(self.records), doubt_notes(self.records)
        return [
            *self.left_out,
            *excluded,
            *doubts,
            *copy_notes(self.records),
            *self.advice,
        ]


def predict_files(
    request: PredictRequest,
    *,
    predictor_of: Callable[[PredictRequest, Path], Any] | None = None,
    progress: Progress | None = None,
) -> PredictOutcome:
    """Predict every image, keep the results of each, and sum them up.

    A file that cannot be used does not stop the others. Whatever ends the process, the
    results of an image are there whole or not at all, and tables and report only once
    all images are done.

    Args:
        request: what to do.
        predictor_of: instead of ``make_predictor``.
        progress: called before each image of those that tell the scale, before the
            first that is predicted and after each.

    Raises:
        UsageError: if the images, the checkpoint or the folder do not fit.
        StoppedBySignal: on SIGINT and SIGTERM.
    """
    out = request.out
    _check_place(out, resume=request.resume, force=request.force)
    search = ImageSearch(avoid=out)
    root, images = plan_inputs(request.paths, search=search)
    line = search.line(root)
    left_out, closed = [line] if line else [], [str(p) for p in search.left_out(CLOSED)]
    checkpoint = checkpoint_of_request(request)
    settings = _settings_of(request, checkpoint)
    former = {} if request.force else _read_state(out)
    if former:
        _check_settings(former["settings"], settings, out)
    predictor_of = predictor_of or make_predictor
    advice = f"every image that is done is kept in {out}: give the same command with "
    try:
        with (
            stopped_by_signals(f"{advice}--resume to continue"),
            dask_client(request.dask) as client,
        ):
            predictor = predictor_of(request, checkpoint)
            state = {
                "complete": False,
                "settings": settings,
                "checkpoint": checkpoint.name,
                "root": str(root),
                "images": list(images),
                "classes": list(predictor.classes),
                **({"left_out": left_out, "closed": closed} if line else {}),
            }
            with _only_writer(out):
                if request.force:
                    _clear(out, images=True)
                done = _records_there(images, out)
                _clear(out, images=False)
                measure = partial(predictor.common_scale, progress=progress)
                if request.keep_scales and former.get("scales"):
                    scales, other = former["scales"], set()
                else:
                    scales, other = scales_of_run(former, images, measure)
                if request.keep_scales:
                    # Records, and what people say of their cells, stay as they are.
                    other = set()
                # Removed first: a resumed run takes what is there for done.
                for name in [n for n in done if n.rpartition("/")[0] in other]:
                    remove_image_files(out, name)
                    del done[name]
                state["scales"] = scales
                failed = former.get("failed", {})
                failed = {name: failed[name] for name in images if name in failed}
                _write_state(out, {**state, "failed": failed} if failed else state)
                planned = {key: ImageScale(**value) for key, value in scales.items()}
                missing = {
                    name: (name, _absolute(path), planned.get(name.rpartition("/")[0]))
                    for name, path in images.items()
                    if name not in done
                }
                if client is None:
                    answers = _predict_here(request, predictor, missing)
                else:
                    job = _job(request, checkpoint, settings, predictor_of)
                    tasks = {name: (job, *task) for name, task in missing.items()}
                    answers = finished_tasks(client, _predict_at_worker, tasks)
                outcome = _outcome(images, done, answers, progress)
                outcome.left_out, outcome.closed = left_out, closed
                if settings["classifier_sha256"] and settings["accept"] is None:
                    outcome.advice = [threshold_note()]
                _clear_halves(out)  # of workers that were killed
                _write_summary(out, outcome, state, request.coco, request.geojson)
                return outcome
    except OSError as error:
        raise UsageError(
            f"the results cannot be written ({error}); what is done is kept: fix it "
            "and continue with --resume"
        ) from error


def checkpoint_of_request(request: PredictRequest) -> Path:
    """Return the file of the network that segments; refuse one that is not there."""
    checkpoint = request.checkpoint or shipped_model(
        device=request.device, runtime=request.runtime
    )
    if not checkpoint.is_file():
        raise UsageError(f"--checkpoint {checkpoint} {_no_file(checkpoint)}")
    return checkpoint


def _no_file(path: Path) -> str:
    return "is no file" if path.exists() else f"does not exist{_neighbour(path)}"


def make_predictor(request: PredictRequest, checkpoint: Path) -> Predictor:
    """Load the checkpoint, or say by a ``UsageError`` why it cannot be used."""
    options = {key: getattr(request, key) for key in PREDICTOR_OPTIONS}
    try:
        return Predictor(checkpoint, **options)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _settings_of(request: PredictRequest, checkpoint: Path) -> dict:
    """Return all that the results of an image depend on, besides the image."""
    runtime = choose_runtime(checkpoint, request.runtime)
    names, accept = classifier_of(checkpoint, request.classifier), request.accept
    if names and not names.is_file():
        raise UsageError(
            f"the class network {names} {_no_file(names)}; give another with "
            "--classifier"
        )
    return {
        "checkpoint_sha256": sha256_of_file(checkpoint),
        # None for torch: older states, which have no such key, are resumed.
        "runtime": None if runtime == TORCH else runtime,
        "scale": request.scale,
        "um_per_px": request.um_per_px,
        "tta": request.tta,
        "exhaustive": request.exhaustive or None,
        "min_area": request.min_area,
        "accept": accepted_by(names or checkpoint) if accept is None else accept,
        "classifier_sha256": sha256_of_file(names) if names else None,
    }


@contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK) as alone:
        if not alone:
            raise UsageError(f"another leuko predict is writing into {out}")
        yield


def _records_there(images: Mapping[str, Path], out: Path) -> dict[str, dict]:
    records = {record["image"]: record for record in records_below(out)}
    # Tables would leave them out.
    others = sorted(set(records) - set(images))
    if others:
        raise UsageError(
            f"{out} holds results of {len(others)} image(s) that are not named now, "
            f"first {others[0]}; name the same paths as before, or choose another --out"
        )
    return {
        name: records[name]
        for name, path in images.items()
        if name in records
        and not missing_files(out, records[name])
        and _is_of(records[name], path)
    }


def _is_of(record: Mapping, path: Path) -> bool:
    try:
        return path.is_file() and record["sha256"] == sha256_of_file(path)
    except OSError:  # why it cannot be read is said where it is predicted
        return False


def _read(request: PredictRequest, path: Path) -> tuple[str, np.ndarray, float]:
    """Return an image's hash, its pixels, and the seconds that reading took."""
    begin, limit = time.monotonic(), round(request.max_megapixels * 1e6)
    digest = sha256_of_file(path)
    pixels = read_image(path, max_pixels=limit)
    palette = image_facts(path, max_pixels=limit).mode == "P"
    refuse_mask(pixels, palette=palette)
    return digest, pixels, time.monotonic() - begin


def _write(
    out: Path, name: str, read: tuple, prediction: Prediction, seconds: float
) -> dict:
    digest, pixels, reading = read
    facts = {"sha256": digest, "pixels_sha256": _hash(pixels)}
    facts["seconds"] = round(reading + seconds, 3)
    return write_image_files(out, name, pixels, prediction, facts)


def _predict_image(
    request: PredictRequest,
    predictor: Any,
    name: str,
    path: Path,
    scale: ImageScale | None,
    *,
    reader: Callable[[PredictRequest, Path], tuple] = _read,
) -> Callable[[], dict] | str:
    """Predict one image; return what writes its files and gives its record, or why not.

    What that returns raises an OSError if the files cannot be written.
    """
    try:
        read = reader(request, path)
        begin = time.monotonic()
        prediction = predictor.predict(read[1], scale=scale)
    except Exception as error:
        # Decoders and networks raise anything on what does not fit them, and one
        # image of a long night must not stop the others. What was found in a file that
        # cannot be opened just now is kept for when it can.
        if not isinstance(error, OSError):
            remove_image_files(request.out, name)
        return _reason(error, path, name)
    seconds = time.monotonic() - begin
    return partial(_write, request.out, name, read, prediction, seconds)


def _predict_here(
    request: PredictRequest, predictor: Any, tasks: Mapping[str, tuple]
) -> Iterator[tuple[str, dict | str]]:
    """Yield the record of every image, or why there is none.

    While one is predicted the next is read and the last one written, unless they are
    large.

    Args:
        tasks: name, path and scale by name.
    """
    # The next image while it is read, and the last one while it is written.
    ahead: dict[Path, Future] = {}
    behind: list[tuple[str, Future]] = []
    paths = [path for _, path, _ in tasks.values()]
    following = dict(pairwise(paths))
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:

        def read(request: PredictRequest, path: Path) -> tuple:
            waiting = ahead.pop(path, None)
            found = waiting.result() if waiting else _read(request, path)
            if found[1].size <= 3 * LARGE and path in following:
                coming = following[path]
                ahead[coming] = reading.submit(_read, request, coming)
            return found

        for name, task in tasks.items():
            answer = _predict_image(request, predictor, *task, reader=read)
            if behind:
                last, written = behind.pop()
                yield last, written.result()
            if isinstance(answer, str):
                yield name, answer
            elif ahead:
                behind.append((name, writing.submit(answer)))
            else:
                yield name, answer()
        if behind:
            last, written = behind.pop()
            yield last, written.result()


def _outcome(
    images: Mapping[str, Path],
    done: Mapping[str, dict],
    answers: Iterator[tuple[str, dict | str | Exception]],
    progress: Progress | None,
) -> PredictOutcome:
    outcome, found = PredictOutcome(), dict(done)
    if progress:
        progress(len(done), len(images), "")
    with closing(answers):
        for number, (name, answer) in enumerate(answers, 1):
            found[name] = answer
            if progress:
                progress(len(done) + number, len(images), name)
    for name in images:
        answer = found[name]
        if isinstance(answer, dict):
            outcome.records.append(answer)
        else:
            outcome.failed[name] = str(answer)
    outcome.new = len(outcome.records) - len(done)
    return outcome


def _job(
    request: PredictRequest, checkpoint: Path, settings: Mapping, predictor_of: Callable
) -> tuple:
    """Return what all tasks of a run share; all paths are absolute."""
    own = replace(
        request,
        paths=(),
        out=_absolute(request.out),
        classifier=request.classifier and str(_absolute(Path(request.classifier))),
        # A worker may have other runtimes to choose from.
        runtime=settings["runtime"] or TORCH,
        dask=None,
    )
    settings = {"leuko_mm": leuko_mm.__version__, **settings}
    return own, _absolute(checkpoint), settings, predictor_of


# The predictor of this process, where it is a worker of dask, and for which run.
_AT_WORKER: dict[str, Any] = {}
_ONE_IMAGE = threading.Lock()


def _predict_at_worker(
    job: tuple, name: str, path: Path, scale: ImageScale | None
) -> dict | str:
    """Predict one image as a task of dask.

    Raises:
        UsageError: if this worker cannot do the work of the others.
    """
    request, checkpoint, settings, predictor_of = job
    host = socket.gethostname()
    for seen in (request.out / STATE, path.parent, checkpoint):
        if not seen.exists():
            raise UsageError(
                f"the dask worker at {host} does not see {seen}; all workers need the "
                "folders of the images, of --out and of the checkpoint under the same "
                "paths"
            )
    # One at a time, however many threads a worker has.
    with _ONE_IMAGE:
        if _AT_WORKER.get("run") != (request, settings):
            own = {"leuko_mm": leuko_mm.__version__}
            own |= _settings_of(request, checkpoint)
            for key, value in settings.items():
                if own[key] != value:
                    raise UsageError(
                        f"the dask worker at {host} has {key} {own[key]!r}, here it is "
                        f"{value!r}; all workers need the same"
                    )
            # As many as the other libraries: dask gives a worker's process one thread.
            if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
                cv2.setNumThreads(int(threads))
            # Dask lets a worker give every freed array back to the system.
            if request.max_megapixels <= MAX_PIXELS / 1e6:
                keep_memory()
            _AT_WORKER["predictor"] = predictor_of(request, checkpoint)
            _AT_WORKER["run"] = request, settings
        predictor = _AT_WORKER["predictor"]
        answer = _predict_image(request, predictor, name, path, scale)
        return answer if isinstance(answer, str) else answer()


def _hash(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()


def _reason(error: Exception, path: Path, name: str) -> str:
    # A message names the file by its path, which another machine does not know.
    words = (str(error) or type(error).__name__).replace(str(path), name).strip()
    return words.removeprefix(f"{name}: ").removeprefix(f"{name} ")


def _write_summary(
    out: Path, outcome: PredictOutcome, state: Mapping, coco: bool, geojson: bool
) -> None:
    records, failed, classes = outcome.records, outcome.failed, state["classes"]
    write_tables(out, records, failed, classes)
    if coco or geojson:
        # Only here: most predictions need no other program's format.
        from leuko_mm.inference.exchange import write_coco, write_geojson

        if coco:
            write_coco(out / COCO, records, classes)
        if geojson:
            write_geojson(out / GEOJSON, records)
    write_report(out, records, failed, {**state, "notes": outcome.notes()})
    _write_state(out, {**state, "failed": dict(failed), "complete": True})


def plan_inputs(
    paths: Sequence[str], *, search: ImageSearch | None = None
) -> tuple[Path, dict[str, Path]]:
    """Return the images that files, folders and patterns name, each once.

    Args:
        paths: files (with any suffix), folders (searched to any depth for files with
            the suffix of an image, hidden ones left out) and glob patterns. Results of
            our own are left out.
        search: of the folders; keeps what it leaves out.

    Returns:
        The folder that all have in common, and the images by name, in its order. A
        name is the path below that folder, with slashes: the same on every machine.
    """
    search = search or ImageSearch()
    files: dict[Path, Path] = {}
    roots = []
    for text in paths:
        for path in _matches(text):
            folder = path if path.is_dir() else path.parent
            roots.append(_absolute(folder))
            if folder == path:
                found = search.below(path)
            else:
                out = search.in_own_results(folder) or search.is_special(path)
                found = [path] * (not out and not search.is_enhanced(path))
            files.update({_absolute(file): file for file in found})
    root = Path(os.path.commonpath(roots))
    if not files:
        left_out = search.line(root)
        raise UsageError(
            f"no image in {', '.join(paths)}; expected files that end in "
            f"{', '.join(IMAGE_SUFFIXES)}{left_out and '; ' + left_out}"
        )
    named = {path.relative_to(root).as_posix(): file for path, file in files.items()}
    return root, dict(sorted(named.items()))


def _absolute(path: Path) -> Path:
    # Links are not followed: an image has the name that the user gives it.
    return Path(os.path.abspath(path))


def _matches(text: str) -> list[Path]:
    if not text:  # for pathlib this folder
        raise UsageError("an empty path; name images, or . for this folder")
    path = Path(text)
    try:
        if path.exists():
            return [path]
    except OSError as error:  # a folder above it is closed
        raise UsageError(f"{text} cannot be opened ({error.strerror})") from None
    found = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
    # `**` matches a folder and all that is in it.
    found = [p for p in found if not p.is_dir()] or found
    if not found:
        here = "" if path.is_absolute() else f" (looked in {Path.cwd()})"
        raise UsageError(
            f"{text} does not exist{_neighbour(path)}, and matches nothing{here}"
        )
    return found


def _neighbour(path: Path) -> str:
    try:
        names = [found.name for found in path.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def _read_state(out: Path) -> dict:
    advice = "; --force starts again"
    return read_json(out / STATE, schema=STATE_SCHEMA, default={}, advice=advice)


def _write_state(out: Path, state: Mapping) -> None:
    content = {"schema": STATE_SCHEMA, "leuko_mm": leuko_mm.__version__, **state}
    write_text(out / STATE, json.dumps(content, indent=2) + "\n")


def _check_place(out: Path, *, resume: bool, force: bool) -> None:
    if not out.exists():
        return
    names = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    foreign = sorted(name for name in names - OURS if not _is_half(name))
    if not out.is_dir() or foreign:
        raise UsageError(
            f"{out} holds something else than a prediction ({', '.join(foreign[:3])}); "
            "choose another --out"
        )
    if names - {LOCK} and not (resume or force):
        raise UsageError(
            f"{out} holds a prediction; --resume continues it, --force replaces it, "
            "or choose another --out"
        )


def _clear(out: Path, *, images: bool) -> None:
    for name in (*DERIVED, *((IMAGES, STATE) if images else ())):
        _remove(out / name)
    _clear_halves(out)


def _clear_halves(out: Path) -> None:
    for path in [path for path in out.iterdir() if _is_half(path.name)]:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_half(name: str) -> bool:
    """Return whether a killed process was writing it: ``.<ours>.<more>``."""
    return any(name.startswith(f".{known}.") for known in (*DERIVED, STATE, IMAGES))


def _check_settings(former: Mapping, now: Mapping, out: Path) -> None:
    keys = [key for key, value in now.items() if former.get(key) != value]
    if keys:
        differing = [f"{key} {former.get(key)!r}, now {now[key]!r}" for key in keys]
        error = OtherSettingsError(
            f"{out} was made with {'; '.join(differing)}; give the same, --force, or "
            "another --out"
        )
        error.keys = tuple(keys)
        raise error
