"""From a config's name and a few choices to the complete, checked config of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from leuko_mm.errors import UsageError
from leuko_mm.files import sha256_of
from leuko_mm.nearest import did_you_mean, nearest
from leuko_mm.workflows.find_config import find_config
from leuko_mm.workflows.schedule_length import train_for
from leuko_mm.workflows.settings import apply_setting
from leuko_mm.workflows.under_protocol import (
    METHOD_KEYS,
    fit_to_classes,
    fit_to_method,
    under_protocol,
)

# A split's name that stands for no split.
EVERY_CELL = "all"
# Keys that are this alike are taken for one; further apart, both may be meant.
ALIKE = 0.85
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
KNOWN_KEYS = RUNNER_KEYS | {"protocol", *METHOD_KEYS}
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


def resolve_config(
    name: str,
    *,
    protocol: str | None = None,
    setting: str | None = None,
    split: str | None = None,
    data: str | None = None,
    seed: int | None = None,
    iterations: int | None = None,
    options: Mapping | None = None,
) -> Config:
    """Return the complete config of a run.

    Args:
        name: a config's path or name.
        protocol: replaces the config's own protocol; the method stays.
        setting: a name of ``SETTINGS``; replaces enhancement and loss.
        split: replaces the split of both loaders; ``all`` stands for every cell.
        data: replaces the dataset of both loaders.
        seed: replaces the seed everywhere it enters.
        iterations: how long to train, stages in proportion; see ``train_for``.
        options: ``--cfg-options``, applied last but for nothing.

    Raises:
        UsageError: for an unknown config, protocol, setting or top-level key, for a
            config that cannot be read, lacks a part, or does not take the setting or
            the options.
    """
    path = find_config(name)
    config = _load(path)
    # Before the protocol: it would drop a misspelt key without a word.
    check_keys(config)
    if protocol is not None:
        config = under_protocol(config, protocol)
    _check_complete(config, path)
    config.setdefault("method", path.stem)
    fit_to_method(config)
    fit_to_classes(config)
    if setting is not None:
        apply_setting(config, setting)
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
    if iterations is not None:
        train_for(config, iterations)
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
    for option in options:
        _check_option(config, option)
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        given = " ".join(f"{key}={value}" for key, value in options.items())
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise UsageError(f"--cfg-options {given}: {said}") from error


def _check_option(config: Config, option: str) -> None:
    """Refuse an option that would change nothing, or that misspells a key.

    A key that is not there may be an argument that the config leaves at its default,
    so it is refused only where a key beside it is nearly the same.
    """
    if option.startswith("_"):
        raise UsageError(
            f"--cfg-options {option}: a name that begins with _ is read only inside "
            "the config file; change a copy of the file, or give --iterations N for "
            "the length"
        )
    place, *path = config.to_dict(), *option.split(".")
    for depth, key in enumerate(path):
        if isinstance(place, (list, tuple)) and key.isdecimal():
            place = place[int(key)] if int(key) < len(place) else None
        elif isinstance(place, Mapping) and key in place:
            place = place[key]
        else:
            # Top-level keys are checked after merging; mmengine checks the rest.
            meant = nearest(key, place, alike=ALIKE) if isinstance(place, dict) else []
            if depth and meant:
                raise UsageError(
                    f"--cfg-options {option}: {'.'.join(path[:depth])} has no {key!r} "
                    f"(did you mean {meant[0]!r}?)"
                )
            return


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
        hints.append(f"{key!r}{did_you_mean(key, KNOWN_KEYS)}")
    raise UsageError(
        f"the config has keys that nothing reads: {', '.join(hints)}. Begin a name "
        "with _ to keep it for yourself"
    )


def config_hash(config: Config) -> str:
    """Return the sha256 of a resolved config, wherever and when it is run."""
    kept = {k: v for k, v in config.to_dict().items() if not _is_local(k)}
    if isinstance(kept.get("test_evaluator"), dict):
        kept["test_evaluator"].pop("out_dir", None)
    return sha256_of(repr(_sorted(kept)))


def _is_local(key: str) -> bool:
    local = ("work_dir", "experiment_name", "launcher", "resume", "load_from")
    return key.startswith("_") or key in local


def _sorted(value):
    if isinstance(value, Mapping):
        return [(k, _sorted(v)) for k, v in sorted(value.items())]
    if isinstance(value, (list, tuple)):
        return [_sorted(v) for v in value]
    return value
