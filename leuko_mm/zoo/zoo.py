"""The models of the zoo: list, show, fetch and verify."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from leuko_mm.classes import BINARY_NAMES, CLASS_NAMES
from leuko_mm.engine.checkpoints import (
    SCHEMA,
    check_kinds,
    load_tensors,
    unregistered_types,
)
from leuko_mm.engine.download import download
from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.files import sha256_of_file
from leuko_mm.inference.model import (
    build_model,
    shipped_checkpoint,
    shipped_names,
)
from leuko_mm.report.html import number
from leuko_mm.training.config import resolve_config
from leuko_mm.training.run import TestRequest, run_test
from leuko_mm.training.sidecar import read_sidecar
from leuko_mm.zoo.entries import (
    ZooEntry,
    _not_published,
    fetched_folder,
    find_entry,
    place_of,
    read_entries,
)


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


NEEDED = (
    "schema",
    "method",
    "config",
    "classes",
    "colours",
    "scale",
    "enhance",
    "normalisation",
    "training",
    "metrics",
    "licence",
    "sha256",
)
# Points in percent between machines, precisions and versions of the libraries.
TOLERANCE = 0.3
# Any method's config: its network is replaced.
BASE = "cbam_unet"


@dataclass(frozen=True)
class SaidAndFound:
    """One figure as the sidecar says it and as it was measured now, in percent."""

    name: str
    said: float | None
    found: float | None

    @property
    def agrees(self) -> bool:
        """Whether the two are one figure."""
        if self.said is None or self.found is None:
            return self.said is self.found
        return abs(self.said - self.found) <= TOLERANCE


def verify(path: Path) -> dict:
    """Refuse a checkpoint that is not what its sidecar says; return the sidecar.

    Raises:
        UsageError: with the reason.
        UnsafeCheckpointError: if it holds more than tensors.
    """
    path = Path(path)
    if not path.with_suffix(".json").is_file():
        raise UsageError(f"{path} has no sidecar {path.with_suffix('.json').name}")
    sidecar = read_sidecar(path, sha256_of_file(path))
    _check_keys(path, sidecar)
    _check_classes(path, sidecar)
    if foreign := unregistered_types(sidecar["enhance"]):
        raise UsageError(f"the sidecar of {path} asks for {foreign[0]!r}, no transform")
    _check_tensors(path, sidecar)
    return sidecar


def _check_keys(path: Path, sidecar: Mapping) -> None:
    missing = [key for key in NEEDED if key not in sidecar]
    if missing or sidecar["schema"] != SCHEMA:
        raise UsageError(
            f"{path.with_suffix('.json')} lacks {', '.join(missing) or 'nothing'} and "
            f"has schema {sidecar.get('schema')}; this version reads {SCHEMA}"
        )


def _check_classes(path: Path, sidecar: Mapping) -> None:
    known = [list(names) for names in (CLASS_NAMES, BINARY_NAMES)]
    classes = sidecar["classes"]
    if classes not in known or classes != sidecar["config"].get("classes"):
        raise UsageError(
            f"{path} has the classes {classes}, and its config "
            f"{sidecar['config'].get('classes')}; expected {known[0]} or {known[1]}"
        )
    head = sidecar["config"]["model"].get("decode_head", {})
    if head.get("num_classes") != len(classes):
        raise UsageError(
            f"{path} has {len(classes)} classes, but a network of "
            f"{head.get('num_classes')}"
        )


def _check_tensors(path: Path, sidecar: Mapping) -> None:
    """Compare names and shapes with those of the network."""
    model = build_model(path, sidecar)
    wanted, tensors = model.state_dict(), load_tensors(path)
    shapes = {key: tuple(t.shape) for key, t in tensors.items() if _is_tensor(t)}
    misfits = [
        f"{key} is {shapes.get(key, 'missing')}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if shapes.get(key) != tuple(value.shape)
    ]
    misfits += [f"{key} has no place in it" for key in tensors if key not in wanted]
    if misfits:
        raise UsageError(
            f"{path} does not fit the network of its sidecar: {len(misfits)} of "
            f"{len(wanted)} tensors, first {misfits[0]}"
        )
    check_kinds(model, tensors, file=path)
    broken = [key for key, value in tensors.items() if not _is_finite(value)]
    if broken:
        raise UsageError(f"{path} holds numbers that are none, first in {broken[0]}")


def _is_tensor(value) -> bool:
    return isinstance(value, torch.Tensor)


def _is_finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def measure(path: Path, sidecar: Mapping, *, work_dir: Path | None = None) -> dict:
    """Test a checkpoint on the cells that its training left out; return the results.

    Args:
        path: a checkpoint that ``verify`` lets pass.
        sidecar: its own.
        work_dir: where the test's files go; None: they are thrown away.

    Raises:
        DatasetError: if the dataset is not prepared; the message names the command.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(work_dir or Path(folder) / "test")
        config = test_config(sidecar)
        file = Path(folder) / "zoo.py"
        config.dump(str(file))
        request = TestRequest(
            config=str(file), checkpoint=str(path), work_dir=str(place), force=True
        )
        return json.loads((run_test(request) / "results.json").read_text())


def test_config(sidecar: Mapping) -> Config:
    """Return the config under which the figures of a sidecar are measured.

    Every test cell once, in mosaics of 2x2, at the size that cells had in training.
    """
    training = sidecar["training"]
    # Not the sidecar's method: a name that is a path would be run as a config.
    config = resolve_config(
        BASE,
        protocol="half",
        split=training["split"],
        data=training["dataset"],
        seed=training["seed"],
    )
    config.method, config.model = sidecar["method"], sidecar["config"]["model"]
    side = sidecar["scale"].get("cell_px")
    for loader in ("train_dataloader", "test_dataloader"):
        dataset = config[loader].dataset
        dataset.enhance = sidecar["enhance"]
        if side:
            dataset.size = side * dataset.n
    # Not a name of the protocol: the schedule was the training's own.
    config.protocol = "zoo"
    return config


test_config.__test__ = False  # pytest would take the function for a test


def compare_figures(sidecar: Mapping, results: Mapping) -> list[SaidAndFound]:
    """Return every figure of a sidecar beside the one that was measured."""
    return [
        SaidAndFound(name, said, results["metrics"].get(name))
        for name, said in sidecar["metrics"].items()
    ]
