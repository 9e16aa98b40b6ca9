"""From a config's name and a few choices to the complete, checked config of a run."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

import leuko_mm

# What a method file may define; the protocol defines everything else.
EVERY_CELL = "all"
METHOD_KEYS = ("method", "variant", "model")
RUNNER_KEYS = frozenset(
    [
        "auto_scale_lr",
        "custom_hooks",
        "default_hooks",
        "default_scope",
        "env_cfg",
        "experiment_name",
        "launcher",
        "load_from",
        "log_level",
        "log_processor",
        "model",
        "optim_wrapper",
        "param_scheduler",
        "randomness",
        "resume",
        "test_cfg",
        "test_dataloader",
        "test_evaluator",
        "train_cfg",
        "train_dataloader",
        "val_cfg",
        "val_dataloader",
        "val_evaluator",
        "visualizer",
        "work_dir",
    ]
)
KNOWN_KEYS = RUNNER_KEYS | {"method", "variant", "protocol"}


class UsageError(ValueError):
    """The user asked for something that is not there; the message says what to do."""


def config_home() -> Path:
    """Return the folder of the configs: in the wheel, or beside the package."""
    package = Path(leuko_mm.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find_config(name: str) -> Path:
    """Return a config's file, given a path or a name such as ``cbam_unet``.

    Raises:
        UsageError: if there is none; the message lists the names.
    """
    given = Path(name)
    if given.is_file():
        return given
    home = config_home()
    named = home / given.with_suffix(".py")
    # A clone's path also works where only the wheel is installed.
    inside = (
        home.joinpath(*given.parts[1:]) if given.parts[:1] == ("configs",) else None
    )
    for path in (named, inside):
        if path is not None and path.is_file():
            return path
    leaves = [p.relative_to(home).with_suffix("") for p in sorted(home.rglob("*.py"))]
    names = [str(p) for p in leaves if p.parts[0] != "_base_"]
    raise UsageError(f"no config {name!r}; there are: {', '.join(names)}")


def protocol_names() -> list[str]:
    """Return the protocols that ``--protocol`` accepts."""
    folder = config_home() / "_base_" / "protocols"
    return sorted(p.stem for p in folder.glob("*.py"))


def resolve_config(
    name: str,
    *,
    protocol: str | None = None,
    split: str | None = None,
    data: str | None = None,
    seed: int | None = None,
    options: Mapping | None = None,
) -> Config:
    """Return the complete config of a run.

    Args:
        name: a config's path or name.
        protocol: replaces the config's own protocol; the method stays.
        split: replaces the split of both loaders; ``all`` stands for every cell.
        data: replaces the dataset of both loaders.
        seed: replaces the seed everywhere it enters.
        options: ``--cfg-options``, applied last but for nothing.

    Raises:
        UsageError: for an unknown config, protocol or top-level key.
    """
    path = find_config(name)
    config = _load(path)
    if protocol is not None:
        config = _under_protocol(config, protocol)
    config.setdefault("method", path.stem)
    for part in ("train", "test"):
        dataset = config[f"{part}_dataloader"]["dataset"]
        inner = dataset.get("dataset", dataset)
        if split is not None:
            inner["split"] = None if split == EVERY_CELL else split
        if data is not None:
            inner["name"] = data
        if seed is not None and part == "train":
            dataset["seed"] = seed
    if seed is not None:
        config.randomness = dict(seed=seed)
    if options:
        config.merge_from_dict(dict(options))
    check_keys(config)
    return config


def _load(path: Path) -> Config:
    try:
        return Config.fromfile(str(path))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: {error}") from None


def _under_protocol(config: Config, protocol: str) -> Config:
    """Put the method of a config under another protocol."""
    if protocol not in protocol_names():
        raise UsageError(
            f"no protocol {protocol!r}; there are: {', '.join(protocol_names())}"
        )
    base = config_home() / "_base_"
    shared = Config.fromfile(str(base / "runtime.py"))
    shared.merge_from_dict(
        Config.fromfile(str(base / "protocols" / f"{protocol}.py")).to_dict()
    )
    # A new object, so that the run's copy of the config is named after the method.
    merged = Config(shared.to_dict(), filename=config.filename)
    for key in METHOD_KEYS:
        if key in config:
            merged[key] = config[key]
    for loader in ("train_dataloader", "test_dataloader"):
        enhance = config[loader]["dataset"].get("enhance")
        merged[loader]["dataset"]["enhance"] = enhance
    return merged


def check_keys(config: Config) -> None:
    """Refuse top-level keys that nothing reads; names that begin with _ are free.

    Raises:
        UsageError: naming each unknown key and the known one nearest to it.
    """
    unknown = [k for k in config if k not in KNOWN_KEYS and not k.startswith("_")]
    if not unknown:
        return
    hints = []
    for key in unknown:
        near = difflib.get_close_matches(key, KNOWN_KEYS, n=1)
        hints.append(f"{key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    raise UsageError(
        f"the config has keys that nothing reads: {', '.join(hints)}. Begin a name "
        "with _ to keep it for yourself"
    )


def config_hash(config: Config) -> str:
    """Return the sha256 of a resolved config, wherever and when it is run."""
    kept = {k: v for k, v in config.to_dict().items() if not _is_local(k)}
    return hashlib.sha256(repr(_sorted(kept)).encode()).hexdigest()


def _is_local(key: str) -> bool:
    local = ("work_dir", "experiment_name", "launcher", "resume", "load_from")
    return key.startswith("_") or key in local


def _sorted(value):
    if isinstance(value, Mapping):
        return [(k, _sorted(v)) for k, v in sorted(value.items())]
    if isinstance(value, (list, tuple)):
        return [_sorted(v) for v in value]
    return value
