"""From a config's name and a few choices to the complete, checked config of a run.

The protocol (data, schedule, evaluation) replaces all of a config but its method. A
setting replaces the method's enhancement and losses, so that methods can be compared.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE, ConfigParsingError
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils import get_object_from_string
from mmseg import registry as registries

from leuko_mm.classes import BINARY_NAMES
from leuko_mm.datasets.prepared import dataset_root
from leuko_mm.errors import UsageError, did_you_mean, nearest
from leuko_mm.files import config_home, sha256_of
from leuko_mm.models.cell_encoder_decoder import TEST_CFG_KEYS
from leuko_mm.plugins import unregistered_types
from leuko_mm.registry import SCOPE, UnknownPartError
from leuko_mm.training.custom_imports import IMPORTED, KEPT, check_scopes, import_own

FREEZE_HOOK = "leuko_mm.StagedFreezeHook"
LOADERS = ("train_dataloader", "test_dataloader")
# The split that stands for no split.
EVERY_CELL = "all"
# What a method file may define; the protocol defines everything else.
METHOD_KEYS = ("method", "variant", "model", "custom_imports")
METHOD_KEYS += ("frozen_first", "takes_setting", "takes_protocol", "setting_losses")
METHOD_KEYS += KEPT
KNOWN_KEYS = {*inspect.signature(Runner).parameters, "protocol", *METHOD_KEYS}
# data_preprocessor belongs into the model, where the sidecar finds it.
KNOWN_KEYS -= {"cfg", "data_preprocessor"}
# MMSegmentation's configs bring them along, for its own test under views.
KNOWN_KEYS |= {"tta_model", "tta_pipeline", "img_ratios"}
# Without these there is nothing to train, or no way to test it.
NEEDED_KEYS = (*LOADERS, "model", "optim_wrapper", "randomness")
NEEDED_KEYS += ("test_evaluator", "train_cfg")
# What is read as a dict wherever a config has it, with all that is above it.
DICTS = ("model.backbone", "model.data_preprocessor", "optim_wrapper.optimizer")
DICTS += ("train_cfg", "randomness", "env_cfg", "default_hooks", "visualizer")
DICTS += tuple(f"{loader}.dataset.dataset" for loader in LOADERS)
# Where and how a config is run; the same run elsewhere has the same hash.
LOCAL_KEYS = ("work_dir", "experiment_name", "launcher", "resume", "load_from")
# In a config: the setting that it was put under, and the losses that it had before.
SETTING, REPLACED = "_setting", "_replaced"
# mmengine's samplers, which give the indices of one pass again and again.
REPEATING = ("DefaultSampler", "InfiniteSampler")
# Where mmengine looks for `_base_ = "mmseg::..."`; it has the name of the upstream
# distribution.
MODULE2PACKAGE["mmseg"] = "mmseg"
# Keys that are this alike are taken for one; further apart, both may be meant.
ALIKE = 0.85


@dataclass(frozen=True)
class Setting:
    """An enhancement of every cell (None: raw images) and losses on the logits."""

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
# The loss that a setting replaces, unless ``setting_losses`` names others.
LOSS_KEYS = ("decode_head.loss_decode",)

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
    return sorted(path.stem for path in config_home().glob("_base_/protocols/*.py"))


def find_config(name: str) -> Path:
    """Return a config's file, given a path or a name such as ``cbam_unet``."""
    given = Path(name)
    if given.is_file():
        return given
    stem = given.as_posix().removesuffix(".py")
    # A clone's path also works where only the wheel is installed.
    for candidate in (stem, stem.removeprefix("configs/")):
        path = config_home() / f"{candidate}.py"
        if path.is_file():
            return path
    known = config_names()
    # By the file's name alone where the folder does not help.
    hint = did_you_mean(stem.removeprefix("configs/"), known)
    hint = hint or did_you_mean(given.stem, known)
    methods = ", ".join(one for one in known if "/" not in one)
    raise UsageError(
        f"no config {name!r}{hint}; there are: {methods}, and more in folders: leuko "
        "list configs"
    )


def cells_config(config: Config, part: str) -> Config:
    """Return the config of the cells that a loader reads, below a mosaic or not."""
    dataset = config[f"{part}_dataloader"]["dataset"]
    return dataset.get("dataset", dataset)


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
        setting: a name of ``SETTINGS``.
        split: of both loaders; ``all`` stands for every cell.
        data: the dataset of both loaders, or several with commas between them.
        seed: replaces the seed everywhere.
        iterations: see ``set_iterations``.
        options: ``--cfg-options``, applied last.

    Raises:
        UsageError: if one of them is unknown or does not fit the config.
    """
    path = find_config(name)
    config = _load(path)
    # Before the protocol, which would drop a misspelt key without a word.
    check_keys(config)
    check_form(config)
    if protocol is not None:
        _check_complete(config, path, needed=("model",))
        if not config.get("takes_protocol", True):
            raise UsageError(
                f"{path.stem} has data and a schedule of its own; leave --protocol out"
            )
        config = under_protocol(config, protocol)
    _check_complete(config, path)
    config.setdefault("method", path.stem)
    fit_to_method(config)
    fit_to_classes(config)
    if setting is not None:
        check_scopes(config)
        apply_setting(config, setting)
    for part in ("train", "test"):
        cells = cells_config(config, part)
        if split is not None:
            cells["split"] = None if split == EVERY_CELL else split
        if data is not None:
            for key in ("name", "names"):
                cells.pop(key, None)
            cells.update(named_data(data))
    if seed is not None:
        if not 0 <= seed < 2**32:
            raise UsageError(f"the seed is {seed}; expected 0 to {2**32 - 1}")
        config.train_dataloader["dataset"]["seed"] = seed
        config.setdefault("randomness", {})["seed"] = seed
    if iterations is not None:
        set_iterations(config, iterations)
    if options:
        _merge_options(config, options)
        _check_complete(config, path)
        if "custom_imports" in " ".join(options):
            with _reading(path):
                import_own(config, path)
    check_keys(config)
    check_form(config)
    losses = SETTINGS[config[SETTING]].losses if SETTING in config else ()
    check_scopes(config, known=[loss["type"] for loss in losses])
    return config


def named_data(data: str) -> dict:
    """Return ``--data`` as arguments of a ``LeukocyteDataset``."""
    names = [name.strip() for name in data.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--data is {data!r}; expected the name of a dataset")
    if len(names) < 2 or dataset_root(data).exists():
        return dict(name=data)
    return dict(names=names)


def data_tail(data: str | None, name: str, protocol: str | None) -> str:
    """Return what names of files say of data that is not the own of a config."""
    if data is None:
        return ""
    given = named_data(data)
    cells = cells_config(resolve_config(name, protocol=protocol), "train")
    if all(cells.get(key) == value for key, value in given.items()):
        return ""
    names = given.get("names") or [data]
    return "-" + "+".join(Path(name).name for name in names)


def _load(path: Path) -> Config:
    with _reading(path):
        config = Config.fromfile(str(path), import_custom_modules=False)
        import_own(config, path)
        return _with_names(config)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Name the file where it, or what it imports, raises an error of its own."""
    try:
        yield
    # A config is a program of the user's: it may raise anything.
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
        raise UsageError(
            f"the config {path} cannot be read: {kind}{_text(error)}"
        ) from error


def _with_names(config: Config) -> Config:
    """Return a config that names classes as they are registered.

    Configs in the style of Python import them, and others may name them as
    ``mmseg.models.X``; in a sidecar neither would be found again.
    """
    content = config.to_dict()  # without what was imported
    dotted = [
        part
        for part in mappings(content)
        if "." in str(part.get("type")) and unregistered_types({"type": part["type"]})
    ]
    if not dotted and len(content) == len(config):
        return config
    for part in dotted:
        part["type"] = _registered_name(part["type"])
    return Config(content, filename=config.filename)


def _registered_name(dotted: str) -> str:
    part = get_object_from_string(dotted)
    for scope in ("", f"{SCOPE}."):
        name = f"{scope}{getattr(part, '__name__', '')}"
        if any(found is part for found in _registered(name)):
            return name
    return dotted


def _text(error: BaseException) -> object:
    if isinstance(error, ConfigParsingError) and "`_base_ = " in str(error):
        return "an import is above _base_; begin the file with _base_ = ..."
    # str() of a KeyError has quotes around the message.
    return error.args[0] if isinstance(error, KeyError) and error.args else error


def check_keys(config: Config) -> None:
    """Refuse top-level keys that nothing reads; names that begin with _ are free.

    So are names of what the config has elsewhere, such as ``norm_cfg``.
    """
    free = [key for key in config if key not in KNOWN_KEYS and key[:1] != "_"]
    content = _without_scopes(config) if free else {}
    known = {key: content[key] for key in content if key in KNOWN_KEYS}
    unknown = [key for key in free if not _occurs(content[key], known)]
    if unknown:
        hints = [f"{key!r}{did_you_mean(key, KNOWN_KEYS)}" for key in unknown]
        raise UsageError(
            f"the config has keys that nothing reads: {', '.join(hints)}. Begin a "
            "name with _ to keep it for yourself"
        )


def _without_scopes(value: Any) -> Any:
    # mmengine notes in some of the parts of `mmseg::...` where they come from.
    if isinstance(value, (Mapping, Config)):
        return {k: _without_scopes(v) for k, v in value.items() if k != "_scope_"}
    if isinstance(value, (list, tuple)):
        return [_without_scopes(inner) for inner in value]
    return value


def _occurs(wanted: Any, value: Any) -> bool:
    """Whether a text or a collection is part of another one; numbers are not sought."""
    if not wanted or not isinstance(wanted, (str, dict, list)):
        return False
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(inner, str) or not isinstance(inner, Iterable):
        return False
    return any(one == wanted or _occurs(wanted, one) for one in inner)


def check_form(config: Config) -> None:
    """Refuse what is no dict or list where one is read, and a training without end."""
    for name in DICTS:
        place, read = config, ""
        for key in name.split("."):
            if key not in place:
                break
            place, read = place[key], f"{read}.{key}".lstrip(".")
            # What is None at the top is as if it was left out.
            if not isinstance(place, Mapping) and (place is not None or "." in read):
                raise UsageError(f"{read} is {place!r}; expected a dict(...)")
            if place is None:
                break
    hooks = config.get("custom_hooks") or []
    if not isinstance(hooks, list) or not all(isinstance(h, Mapping) for h in hooks):
        raise UsageError(f"custom_hooks is {hooks!r}; expected a list of dict(...)")
    for key in ("method", "variant", "protocol"):
        name = config.get(key) or ""
        if not isinstance(name, str) or Path(name).name != name:
            raise UsageError(f"{key} is {name!r}; it names files: expected no / in it")
    if not isinstance(config.get("work_dir") or "", str):
        raise UsageError(
            f"work_dir is {config.work_dir!r}; expected the name of a folder"
        )
    cells = (config.get("train_dataloader") or {}).get("dataset") or {}
    for read, part in (
        ("model", config.get("model")),
        ("enhance", cells.get("enhance")),
    ):
        for place, value in _not_plain(part, read):
            raise UsageError(
                f"{place} is {value!r}, which the sidecar of a checkpoint cannot hold; "
                "expected numbers, strings, lists and dicts with strings as keys"
            )
    for name in unregistered_types(config.get("model")):
        raise UsageError(
            f"model has the type {name!r}, which is in no registry: `leuko predict` "
            "would not take the checkpoint; register it with "
            "@MODELS.register_module(), and give its name"
        )
    scope = config.get("default_scope") or "mmseg"
    if scope != "mmseg":
        raise UsageError(f"default_scope is {scope!r}; expected 'mmseg'")
    sampler = (config.get("train_dataloader") or {}).get("sampler") or {}
    if sampler.get("type") in REPEATING:
        raise UsageError(
            f"train_dataloader.sampler is {sampler['type']!r}, with which every pass "
            "over the cells would show the same images; leave the sampler out, or take "
            "'leuko_mm.GlobalIndexSampler'"
        )
    loop = config.get("train_cfg") or {}
    if "max_epochs" in loop:
        raise UsageError(
            "train_cfg counts epochs, and a training resumes at any iteration; add "
            "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=650)"
        )
    length = loop.get("max_iters", 1)
    if type(length) is not int or length < 1:
        raise UsageError(f"train_cfg.max_iters is {length!r}; expected 1 or more")


def _not_plain(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield where a value is, and what is there, that JSON does not give back."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str):
                yield from _not_plain(inner, f"{place}.{key}")
            else:
                yield f"{place}, a key,", key
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _not_plain(inner, f"{place}.{number}")
    elif not isinstance(value, (str, int, float, bool, type(None))):
        yield place, value


def _check_complete(
    config: Config, path: Path, needed: Sequence[str] = NEEDED_KEYS
) -> None:
    missing = [key for key in needed if not config.get(key)]
    missing += [
        f"{loader}.dataset"
        for loader in LOADERS
        if loader in needed and config.get(loader) and "dataset" not in config[loader]
    ]
    if missing:
        raise UsageError(
            f"the config {path} lacks {', '.join(missing)}; begin it with\n"
            "    _base_ = ['_base_/runtime.py', '_base_/protocols/half.py']\n"
            "and give it a model, as configs/cbam_unet.py does"
        )


def under_protocol(config: Config, protocol: str) -> Config:
    """Return the method of a config under another protocol."""
    known = protocol_names()
    if protocol not in known:
        raise UsageError(
            f"no protocol {protocol!r}{did_you_mean(protocol, known)}; there are: "
            f"{', '.join(known)}"
        )
    base = config_home() / "_base_"
    shared = Config.fromfile(str(base / "runtime.py"))
    own = Config.fromfile(str(base / "protocols" / f"{protocol}.py"))
    shared.merge_from_dict(own.to_dict())
    # A new object, so that the run's copy of the config is named after the method.
    merged = Config(shared.to_dict(), filename=config.filename)
    for key in (*METHOD_KEYS, "work_dir"):
        if key in config:
            merged[key] = config[key]
    # How predictions are post-processed is no part of a method.
    for key in TEST_CFG_KEYS:
        (merged.model.get("test_cfg") or {}).pop(key, None)
    for loader in LOADERS:
        enhance = config.get(loader, {}).get("dataset", {}).get("enhance")
        merged[loader]["dataset"]["enhance"] = enhance
    return merged


def fit_to_method(config: Config) -> None:
    """Do not freeze the encoder first where the method says so, in place."""
    if config.get("frozen_first", True):
        return
    for hook in config.get("custom_hooks") or []:
        if hook.get("type") == FREEZE_HOOK:
            hook.update({key: 0 for key in ("iters", "epochs") if key in hook})


def fit_to_classes(config: Config) -> None:
    """Give every classifier two classes where the training cells are ``binary``."""
    if not cells_config(config, "train").get("binary"):
        return
    for part in mappings(config.model):
        if "num_classes" not in part:
            continue
        if part.get("out_channels") == part["num_classes"]:
            part["out_channels"] = len(BINARY_NAMES)
        part["num_classes"] = len(BINARY_NAMES)


def mappings(value: Any) -> Iterator[Mapping]:
    """Yield a mapping and all that are inside it, or inside a list."""
    if isinstance(value, Mapping):
        yield value
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for inner in value:
        yield from mappings(inner)


def apply_setting(config: Config, name: str) -> None:
    """Put a resolved config under a setting, in place.

    The setting's name is appended to ``variant``; ``SETTING`` and ``REPLACED`` say what
    was done. A method with more than one loss
    names them in ``setting_losses``. A config about the loss or the enhancement itself
    says ``takes_setting = False``.

    Raises:
        UsageError: if there is no such setting, the config takes none, or its model
            has no such loss.
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
    if config.model.get("auxiliary_head") and not config.get("setting_losses"):
        raise UsageError(
            f"setting {name} would leave the losses of model.auxiliary_head as they "
            "are; leave --setting out, or write which losses it replaces: "
            "setting_losses = ['decode_head.loss_decode', 'auxiliary_head.loss_decode']"
        )
    setting, replaced = SETTINGS[name], []
    for key in config.get("setting_losses") or LOSS_KEYS:
        *parents, last = key.split(".")
        place = config.model
        for parent in parents:
            if isinstance(place, list):
                place = {str(n): one for n, one in enumerate(place)}
            place = place.get(parent) if isinstance(place, Mapping) else None
        if not isinstance(place, Mapping) or last not in place:
            raise UsageError(
                f"a setting replaces model.{key}, which this model has not; name the "
                "keys of its losses in setting_losses, such as "
                "['decode_head.loss_decode']"
            )
        replaced += [str(one.get("type")) for one in mappings(place[last])]
        place[last] = [copy.deepcopy(loss) for loss in setting.losses]
    for loader in LOADERS:
        config[loader]["dataset"]["enhance"] = copy.deepcopy(setting.enhance)
    config["variant"] = "-".join(filter(None, (config.get("variant"), name)))
    # The run's copy of its config has the setting, and must not get a second one.
    config["takes_setting"] = False
    config[SETTING], config[REPLACED] = name, list(dict.fromkeys(replaced))


def set_iterations(config: Config, iterations: int) -> None:
    """Give a resolved config another number of iterations, in place.

    The encoder stays frozen for the same share of them, and schedules that end with
    the training still do; a warm-up keeps its length. ``i<number>`` is appended to
    ``variant``.

    Raises:
        UsageError: if the config counts in epochs, or a schedule that does not end
            with the training is as long as the iterations asked for.
    """
    before = config.train_cfg.get("max_iters")
    if not before:
        raise UsageError(
            "--iterations needs a config that counts iterations; this one has no "
            "train_cfg.max_iters"
        )
    if iterations == before:
        return
    schedulers = config.get("param_scheduler") or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        _rescale(scheduler, before, iterations)
    for hook in config.get("custom_hooks") or []:
        if hook.get("type") == FREEZE_HOOK and "iters" in hook:
            hook["iters"] = round(hook["iters"] * iterations / before)
    config.train_cfg["max_iters"] = iterations
    config["variant"] = "-".join(
        filter(None, (config.get("variant"), f"i{iterations}"))
    )


def _rescale(scheduler: dict, before: int, iterations: int) -> None:
    for key in ("end", "T_max"):
        if scheduler.get(key) == before:
            scheduler[key] = iterations
    if "milestones" in scheduler:
        steps = scheduler["milestones"]
        scheduler["milestones"] = [round(n * iterations / before) for n in steps]
    begin, end = (scheduler.get(key) or 0 for key in ("begin", "end"))
    ends_late = scheduler.get("end") != iterations and end >= iterations
    if begin >= iterations or ends_late:
        raise UsageError(
            f"--iterations {iterations} is too few: the {scheduler.get('type')} of "
            f"the schedule goes from {begin} to {end}"
        )


def _merge_options(config: Config, options: Mapping) -> None:
    for option in options:
        _check_option(config, option)
    try:
        config.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        given = " ".join(f"{key}={value}" for key, value in options.items())
        raise UsageError(f"--cfg-options {given}: {_text(error)}") from error


def _check_option(config: Config, option: str) -> None:
    """Refuse an option that would change nothing, or that misspells a key."""
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
            if place is not None and not isinstance(place, (Mapping, list, tuple)):
                whole = ".".join(path[:depth])
                raise UsageError(
                    f"--cfg-options {option}: give the whole list, {whole}=[...]"
                )
        elif isinstance(place, Mapping) and key in place:
            place = place[key]
        else:
            # Top-level keys are checked after merging.
            if depth and isinstance(place, Mapping):
                _check_new_key(option, path[:depth], key, place)
            return


def _check_new_key(option: str, path: list[str], key: str, place: Mapping) -> None:
    # It may be an argument that the config leaves at its default.
    meant = nearest(key, place, alike=ALIKE)
    if meant and not _has_argument(place.get("type"), key):
        raise UsageError(
            f"--cfg-options {option}: {'.'.join(path)} has no {key!r} "
            f"(did you mean {meant[0]!r}?)"
        )


def _registered(name: object) -> Iterator[object]:
    """Yield what registries have under a name, as in a config."""
    for registry in vars(registries).values() if isinstance(name, str) else ():
        if isinstance(registry, Registry):
            with contextlib.suppress(UnknownPartError):
                yield registry.get(name)


def _has_argument(part: object, name: str) -> bool:
    """Whether a part, named as in a config, takes an argument of that name."""
    return any(
        name in inspect.signature(taker).parameters
        for one in _registered(part)
        for taker in (inspect.getmro(one) if inspect.isclass(one) else [one])
        if callable(taker) and taker is not object
    )


def config_hash(config: Config) -> str:
    """Return the sha256 of a resolved config, wherever and when it is run.

    The code that ``custom_imports`` brought is a part of it.
    """
    kept = {
        key: value
        for key, value in config.to_dict().items()
        if key not in LOCAL_KEYS and not key.startswith("_")
    }
    if isinstance(kept.get("test_evaluator"), dict):
        kept["test_evaluator"].pop("out_dir", None)
    if imported := config.get(IMPORTED):
        kept[IMPORTED] = sorted(imported.values())
    return sha256_of(repr(_sorted(kept)))


def is_of_config(digest: str | None, config: Config) -> bool:
    """Tell whether a sha256 is that of a config, with or without its seed given.

    0 is the seed of a dataset where none is given.
    """
    if digest == config_hash(config):
        return True
    plain = copy.deepcopy(config)
    given = plain.train_dataloader["dataset"].pop("seed", None)
    return given == 0 and digest == config_hash(plain)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [(k, _sorted(v)) for k, v in sorted(value.items())]
    if isinstance(value, (list, tuple)):
        return [_sorted(v) for v in value]
    return value
