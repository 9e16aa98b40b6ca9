"""From a config's name and a few choices to the complete, checked config of a run.

``--setting A`` and ``--setting B`` put any method under them, so that a row of a
comparison says which it is, and no method has a loss or an image of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

import leuko_mm
from leuko_mm.classes import BINARY_NAMES
from leuko_mm.errors import UsageError, did_you_mean, nearest
from leuko_mm.files import sha256_of
from leuko_mm.models.cell_encoder_decoder import TEST_CFG_KEYS


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
    known = config_names()
    methods = [one for one in known if "/" not in one]
    raise UsageError(
        f"no config {name!r}{_meant(given, known)}; there are: {', '.join(methods)}, "
        "and more in folders: leuko list configs"
    )


def _meant(given: Path, known: Iterable[str]) -> str:
    """Guess by the name alone where the folder does not help."""
    stem = given.with_suffix("").as_posix().removeprefix("configs/")
    return did_you_mean(stem, known) or did_you_mean(given.stem, known)


def config_names() -> dict[str, Path]:
    """Return the configs that ``leuko train`` takes by name, with their files."""
    home = config_home()
    files = [path.relative_to(home) for path in sorted(home.rglob("*.py"))]
    return {
        file.with_suffix("").as_posix(): home / file
        for file in files
        if file.parts[0] != "_base_" and file.name != "__init__.py"
    }


def protocol_names() -> list[str]:
    """Return the protocols that ``--protocol`` accepts."""
    return sorted(path.stem for path in protocol_folder().glob("*.py"))


def protocol_folder() -> Path:
    """Return the folder of the protocols' files."""
    return config_home() / "_base_" / "protocols"


# What a method file may define; the protocol defines everything else.
METHOD_KEYS = (
    "method",
    "variant",
    "model",
    # False: a pretrained encoder is trained from the first iteration on.
    "frozen_first",
    # See leuko_mm.training.config.
    "takes_setting",
    "setting_losses",
)
LOADERS = ("train_dataloader", "test_dataloader")


def under_protocol(config: Config, protocol: str) -> Config:
    """Return the method of a config under another protocol.

    Args:
        config: as its file says.
        protocol: a file of ``configs/_base_/protocols``, without its suffix.

    Raises:
        UsageError: for an unknown protocol.
    """
    if protocol not in protocol_names():
        known = protocol_names()
        raise UsageError(
            f"no protocol {protocol!r}{did_you_mean(protocol, known)}; there are: "
            f"{', '.join(known)}"
        )
    shared = Config.fromfile(str(config_home() / "_base_" / "runtime.py"))
    shared.merge_from_dict(
        Config.fromfile(str(protocol_folder() / f"{protocol}.py")).to_dict()
    )
    # A new object, so that the run's copy of the config is named after the method.
    merged = Config(shared.to_dict(), filename=config.filename)
    for key in METHOD_KEYS:
        if key in config:
            merged[key] = config[key]
    # How an answer is read is no part of a method.
    for key in TEST_CFG_KEYS:
        merged.model.get("test_cfg", {}).pop(key, None)
    for loader in LOADERS:
        enhance = config.get(loader, {}).get("dataset", {}).get("enhance")
        merged[loader]["dataset"]["enhance"] = enhance
    return merged


def fit_to_method(config: Config) -> None:
    """Do not freeze the encoder first where the method says so, in place."""
    if config.get("frozen_first", True):
        return
    for hook in config.get("custom_hooks") or []:
        if hook.get("type") == "leuko_mm.StagedFreezeHook":
            hook.update({key: 0 for key in ("iters", "epochs") if key in hook})


def fit_to_classes(config: Config) -> None:
    """Give every classifier of the model two classes where the data has two, in place.

    What decides is ``binary`` of the training cells, so that a protocol says it once.

    Example:
        >>> cells = dict(type="leuko_mm.LeukocyteDataset", binary=True)
        >>> model = dict(decode_head=dict(num_classes=6))
        >>> config = Config(dict(model=model, train_dataloader=dict(dataset=cells)))
        >>> fit_to_classes(config)
        >>> config.model.decode_head.num_classes
        2
    """
    dataset = config.train_dataloader["dataset"]
    if not dataset.get("dataset", dataset).get("binary"):
        return
    for part in _dicts_of(config.model):
        if "num_classes" not in part:
            continue
        if part.get("out_channels") == part["num_classes"]:
            part["out_channels"] = len(BINARY_NAMES)
        part["num_classes"] = len(BINARY_NAMES)


def _dicts_of(value: Any) -> Iterator[dict]:
    if isinstance(value, Mapping):
        yield value
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for inner in value:
        yield from _dicts_of(inner)


LOADERS_SETTINGS = ("train_dataloader", "test_dataloader")
# Where the loss of a method stands in its model, unless ``setting_losses`` says more.
LOSS_KEYS = ("decode_head.loss_decode",)


@dataclass(frozen=True)
class Setting:
    """One way to show images and to score predictions while training.

    Attributes:
        words: what it is, in a line.
        enhance: config of the enhancement of every cell; None: raw images.
        losses: configs of the losses on the logits.
    """

    words: str
    enhance: Mapping | None
    losses: tuple[Mapping, ...]


SETTINGS = {
    "A": Setting(
        words="raw image, cross-entropy",
        enhance=None,
        losses=(
            dict(
                type="CrossEntropyLoss",
                use_sigmoid=False,
                # The mean is over the pixels that count, as in FocalDiceLoss.
                avg_non_ignore=True,
                loss_weight=1.0,
            ),
        ),
    ),
    "B": Setting(
        words="AHE-Retinex, focal + Dice loss",
        enhance=dict(type="leuko_mm.AHERetinex", reading="hsv"),
        losses=(dict(type="leuko_mm.FocalDiceLoss", gamma=2.0),),
    ),
}

# A run of a method under a setting is the same network as a row of the ablation.
SAME_AS = {
    ("unet_vgg16", "A"): "none",
    ("unet_vgg16", None): "dice_focal",
    ("unet_vgg16", "B"): "retinex_dice_focal",
    ("cbam_unet", "A"): "cbam",
    ("cbam_unet", None): "cbam_dice_focal",
    ("cbam_unet", "B"): "all_three",
}
# The rows of the paper's ablation (its Fig. 10), then those that it does not have.
COMBINATIONS = {
    "none": "cross-entropy",
    "retinex": "AHE-Retinex",
    "retinex_cbam": "AHE-Retinex, CBAM",
    "retinex_dice_focal": "AHE-Retinex, focal + Dice",
    "all_three": "AHE-Retinex, CBAM, focal + Dice",
    "cbam": "CBAM",
    "dice_focal": "focal + Dice",
    "cbam_dice_focal": "CBAM, focal + Dice",
}


def apply_setting(config: Config, name: str) -> None:
    """Put a resolved config under a setting, in place.

    ``variant`` becomes the setting's name, behind a variant that the config has
    already. A method file with more than one loss names, in ``setting_losses``, the
    keys of its model that take the setting's; a file that is about the loss or the
    enhancement says ``takes_setting = False``.

    Args:
        config: a complete config.
        name: a key of ``SETTINGS``.

    Raises:
        UsageError: if there is no such setting, the config takes none, or its model
            has no such loss.

    Example:
        >>> loaders = {loader: dict(dataset=dict()) for loader in LOADERS}
        >>> head = dict(loss_decode=[dict(type="leuko_mm.FocalDiceLoss")])
        >>> config = Config(dict(model=dict(decode_head=head), **loaders))
        >>> apply_setting(config, "A")
        >>> config.variant, config.model.decode_head.loss_decode[0].type
        ('A', 'CrossEntropyLoss')
    """
    if name not in SETTINGS:
        known = ", ".join(f"{key} ({s.words})" for key, s in SETTINGS.items())
        hint = did_you_mean(name, SETTINGS)
        raise UsageError(f"no setting {name!r}{hint}; there are: {known}")
    if not config.get("takes_setting", True):
        raise UsageError(
            f"{config.get('method')} {config.get('variant')} is about the enhancement "
            f"or the loss itself, or has a setting already, which setting {name} would "
            f"undo; leave --setting out, or give it to {config.get('method')}"
        )
    setting = SETTINGS[name]
    for key in config.get("setting_losses") or LOSS_KEYS:
        _replace(config.model, key, [copy.deepcopy(loss) for loss in setting.losses])
    for loader in LOADERS_SETTINGS:
        config[loader]["dataset"]["enhance"] = copy.deepcopy(setting.enhance)
    config["variant"] = "-".join(v for v in (config.get("variant"), name) if v)
    # The copy that a run keeps of its config has it, and must not get a second one.
    config["takes_setting"] = False


def _replace(model: Any, key: str, value: Any) -> None:
    *way, last = key.split(".")
    place = model
    for name in way:
        place = place.get(name) if isinstance(place, Mapping) else None
    if not isinstance(place, Mapping) or last not in place:
        raise UsageError(
            f"a setting replaces model.{key}, which this model has not; name the keys "
            "of its losses in setting_losses, such as ['decode_head.loss_decode']"
        )
    place[last] = value


def train_for(config: Config, iterations: int) -> None:
    """Give a resolved config another number of iterations, in place.

    The encoder stays frozen for the same share of them, and schedules that end with
    the training still do; a warm-up keeps its length. ``variant`` gets ``i<number>``
    appended, so that results of other lengths have other names. The config's own
    number changes nothing.

    Args:
        config: a complete config.
        iterations: how many.

    Raises:
        UsageError: if the config counts in epochs, or a schedule that does not end
            with the training is as long as the iterations asked for.

    Example:
        >>> schedule = [dict(type="CosineAnnealingLR", begin=20, end=650)]
        >>> hook = dict(type="leuko_mm.StagedFreezeHook", iters=97)
        >>> config = Config(
        ...     dict(
        ...         train_cfg=dict(max_iters=650),
        ...         param_scheduler=schedule,
        ...         custom_hooks=[hook],
        ...     )
        ... )
        >>> train_for(config, 300)
        >>> config.param_scheduler[0].end, config.custom_hooks[0].iters, config.variant
        (300, 45, 'i300')
    """
    former = config.train_cfg.get("max_iters")
    if not former:
        raise UsageError(
            "--iterations needs a config that counts iterations; this one has no "
            "train_cfg.max_iters"
        )
    if iterations == former:
        return
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        _fit(scheduler, former, iterations)
    for hook in config.get("custom_hooks") or []:
        if hook.get("type") == "leuko_mm.StagedFreezeHook" and "iters" in hook:
            hook["iters"] = round(hook["iters"] * iterations / former)
    config.train_cfg["max_iters"] = iterations
    parts = (config.get("variant"), f"i{iterations}")
    config["variant"] = "-".join(part for part in parts if part)


def _fit(scheduler: dict, former: int, iterations: int) -> None:
    for key in ("end", "T_max"):
        if scheduler.get(key) == former:
            scheduler[key] = iterations
    stage = [scheduler.get(key) or 0 for key in ("begin", "end")]
    begins_late = stage[0] >= iterations
    ends_late = scheduler.get("end") != iterations and stage[1] >= iterations
    if begins_late or ends_late:
        raise UsageError(
            f"--iterations {iterations} is too few: the {scheduler.get('type')} of "
            f"the schedule goes from {stage[0]} to {stage[1]}"
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
