"""Put a method under a protocol: what each of the two decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from leuko_mm.classes import BINARY_NAMES
from leuko_mm.errors import UsageError
from leuko_mm.models.cell_encoder_decoder import READING
from leuko_mm.nearest import did_you_mean
from leuko_mm.workflows.find_config import config_home, protocol_folder, protocol_names

# What a method file may define; the protocol defines everything else.
METHOD_KEYS = (
    "method",
    "variant",
    "model",
    # False: a pretrained encoder is trained from the first iteration on.
    "frozen_first",
    # See leuko_mm.workflows.settings.
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
    for key in READING:
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
