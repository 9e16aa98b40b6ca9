"""Show the models of the zoo, and fetch their checkpoints."""

from __future__ import annotations

from pathlib import Path

from leuko_mm.datasets.prepared import data_home
from leuko_mm.engine.download import download
from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.files import sha256_of_file
from leuko_mm.inference.shipped import shipped_checkpoint, shipped_folder, shipped_names
from leuko_mm.report.markdown import number
from leuko_mm.workflows.zoo_entries import (
    NotPublishedError,
    ZooEntry,
    find_entry,
    read_entries,
)


def fetched_folder() -> Path:
    """Return the folder of fetched checkpoints, below the data home."""
    return data_home() / "zoo"


def place_of(entry: ZooEntry) -> Path | None:
    """Return where a model's checkpoint lies on this machine, None if it does not."""
    for folder in (shipped_folder(), fetched_folder()):
        path = folder / f"{entry.name}.pth"
        if path.is_file() and path.with_suffix(".json").is_file():
            return path
    return None


def checkpoint_of(name: str) -> Path:
    """Return the checkpoint of a model by its name, or of a path.

    Raises:
        UsageError: if there is neither such a model nor such a file.
        NotPublishedError: if the model's file is not published.
    """
    if Path(name).suffix == ".pth":
        if not Path(name).is_file():
            raise UsageError(f"checkpoint {name} does not exist")
        return Path(name)
    entry = find_entry(name)
    path = place_of(entry)
    if path is None:
        if entry.weights:
            raise UsageError(f"{name} is not here yet; run `leuko zoo fetch {name}`")
        raise _not_published(entry)
    return path


def zoo_rows() -> list[tuple[str, ...]]:
    """Return what ``leuko zoo list`` shows: name, size, cost, mIoU, where it is."""
    rows = []
    for entry in read_entries():
        miou = [m.get("mIoU") for m in entry.metrics.values()]
        rows.append(
            (
                entry.name,
                f"{entry.params_m:.1f} M",
                f"{entry.gmacs:.1f} G",
                number(miou[0] if miou else None),
                _state(entry),
            )
        )
    return rows


def _state(entry: ZooEntry) -> str:
    if entry.name in shipped_names():
        return "in the package"
    if place_of(entry) is not None:
        return "fetched"
    return "to fetch" if entry.weights else "to train"


def describe(name: str) -> list[str]:
    """Return what ``leuko zoo show`` says of a model: facts, then its card."""
    entry = find_entry(name)
    path = place_of(entry)
    start = f"ImageNet, {entry.pretrained}" if entry.pretrained else "random weights"
    lines = [
        f"name        {entry.name}",
        f"config      {entry.config}",
        f"size        {entry.params_m} million parameters, {entry.gmacs} 10^9 "
        "multiply-adds at 512x512",
        f"encoder     starts from {start}",
        f"checkpoint  {path or entry.weights or 'none is published'}",
        f"train it    {entry.command}",
    ]
    for data, metrics in entry.metrics.items():
        told = ", ".join(f"{key} {number(value, 2)}" for key, value in metrics.items())
        lines.append(f"on {data}: {told}")
    card = path.with_suffix(".md") if path else None
    if card and card.is_file():
        lines += ["", card.read_text(encoding="utf-8").rstrip()]
    return lines


def fetch(name: str, *, out: Path | None = None, force: bool = False) -> Path:
    """Return a model's checkpoint, fetched if the package does not carry it.

    A connection that ended is gone on with; the file appears whole and right, with its
    sidecar, or not at all.

    Args:
        name: of the model.
        out: folder; None: ``zoo/`` below the data home.
        force: fetch it anew.

    Raises:
        NotPublishedError: naming the command that trains it.
        UsageError: if another file is in its place.
        OSError: if it cannot be had.
    """
    entry = find_entry(name)
    if entry.shipped:
        return shipped_checkpoint(name)
    if not entry.weights:
        raise _not_published(entry)
    path = Path(out or fetched_folder()) / f"{name}.pth"
    sidecar = path.with_suffix(".json")
    if force:
        for file in (path, sidecar):
            file.unlink(missing_ok=True)
    if path.is_file() and sha256_of_file(path) != entry.sha256:
        raise UsageError(
            f"{path} is not the published file; add --force to fetch that in its place"
        )
    try:
        address = entry.weights.removesuffix(".pth") + ".json"
        download(address, sidecar)
        download(entry.weights, path, sha256=entry.sha256, resume=True)
    except OSError as error:
        raise FetchError(f"{name} was not fetched: {error}") from error
    return path


class FetchError(LeukoError, OSError):
    """The file could not be had."""

    exit_code = 3


def _not_published(entry: ZooEntry) -> NotPublishedError:
    return NotPublishedError(
        f"no checkpoint of {entry.name} is published. Train it:\n    {entry.command}"
    )
