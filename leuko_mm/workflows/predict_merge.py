"""Join the results of many machines into one folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from leuko_mm.errors import UsageError
from leuko_mm.files import locked
from leuko_mm.workflows.predict_outputs import Exchange, write_outputs
from leuko_mm.workflows.predict_record import BUILDING, folder_of, records_below
from leuko_mm.workflows.predict_request import PredictOutcome
from leuko_mm.workflows.predict_state import LOCK, check_place, clear, read_state


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
