"""What is alike in all compared models: start, stages of the encoder, losses."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DefaultScope
from shipped_configs import (
    METHODS,
    NAMES,
    PROTOCOLS,
    SHIPPED_ABLATIONS,
    differences,
    resolved,
)
from torch import nn

from leuko_mm.engine.encoder_weights import KNOWN
from leuko_mm.engine.optim import EncoderLrConstructor
from leuko_mm.registry import HOOKS, MODELS
from leuko_mm.training.config import SETTINGS

# What the weights expect: torchvision's VGG16, caffe's ResNet50; random ones anything.
NORMALISATION = {
    "vgg16": ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
    "resnet50": ([123.68, 116.779, 103.939], [1.0, 1.0, 1.0]),
}
ENHANCE = {"train_dataloader.dataset.enhance", "test_dataloader.dataset.enhance"}
THAWED = "ablation/encoder_thawed"


def built(name: str) -> nn.Module:
    """Return a method's model without the memory that its weights would take."""
    config = copy.deepcopy(resolved(name, "half").model)
    # SegNeXt reads numbers off a tensor while it is built.
    place = "cpu" if config.backbone.type == "MSCAN" else "meta"
    with DefaultScope.overwrite_default_scope("mmseg"), torch.device(place):
        return MODELS.build(config)


def pretrained(name: str) -> str | None:
    if name in METHODS:
        return METHODS[name]
    config = resolved(name)
    scratch = config.variant == "scratch"
    return None if scratch else METHODS[config.method]


@pytest.mark.parametrize("name", METHODS)
def test_every_classifier_starts_alike(name):
    # With the library's deviation of 0.01, Adam leaves the logits near zero for long.
    heads = [m for m in built(name).modules() if hasattr(m, "conv_seg")]
    assert heads
    for head in heads:
        fan_in = head.conv_seg.weight[0].numel()
        assert head.init_cfg["type"] == "Normal"
        assert head.init_cfg["override"] == dict(name="conv_seg")
        assert head.init_cfg["std"] == pytest.approx(fan_in**-0.5)


@pytest.mark.parametrize("name", [*METHODS, THAWED, "ablation/scratch_cbam_unet"])
def test_a_pretrained_encoder_waits_and_is_slow_and_no_other(name):
    model = built(name)
    weights = pretrained(name)
    # What a network never trains is in no group, and stays so.
    never = {id(p) for p in model.parameters() if not p.requires_grad}
    encoder = {id(p) for p in model.backbone.parameters()} - never
    recipe = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1.0))
    groups: list[dict] = []
    EncoderLrConstructor(recipe, dict(lr_mult=0.1)).add_params(groups, model)
    slow, rest = groups
    assert {id(p) for p in slow["params"]} == encoder
    assert slow["lr"] == (0.1 if weights else 1.0)
    assert rest["lr"] == 1.0
    count = len(slow["params"]) + len(rest["params"]) + len(never)
    assert count == len(list(model.parameters()))
    (hook,) = (
        h
        for h in resolved(name, "half").custom_hooks
        if h.type == "leuko_mm.StagedFreezeHook"
    )
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=range(50)))
    runner = SimpleNamespace(model=model, iter=0, train_loop=loop)
    HOOKS.build(hook).before_train(runner)
    held = {id(p) for p in model.parameters() if not p.requires_grad}
    assert held - never == (encoder if weights and name != THAWED else set())


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_normalisation_belong_together(name):
    model = resolved(name).model
    recipe = model.backbone.get("init_cfg")
    assert (recipe or {}).get("checkpoint") == pretrained(name)
    preprocessor = model.data_preprocessor
    if recipe:
        assert recipe.type == "leuko_mm.EncoderWeights"
        assert recipe.checkpoint in KNOWN
        mean, std = NORMALISATION[recipe.checkpoint]
        assert (preprocessor.mean, preprocessor.std) == (mean, std)
    assert preprocessor.bgr_to_rgb is True
    if "ResNet" in model.backbone.type:
        assert model.backbone.style == "caffe"


@pytest.mark.parametrize("name", METHODS)
def test_only_the_decode_head_is_trained_by_a_loss(name):
    model = resolved(name, "half").model
    assert not model.get("auxiliary_head")
    assert model.test_cfg == dict(mode="whole")
    if name != "quickstart":
        assert "dropout_ratio" in model.decode_head
        assert "align_corners" in model.decode_head


def classes_of(value) -> list[int]:
    if isinstance(value, dict):
        own = [value["num_classes"]] if "num_classes" in value else []
        return own + [n for inner in value.values() for n in classes_of(inner)]
    if isinstance(value, (list, tuple)):
        return [n for inner in value for n in classes_of(inner)]
    return []


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_the_classes_of_the_data(name, protocol):
    config = resolved(name, protocol)
    for loader in (config.train_dataloader, config.test_dataloader):
        cells = loader.dataset.get("dataset", loader.dataset)
        assert cells.get("binary", False) == (protocol == "robust")
    found = classes_of(config.model.to_dict())
    assert found
    assert set(found) == {2 if protocol == "robust" else 6}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", METHODS)
def test_a_setting_changes_image_and_loss_and_nothing_else(name, setting):
    config, plain = resolved(name, "half", setting), resolved(name, "half")
    losses = plain.get("setting_losses") or ["decode_head.loss_decode"]
    may = {"variant", "takes_setting", *ENHANCE, *(f"model.{key}" for key in losses)}
    assert differences(config.to_dict(), plain.to_dict()) <= may
    assert config.variant == setting
    chosen = SETTINGS[setting]
    assert config.model.decode_head.loss_decode == list(chosen.losses)
    for loader in (config.train_dataloader, config.test_dataloader):
        assert loader.dataset.enhance == chosen.enhance


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("protocol", ["half", "robust"])
def test_no_loss_of_a_method_escapes_a_setting(protocol, setting):
    for name in METHODS:
        model = resolved(name, protocol, setting).model.to_dict()
        assert loss_types(model) == {loss["type"] for loss in SETTINGS[setting].losses}


def loss_types(value) -> set[str]:
    if isinstance(value, (list, tuple)):
        return set().union(*map(loss_types, value))
    if not isinstance(value, dict):
        return set()
    kind = str(value.get("type", ""))
    own = {kind} if kind.endswith("Loss") else set()
    return own.union(*map(loss_types, value.values()))


def test_the_vgg16_methods_also_run_from_scratch():
    scratch = {resolved(n).method for n in SHIPPED_ABLATIONS if "/scratch_" in n}
    whole = {name for name, weights in METHODS.items() if weights == "vgg16"}
    # The compact one keeps layers that never learn: nothing from random weights.
    assert scratch == whole - {"cbam_unet_compact"}


def test_protocols_say_what_they_are_for():
    size = {p: resolved("cbam_unet", p).train_dataloader.dataset for p in PROTOCOLS}
    iterations = {p: resolved("cbam_unet", p).train_cfg.max_iters for p in PROTOCOLS}
    assert {p: d.get("size") for p, d in size.items()} == dict(
        paper=512, grouped=512, half=256, labs=256, robust=None, smoke=64
    )
    assert iterations == dict(
        paper=2250, grouped=2250, half=650, labs=650, robust=450, smoke=2
    )
    paper, grouped = (resolved("cbam_unet", p) for p in ("paper", "grouped"))
    assert differences(grouped.to_dict(), paper.to_dict()) == {
        "protocol",
        "train_dataloader.dataset.mode",
        "train_dataloader.dataset.tile_augmentation",
        "train_dataloader.dataset.dataset.split",
        "test_dataloader.dataset.dataset.split",
    }
    half, labs = (resolved("cbam_unet", p).to_dict() for p in ("half", "labs"))
    assert differences(labs, half) == {
        "protocol",
        "train_dataloader.dataset.class_balanced",
        *(
            f"{part}_dataloader.dataset.{key}"
            for part in ("train", "test")
            for key in ("red_cell_px", "dataset.name", "dataset.names", "dataset.split")
        ),
    }
    robust = resolved("cbam_unet", "robust")
    assert robust.optim_wrapper == resolved("cbam_unet", "half").optim_wrapper
    assert robust.train_dataloader.dataset.type == "leuko_mm.LeukocyteDataset"
    # What the protocols but the paper's augment by is one.
    half = size["half"].tile_augmentation
    assert size["grouped"].tile_augmentation == size["smoke"].tile_augmentation == half
    assert size["robust"].pipeline[3:5] == half
