"""The folder of a prediction's results: what it holds, and whether it may be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import leuko_mm
from leuko_mm.errors import UsageError
from leuko_mm.files import write_text
from leuko_mm.workflows.predict_exchange import COCO, GEOJSON
from leuko_mm.workflows.predict_record import BUILDING, IMAGES
from leuko_mm.workflows.predict_tables import CELLS, DIFFERENTIAL, IMAGE_TABLE

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
