"""The list of models, configs/metafile.yml, as data; and where their files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from leuko_mm.datasets.prepared import data_home
from leuko_mm.errors import LeukoError, UsageError, nearest
from leuko_mm.files import config_home
from leuko_mm.inference.model import (
    shipped_folder,
    shipped_model,
    shipped_names,
    training_command,
)

METAFILE = "metafile.yml"
PACKAGE = "package"
KEYS = {"Name", "In Collection", "Config", "Metadata", "Results", "Weights"}
NEEDED = {"Name", "Config", "Metadata", "Weights"}


class NotPublishedError(LeukoError, ValueError):
    """Nobody has published the file; the message says how to make it."""

    exit_code = 3


@dataclass(frozen=True)
class ZooEntry:
    """One model of the list.

    Args:
        config: path below the project's root.
        params_m, gmacs: millions of parameters, 10^9 multiply-adds at 512x512.
        pretrained: name of the encoder's weights, None for random ones.
        weights: ``package``, an address, a file of the repository that is not in the
            package, or None where no file is published.
        sha256: of the published file, None without one.
        metrics: of the published file, by name of dataset and split.
    """

    name: str
    config: str
    params_m: float
    gmacs: float
    pretrained: str | None = None
    weights: str | None = None
    sha256: str | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def shipped(self) -> bool:
        """Whether the package carries the file."""
        return self.weights == PACKAGE

    @property
    def beside(self) -> Path | None:
        """The file in the repository, beside the package; None for other models."""
        if not self.weights or self.shipped or "://" in self.weights:
            return None
        return config_home().parent / self.weights

    @property
    def command(self) -> str:
        """The command that trains the model."""
        return training_command(self.name)


def read_entries(path: Path | None = None) -> list[ZooEntry]:
    """Return all models of a list, by default the project's own."""
    path = path or config_home() / METAFILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    models = content.get("Models") if isinstance(content, Mapping) else None
    if not isinstance(models, list):
        raise UsageError(f"{path} has no list 'Models'")
    entries = [_entry(model, path) for model in models]
    names = [entry.name for entry in entries]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{path} names {', '.join(sorted(doubled))} twice")
    return entries


def _entry(model: Mapping, path: Path) -> ZooEntry:
    if not isinstance(model, Mapping):
        raise UsageError(f"{path}: expected a model with a Name, got {model!r}")
    name, missing, unknown = model.get("Name"), NEEDED - set(model), set(model) - KEYS
    if missing or unknown:
        raise UsageError(
            f"{path}: model {name!r} lacks {sorted(missing)} and has "
            f"{sorted(unknown)}, which nothing reads"
        )
    about = model["Metadata"]
    if model["Weights"] and not about.get("SHA256"):
        raise UsageError(f"{path}: model {name!r} has Weights, but no Metadata.SHA256")
    return ZooEntry(
        name=name,
        config=model["Config"],
        params_m=about["Parameters (M)"],
        gmacs=about["Multiply-adds (G)"],
        pretrained=about.get("Encoder starts from"),
        weights=model["Weights"],
        sha256=about.get("SHA256"),
        metrics={
            result["Dataset"]: result["Metrics"]
            for result in model.get("Results") or ()
        },
    )


def find_entry(name: str) -> ZooEntry:
    """Return a model of the list."""
    entries = {entry.name: entry for entry in read_entries()}
    if name in entries:
        return entries[name]
    near = nearest(name, entries, count=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(
        f"no model {name!r} in the zoo.{hint} There are: {', '.join(entries)}"
    )


def checkpoint_of(name: str) -> Path:
    """Return the checkpoint of a model by its name, or of a path."""
    if Path(name).suffix == ".pth":
        if not Path(name).is_file():
            raise UsageError(f"checkpoint {name} does not exist")
        return Path(name)
    entry = find_entry(name)
    path = local_file(entry)
    if path is None:
        require_published(entry)
        raise UsageError(f"{name} is not here yet; run `leuko zoo fetch {name}`")
    return path


def network_of(
    name: str, *, device: str | None = None, runtime: str | None = None
) -> Path:
    """Return the file of a model by its name that a device and a runtime can run.

    Args:
        name: of a model in the package or fetched, or a path.
        device, runtime: as of ``shipped_model``.
    """
    if name in shipped_names():
        return shipped_model(name, device=device, runtime=runtime)
    return checkpoint_of(name)


def network_at(
    path: Path, *, device: str | None = None, runtime: str | None = None
) -> Path:
    """Return a path as it is, or the file of the model that a bare word names."""
    if path.exists() or path.suffix or path.parts[1:]:
        return path
    return network_of(str(path), device=device, runtime=runtime)


def local_file(entry: ZooEntry) -> Path | None:
    """Return a model's checkpoint on this machine, None if it is not there."""
    paths = [
        folder / f"{entry.name}.pth" for folder in (shipped_folder(), fetched_folder())
    ]
    if entry.beside:
        paths.append(entry.beside)
    for path in paths:
        if path.is_file() and path.with_suffix(".json").is_file():
            return path
    return None


def fetched_folder() -> Path:
    """Return the folder of fetched checkpoints, below the data home."""
    return data_home() / "zoo"


def require_published(entry: ZooEntry) -> None:
    """Refuse a model without a published file, naming the command that trains it."""
    if not entry.weights:
        raise NotPublishedError(
            f"no checkpoint of {entry.name} is published. Train it:\n    "
            f"{entry.command}"
        )
