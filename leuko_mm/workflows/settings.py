"""The two settings under which methods are compared: what they see, what they learn by.

``--setting A`` and ``--setting B`` put any method under them, so that a row of a
comparison says which it is, and no method has a loss or an image of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from leuko_mm.errors import UsageError
from leuko_mm.nearest import did_you_mean

LOADERS = ("train_dataloader", "test_dataloader")
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
    for loader in LOADERS:
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
