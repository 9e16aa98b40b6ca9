"""The models of the zoo: list, show, fetch and verify."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from leuko_mm.classes import BINARY_NAMES, CLASS_NAMES
from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.files import sha256_of_file
from leuko_mm.inference.classify import names_cells
from leuko_mm.inference.model import read_checkpoint, shipped_checkpoint, shipped_names
from leuko_mm.report.html import number
from leuko_mm.stack import require_stack
from leuko_mm.zoo.entries import (
    NotPublishedError,
    ZooEntry,
    fetched_folder,
    find_entry,
    local_file,
    read_entries,
    require_published,
)

if TYPE_CHECKING:
    from mmengine.config import Config

# Of a sidecar, besides what predicting needs.
PUBLISHED_KEYS = ("method", "enhance", "training", "metrics", "licence")
# Points in percent between machines, precisions and versions of the libraries.
TOLERANCE = 0.3
# Any method's config: its network is replaced. The other one names cells.
BASE, CLASSES = "cbam_unet", "cell_classes"


class FetchError(LeukoError, OSError):
    """The file could not be downloaded."""

    exit_code = 3


def zoo_rows() -> list[tuple[str, ...]]:
    """Return what ``leuko zoo list`` shows: name, size, cost, mIoU, where it is."""
    rows = []
    for entry in read_entries():
        miou = next((m.get("mIoU") for m in entry.metrics.values()), None)
        size, cost = f"{entry.params_m:.1f} M", f"{entry.gmacs:.1f} G"
        rows.append((entry.name, size, cost, number(miou), _state(entry)))
    return rows


def _state(entry: ZooEntry) -> str:
    if entry.name in shipped_names():
        return "in the package"
    if path := local_file(entry):
        return "in the repository" if path == entry.beside else "fetched"
    return "to fetch" if entry.weights else "to train"


def describe(name: str) -> list[str]:
    """Return what ``leuko zoo show`` prints of a model: facts, then its card."""
    entry = find_entry(name)
    path = local_file(entry)
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
        values = (f"{key} {number(value, 2)}" for key, value in metrics.items())
        lines.append(f"on {data}: {', '.join(values)}")
    card = path.with_suffix(".md") if path else None
    if card and card.is_file():
        lines += ["", card.read_text(encoding="utf-8").rstrip()]
    return lines


def fetch(name: str, *, out: Path | None = None, force: bool = False) -> Path:
    """Return a model's checkpoint, fetched if neither package nor clone has it.

    The file appears whole and right, with its sidecar, or not at all.

    Args:
        name: of the model.
        out: folder; None: ``zoo/`` below the data home.
        force: fetch it again.

    Raises:
        NotPublishedError: naming the command that trains it, or where it is.
        FetchError: if it could not be downloaded.
    """
    entry = find_entry(name)
    if entry.shipped:
        return shipped_checkpoint(name)
    require_published(entry)
    if entry.beside:
        return _of_repository(entry)
    path = Path(out or fetched_folder()) / f"{name}.pth"
    sidecar = path.with_suffix(".json")
    if not force and path.is_file() and sha256_of_file(path) != entry.sha256:
        raise UsageError(
            f"{path} is not the published file; add --force to fetch that in its place"
        )
    require_stack()
    from leuko_mm.engine.download import download

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A fetch that fails leaves the old files.
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            into = Path(folder) if force else path.parent
            address = entry.weights.removesuffix(".pth") + ".json"
            new = download(address, into / sidecar.name)
            download(entry.weights, into / path.name, sha256=entry.sha256)
            if force:
                os.replace(new, sidecar)
                os.replace(into / path.name, path)
    except OSError as error:
        raise FetchError(f"{name} was not fetched: {error}") from error
    return path


def _of_repository(entry: ZooEntry) -> Path:
    path = entry.beside
    if not (path.is_file() and path.with_suffix(".json").is_file()):
        sidecar = Path(entry.weights).with_suffix(".json")
        raise NotPublishedError(
            f"{entry.name} is in the repository and not in the package: there is no "
            f"{path}. Copy {entry.weights} and {sidecar} from a clone into "
            f"{fetched_folder()}"
        )
    if sha256_of_file(path) != entry.sha256:
        raise UsageError(
            f"{path} is not the published file; `git checkout {entry.weights}` gets it"
        )
    return path


def verify(path: Path) -> dict:
    """Refuse a checkpoint that does not fit its sidecar; return the sidecar.

    Raises:
        CheckpointError: if the two cannot be used for predicting.
        UsageError: if the sidecar lacks something, or a tensor is not finite.
        UnsafeCheckpointError: if the file holds more than tensors.
    """
    require_stack()
    read = read_checkpoint(path)
    sidecar = dict(read.sidecar)
    missing = [key for key in PUBLISHED_KEYS if key not in sidecar]
    if missing:
        raise UsageError(
            f"{read.path.with_suffix('.json')} lacks {', '.join(missing)}; expected "
            "the sidecar that `leuko train` wrote"
        )
    if read.classes not in (CLASS_NAMES, BINARY_NAMES):
        raise UsageError(
            f"{path} has the classes {list(read.classes)}; expected "
            f"{list(CLASS_NAMES)} or {list(BINARY_NAMES)}"
        )
    for name, tensor in read.model.state_dict().items():
        if not tensor.isfinite().all():
            raise UsageError(f"{path} holds values that are not finite, in {name}")
    return sidecar


def measure(path: Path, sidecar: Mapping, *, work_dir: Path | None = None) -> dict:
    """Test a checkpoint on the cells that its training left out; return the results.

    Args:
        path: a checkpoint that ``verify`` accepts.
        sidecar: its own.
        work_dir: folder of the test's files; None: they are deleted.
    """
    from leuko_mm.training.run import TestRequest, run_test

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "zoo.py"
        measuring_config(sidecar).dump(str(file))
        request = TestRequest(
            config=str(file),
            checkpoint=str(path),
            work_dir=str(work_dir or Path(folder) / "test"),
            force=True,
        )
        return json.loads((run_test(request) / "results.json").read_bytes())


def measuring_config(sidecar: Mapping) -> Config:
    """Return the config under which the metrics of a sidecar are measured.

    Every test cell once, in mosaics of 2x2, at the size that cells had in training; by
    itself where the network names cells.
    """
    from leuko_mm.training.config import resolve_config

    training = sidecar["training"]
    names = ",".join(one["name"] for one in training.get("datasets", ()))
    given = dict(split=training["split"], seed=training["seed"])
    given["data"] = names or training["dataset"]
    if names_cells(sidecar):
        config = resolve_config(CLASSES, **given)
        config.model = sidecar["config"]["model"]
        return config
    # Not the sidecar's method: a name that is a path would be run as a config.
    config = resolve_config(BASE, protocol="labs" if names else "half", **given)
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


class MetricPair(NamedTuple):
    """One metric as the sidecar has it and as it was measured now, in percent."""

    name: str
    published: float | None
    measured: float | None

    @property
    def agrees(self) -> bool:
        """Whether the two are at most ``TOLERANCE`` apart, or neither is there."""
        if self.published is None or self.measured is None:
            return self.published is self.measured
        return abs(self.published - self.measured) <= TOLERANCE


def compare_metrics(sidecar: Mapping, results: Mapping) -> list[MetricPair]:
    """Return every metric of a sidecar beside the one that was measured."""
    return [
        MetricPair(name, published, results["metrics"].get(name))
        for name, published in sidecar["metrics"].items()
    ]
