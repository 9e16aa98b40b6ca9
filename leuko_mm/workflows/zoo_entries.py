"""The list of models, configs/metafile.yml, as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.inference.shipped import training_command
from leuko_mm.workflows.find_config import config_home

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
        name: of the method, as ``leuko train`` takes it.
        config: path below the project's root.
        params_m, gmacs: millions of parameters, 10^9 multiply-adds at 512x512.
        pretrained: name of the encoder's weights, None for random ones.
        weights: ``package``, an address, or None where no file is published.
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
    def command(self) -> str:
        """The command that trains the model."""
        return training_command(self.name)


def metafile_path() -> Path:
    """Return the file of the list, in a clone or an installed package."""
    return config_home() / METAFILE


def read_entries(path: Path | None = None) -> list[ZooEntry]:
    """Return all models of the list.

    Args:
        path: None: the project's own.

    Raises:
        UsageError: if the file is no such list; the message names the model.
    """
    path = path or metafile_path()
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
    name = model.get("Name") if isinstance(model, Mapping) else model
    unknown = set(model) - KEYS if isinstance(model, Mapping) else {"no mapping"}
    missing = NEEDED - set(model) if isinstance(model, Mapping) else NEEDED
    if unknown or missing:
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


def find_entry(name: str, path: Path | None = None) -> ZooEntry:
    """Return a model of the list.

    Raises:
        UsageError: if there is none; the message names the nearest names.
    """
    entries = {entry.name: entry for entry in read_entries(path)}
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(
        f"no model {name!r} in the zoo.{hint} There are: {', '.join(entries)}"
    )


def to_yaml(entries: list[ZooEntry]) -> str:
    """Return the text of the list.

    Example:
        >>> text = to_yaml([ZooEntry("a", "configs/a.py", 1.5, 2.0)])
        >>> yaml.safe_load(text)["Models"][0]["Metadata"]["Parameters (M)"]
        1.5
    """
    content = dict(
        Collections=[
            dict(
                Name="leuko_mm",
                Metadata=dict(Task="Leukocyte segmentation", License="Apache-2.0"),
                README="docs/model_zoo.md",
            )
        ],
        Models=[_model(entry) for entry in entries],
    )
    return yaml.safe_dump(content, sort_keys=False, width=88, allow_unicode=True)


def _model(entry: ZooEntry) -> dict:
    about = {
        "Parameters (M)": entry.params_m,
        "Multiply-adds (G)": entry.gmacs,
        "Encoder starts from": entry.pretrained,
    }
    if entry.sha256:
        about["SHA256"] = entry.sha256
    results = [
        {"Task": "Semantic Segmentation", "Dataset": data, "Metrics": dict(metrics)}
        for data, metrics in entry.metrics.items()
    ]
    return {
        "Name": entry.name,
        "In Collection": "leuko_mm",
        "Config": entry.config,
        "Metadata": about,
        "Results": results,
        "Weights": entry.weights,
    }


def renewed(
    entries: list[ZooEntry], sizes: Mapping[str, Mapping], sidecars: Mapping[str, dict]
) -> list[ZooEntry]:
    """Return the list as it follows from what is measured and what is shipped.

    Addresses and hashes of files elsewhere are kept as they are.

    Args:
        entries: as they were.
        sizes: of every method, as ``docs/model_table.json``.
        sidecars: of every checkpoint in the package.
    """
    former = {entry.name: entry for entry in entries}
    found = []
    for name, size in sorted(sizes.items()):
        old, sidecar = former.get(name), sidecars.get(name)
        elsewhere = old if old and old.weights not in (None, PACKAGE) else None
        metrics = elsewhere.metrics if elsewhere else {}
        if sidecar:
            training = sidecar["training"]
            data = f"{training['dataset']} {training['split']}"
            metrics = {data: {k: round(v, 2) for k, v in sidecar["metrics"].items()}}
        found.append(
            ZooEntry(
                name=name,
                config=f"configs/{name}.py",
                params_m=size["params_m"],
                gmacs=size["gmacs"],
                pretrained=size["pretrained"],
                weights=PACKAGE if sidecar else elsewhere and elsewhere.weights,
                sha256=sidecar["sha256"] if sidecar else elsewhere and elsewhere.sha256,
                metrics=metrics,
            )
        )
    return found
