"""Published results of a comparison: what is there, whether it fits, and publishing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from leuko_mm.comparison.plan import PlannedRun
from leuko_mm.engine.checkpoints import newest_state
from leuko_mm.engine.hooks import read_identity
from leuko_mm.evaluation.metric import CELLS_FILE
from leuko_mm.files import replacing, write_text
from leuko_mm.training.pictures import read_losses

RESULTS_FILE = "results.json"
LOSSES_ENDING = ".losses.csv"
# What stands in the way of a run or is left of it.
DONE, FINISHED, STOPPED, DIFFERS, WAITING = (
    "done",
    "finished, not published",
    "stopped",
    "differs",
    "waiting",
)


def read_results(path: Path) -> dict | None:
    """Return a results file, None if it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def misfit(results: Mapping, run: PlannedRun) -> str | None:
    """Return in what a results file differs from a planned run, None if in nothing."""
    there = results.get("run", {}), results.get("data", {})
    identity = dict(
        config_sha256=there[0].get("config_sha256"),
        dataset_sha256=there[1].get("sha256"),
    )
    said = identity_misfit(identity, run)
    wants = bool(run.config.optim_wrapper.get("enabled", False))
    if said and there[0].get("amp", wants) != wants:
        had = "with" if there[0]["amp"] else "without"
        flag = "--amp" if there[0]["amp"] else "--no-amp"
        said += f"; it was made {had} bfloat16: {flag} asks for the same"
    return said


def identity_misfit(identity: Mapping, run: PlannedRun) -> str | None:
    """Return what of a run's identity is another one, None if it is the same.

    Args:
        identity: sha256 of a config and of a dataset; what is missing differs.
        run: what is planned.
    """
    words = dict(config_sha256="config", dataset_sha256="dataset")
    found = [
        f"{words[key]} ({str(identity.get(key))[:12]}, now {value[:12]})"
        for key, value in run.identity.items()
        if identity.get(key) != value
    ]
    return f"has another {' and another '.join(found)}" if found else None


def look_at(run: PlannedRun, *, force: bool = False) -> tuple[str, str]:
    """Return how far a run is, and what there is to say of it.

    Args:
        run: as planned.
        force: take what differs for nothing at all.
    """
    finished = read_results(run.work_dir / RESULTS_FILE)
    found = _published(run, force) or _finished(run, finished, force)
    if found is None and finished is None:
        found = _unfinished(run, force)
    return found or (WAITING, "")


def _published(run: PlannedRun, force: bool) -> tuple[str, str] | None:
    if not run.target.exists():
        return None
    results = read_results(run.target)
    said = "is damaged" if results is None else misfit(results, run)
    if said:
        return None if force else (DIFFERS, f"{run.target} {said}")
    return (DONE, "") if cells_beside(run.target).is_file() else None


def _finished(
    run: PlannedRun, results: Mapping | None, force: bool
) -> tuple[str, str] | None:
    if results is None:
        return None
    if said := misfit(results, run):
        return None if force else (DIFFERS, f"{run.work_dir} {said}")
    return FINISHED, ""


def _unfinished(run: PlannedRun, force: bool) -> tuple[str, str] | None:
    state = newest_state(run.work_dir)
    if state is None:
        return None
    if said := identity_misfit(read_identity(state), run):
        return None if force else (DIFFERS, f"{run.work_dir}, not finished, {said}")
    return STOPPED, f"at {state.stem.replace('_', ' ')}"


def cells_beside(target: Path) -> Path:
    """Return the file of the cells that belongs to a published results file.

    Example:
        >>> cells_beside(Path("results/half/unet-fold5-s0.json")).name
        'unet-fold5-s0.cells.npz'
    """
    return target.with_name(f"{target.name.removesuffix('.json')}.cells.npz")


def losses_beside(target: Path) -> Path:
    """Return the file of the training's losses that belongs to a results file.

    Example:
        >>> losses_beside(Path("results/half/unet-fold5-s0.json")).name
        'unet-fold5-s0.losses.csv'
    """
    return target.with_name(f"{target.name.removesuffix('.json')}{LOSSES_ENDING}")


def publish(work_dir: Path, target: Path) -> None:
    """Copy a finished run's results, each file whole, the cells before what names them.

    The logged losses go into a file of their own, for the training curves.

    Args:
        work_dir: folder of the run.
        target: the results file; the key ``cells`` names the file beside it.
    """
    results = json.loads((work_dir / RESULTS_FILE).read_text(encoding="utf-8"))
    cells = cells_beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(cells) as part:
        shutil.copyfile(work_dir / CELLS_FILE, part)
    losses = read_losses(work_dir)
    if losses:
        lines = ["iteration,loss", *(f"{i},{loss!r}" for i, loss in losses.items())]
        write_text(losses_beside(target), "\n".join(lines) + "\n")
    results["cells"] = cells.name
    write_text(target, json.dumps(results, indent=1) + "\n")
