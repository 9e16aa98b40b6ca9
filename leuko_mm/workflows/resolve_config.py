"""From a config's name and a few choices to the complete, checked config of a run."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

import leuko_mm

# A split's name that stands for no split.
EVERY_CELL = "all"
# What a method file may define; the protocol defines everything else.
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
# Without these there is nothing to train, or no way to test it.
NEEDED_KEYS = (
    "model",
    "train_cfg",
    "optim_wrapper",
    "train_dataloader",
    "test_dataloader",
    "test_evaluator",
    "randomness",
)


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
        UsageError: for an unknown config, protocol or top-level key, for a config that
            cannot be read, lacks a part, or does not take the options.
    """
    path = find_config(name)
    config = _load(path)
    # Before the protocol: it would drop a misspelt key without a word.
    check_keys(config)
    if protocol is not None:
        config = _under_protocol(config, protocol)
    _check_complete(config, path)
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
        _merge_options(config, options)
    check_keys(config)
    return config


def _load(path: Path) -> Config:
    try:
        return Config.fromfile(str(path))
    # A config is a program of the user's: it may raise anything.
    except Exception as error:
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise UsageError(
            f"the config {path} cannot be read: {type(error).__name__}: {said}"
        ) from error


def _merge_options(config: Config, options: Mapping) -> None:
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        given = " ".join(f"{key}={value}" for key, value in options.items())
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise UsageError(f"--cfg-options {given}: {said}") from error


def _check_complete(config: Config, path: Path) -> None:
    missing = [key for key in NEEDED_KEYS if not config.get(key)]
    missing += [
        f"{loader}.dataset"
        for loader in ("train_dataloader", "test_dataloader")
        if config.get(loader) and "dataset" not in config[loader]
    ]
    if missing:
        raise UsageError(
            f"the config {path} lacks {', '.join(missing)}; begin it with\n"
            "    _base_ = ['_base_/runtime.py', '_base_/protocols/half.py']\n"
            "and give it a model, as configs/cbam_unet.py does"
        )


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
        enhance = config.get(loader, {}).get("dataset", {}).get("enhance")
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
    if isinstance(kept.get("test_evaluator"), dict):
        kept["test_evaluator"].pop("out_dir", None)
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
