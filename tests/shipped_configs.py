"""Every config that is shipped, read once for all tests that look at them."""

from __future__ import annotations

import functools
from pathlib import Path

from mmengine.config import Config

from leuko_mm.training.config import METHOD_KEYS, protocol_names, resolve_config

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
BASES = sorted((CONFIGS / "_base_").rglob("*.py"))
# Names cells and takes no protocol: no method that is compared.
CLASS_NETWORK = CONFIGS / "cell_classes.py"
LEAVES = sorted({*CONFIGS.rglob("*.py")} - {*BASES, CLASS_NETWORK})
NAMES = [path.relative_to(CONFIGS).with_suffix("").as_posix() for path in LEAVES]
PROTOCOLS = protocol_names()
SHIPPED_ABLATIONS = [name for name in NAMES if name.startswith("ablation/")]
# What each method's encoder has learnt from before; None: random weights.
METHODS = {
    "cbam_unet": "vgg16",
    "cbam_unet_compact": "vgg16",
    "cbam_unet_resnet50": "resnet50",
    "deeplabv3plus_r50": "resnet50",
    "dual_path_aspp": None,
    "fcn8s_vgg16": "vgg16",
    "fcn_r50": "resnet50",
    "leukocyte_mask": "vgg16",
    "pspnet_r50": "resnet50",
    "quickstart": None,
    "segnet": "vgg16",
    "segnext_t": None,
    "unet": None,
    "unet_vgg16": "vgg16",
    "wbc_net": None,
}


@functools.cache
def resolved(
    name: str, protocol: str | None = None, setting: str | None = None
) -> Config:
    """Return a config; for reading only, since it is the same object every time."""
    return resolve_config(name, protocol=protocol, setting=setting)


def without_method(config: Config) -> dict:
    """Return what the protocol alone decides."""
    kept = {
        key: value
        for key, value in config.to_dict().items()
        if key not in METHOD_KEYS and not key.startswith("_")
    }
    for loader in ("train_dataloader", "test_dataloader"):
        kept[loader]["dataset"].pop("enhance", None)
    return kept


def differences(one, other, path: str = "") -> set[str]:
    """Return the dotted paths at which two configs differ; lists count whole."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return set() if one == other else {path}
    return {
        found
        for key in one.keys() | other.keys()
        if not key.startswith("_")
        for found in differences(
            one.get(key), other.get(key), f"{path}.{key}" if path else key
        )
    }


def without_weights(value):
    """Return a model's config without the recipe that reads a file of weights."""
    if isinstance(value, dict):
        return {
            key: None
            if key == "init_cfg" and isinstance(inner, dict) and "checkpoint" in inner
            else without_weights(inner)
            for key, inner in value.items()
        }
    return [without_weights(v) for v in value] if isinstance(value, list) else value
