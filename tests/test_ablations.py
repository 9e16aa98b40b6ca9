"""Each ablation differs from its method in what it declares, under every protocol."""

from __future__ import annotations

import itertools

import pytest
from shipped_configs import PROTOCOLS, SHIPPED_ABLATIONS, differences, resolved

from leuko_mm.errors import UsageError
from leuko_mm.training.config import resolve_config

LOSS = "model.decode_head.loss_decode"
NECK = "model.neck"
GATES = "model.neck.gates"
WEIGHTS = "model.backbone.init_cfg"
ENHANCE = {"train_dataloader.dataset.enhance", "test_dataloader.dataset.enhance"}
# ablation -> (its parent, what differs)
DECLARED = {
    "table3_none": ("unet_vgg16", {LOSS}),
    "table3_retinex": ("unet_vgg16", {LOSS, *ENHANCE}),
    "table3_cbam": ("unet_vgg16", {LOSS, NECK}),
    "table3_retinex_cbam": ("unet_vgg16", {LOSS, NECK, *ENHANCE}),
    "table3_dice_focal": ("unet_vgg16", set()),
    "table3_retinex_dice_focal": ("unet_vgg16", ENHANCE),
    "table3_cbam_dice_focal": ("unet_vgg16", {NECK}),
    "table3_all_three": ("unet_vgg16", {NECK, *ENHANCE}),
    "cbam_channel": ("cbam_unet", {GATES}),
    "cbam_spatial": ("cbam_unet", {GATES}),
    "cbam_parallel": ("cbam_unet", {GATES}),
    "decoder_wide": (
        "cbam_unet",
        {"model.decode_head.channels", "model.decode_head.init_cfg.std"},
    ),
    "encoder_thawed": ("cbam_unet", {"frozen_first", "custom_hooks"}),
    "enhance_clahe": ("cbam_unet", ENHANCE),
    "enhance_hsv": ("cbam_unet", ENHANCE),
    "enhance_hsv_all": ("cbam_unet", ENHANCE),
    "enhance_rgb": ("cbam_unet", ENHANCE),
    "scratch_cbam_unet": ("cbam_unet", {WEIGHTS}),
    "scratch_fcn8s_vgg16": ("fcn8s_vgg16", {WEIGHTS}),
    "scratch_leukocyte_mask": ("leukocyte_mask", {WEIGHTS}),
    "scratch_segnet": ("segnet", {WEIGHTS}),
    "scratch_unet_vgg16": ("unet_vgg16", {WEIGHTS}),
}
TABLE_3 = [name for name in DECLARED if name.startswith("table3_")]


def ablation(name: str, *, protocol: str | None = None, setting: str | None = None):
    return resolved(f"ablation/{name}", protocol, setting)


def test_every_ablation_is_declared():
    assert {f"ablation/{name}" for name in DECLARED} == set(SHIPPED_ABLATIONS)


@pytest.mark.parametrize("name", DECLARED)
def test_an_ablation_differs_in_exactly_what_it_declares(name):
    parent, declared = DECLARED[name]
    for protocol in [None, *PROTOCOLS]:
        child = ablation(name, protocol=protocol)
        found = differences(child.to_dict(), resolved(parent, protocol).to_dict())
        assert found - {"takes_setting"} == {"variant", *declared}, protocol
        assert child.method == parent


@pytest.mark.parametrize("name", DECLARED)
def test_what_is_about_the_loss_or_the_image_takes_no_setting(name):
    about = name in TABLE_3 or {LOSS, *ENHANCE} & DECLARED[name][1]
    if about:
        with pytest.raises(UsageError, match="leave --setting out"):
            resolve_config(f"ablation/{name}", setting="A")
    else:
        variant = ablation(name).variant
        assert ablation(name, setting="A").variant == f"{variant}-A"


def test_table_3_holds_the_eight_combinations():
    found = {}
    for name in TABLE_3:
        config = ablation(name)
        enhanced = config.train_dataloader.dataset.get("enhance") is not None
        (loss,) = config.model.decode_head.loss_decode
        combination = (enhanced, "neck" in config.model, loss.type)
        found[name] = combination
        assert ("retinex" in name or name.endswith("all_three")) == enhanced
    losses = ("CrossEntropyLoss", "leuko_mm.FocalDiceLoss")
    combinations = set(itertools.product((False, True), (False, True), losses))
    assert set(found.values()) == combinations
    assert len(found) == 8


@pytest.mark.parametrize(
    ("row", "name", "setting"),
    [
        ("none", "unet_vgg16", "A"),
        ("cbam", "cbam_unet", "A"),
        ("retinex_dice_focal", "unet_vgg16", "B"),
        ("all_three", "cbam_unet", "B"),
        ("cbam_dice_focal", "cbam_unet", None),
        ("dice_focal", "unet_vgg16", None),
    ],
)
def test_a_row_of_table_3_is_the_method_under_its_setting(row, name, setting):
    one = ablation(f"table3_{row}", protocol="half").to_dict()
    other = resolved(name, "half", setting).to_dict()
    assert differences(one, other) <= {"method", "variant", "takes_setting"}


def test_the_wide_decoder_is_that_of_the_resnet50_row():
    wide, row = ablation("decoder_wide"), resolved("cbam_unet_resnet50")
    assert wide.model.decode_head.channels == row.model.decode_head.channels
    skips, widths = (row.model.decode_head[key] for key in ("in_channels", "channels"))
    below = [skips[-1], *widths]
    inputs = [s + b for s, b in zip(reversed(skips[:-1]), below, strict=False)]
    assert inputs == [3072, 1024, 512, 192]
