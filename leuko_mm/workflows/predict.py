"""Find and name the leukocytes of many images; what is done is never done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.datasets.image_files import read_image
from leuko_mm.errors import UsageError
from leuko_mm.files import locked, sha256_of_file
from leuko_mm.inference.runtime_choice import TORCH, choose_runtime
from leuko_mm.inference.shipped import shipped_checkpoint
from leuko_mm.workflows.compare_share import share_of
from leuko_mm.workflows.compare_stop import ComparisonStopped, one_order_to_stop
from leuko_mm.workflows.predict_inputs import (
    InputImage,
    neighbour_of,
    plan_inputs,
    refuse_mask,
)
from leuko_mm.workflows.predict_outputs import Exchange, write_outputs
from leuko_mm.workflows.predict_record import (
    forget,
    records_below,
    write_image_files,
)
from leuko_mm.workflows.predict_request import (
    PredictionStopped,
    PredictOutcome,
    PredictRequest,
    Progress,
    SegmentsImages,
)
from leuko_mm.workflows.predict_state import (
    LOCK,
    check_place,
    check_settings,
    clear,
    read_state,
    write_state,
)


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
        with locked(out / LOCK) as alone, one_order_to_stop():
            if not alone:
                raise UsageError(f"another leuko predict is writing into {out}")
            clear(out, images=request.force)
            done = results_there(images, out)
            write_state(out, state)
            outcome = _look_at(images, done, predictor, request, progress)
            exchange = Exchange(coco=request.coco, geojson=request.geojson)
            write_outputs(out, outcome.records, outcome.failed, state, exchange)
            return outcome
    except ComparisonStopped as order:
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
