"""Two parameter groups, of which a pretrained encoder learns slower."""

from __future__ import annotations

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from toy_training import ADAM, toy_net

from leuko_mm.engine import EncoderLrConstructor

WRAPPER = dict(optimizer=dict(type="SGD", lr=0.5, weight_decay=0.01))


def groups_of(model, **options):
    wrapper = EncoderLrConstructor(WRAPPER, dict(lr_mult=0.1, **options))(model)
    return wrapper.optimizer.param_groups


def ids(parameters) -> list[int]:
    return [id(p) for p in parameters]


def test_encoder_and_rest_are_the_two_groups():
    model = toy_net(norm=True)
    encoder, rest = groups_of(model)
    assert ids(encoder["params"]) == ids(model.backbone.parameters())
    assert ids(rest["params"]) == ids(model.head.parameters())
    assert (encoder["lr"], rest["lr"]) == pytest.approx((0.05, 0.5))
    assert encoder["weight_decay"] == rest["weight_decay"] == 0.01


def test_a_random_encoder_learns_at_the_full_rate():
    encoder, rest = groups_of(toy_net(pretrained=False))
    assert encoder["lr"] == rest["lr"] == 0.5


def test_another_part_may_be_the_encoder():
    model = toy_net()
    model.head.init_cfg = dict(checkpoint="head.pth")
    encoder, _ = groups_of(model, module="head")
    assert ids(encoder["params"]) == ids(model.head.parameters())
    assert encoder["lr"] == pytest.approx(0.05)


def test_parameters_that_are_not_trained_are_left_out():
    model = toy_net()
    model.backbone.requires_grad_(False)
    (rest,) = groups_of(model)
    assert ids(rest["params"]) == ids(model.head.parameters())


def test_a_shared_parameter_is_the_encoders_alone():
    model = toy_net()
    model.head.bias = model.backbone[0].bias
    encoder, rest = groups_of(model)
    assert ids(encoder["params"]) == ids(model.backbone.parameters())
    assert ids(rest["params"]) == [id(model.head.weight)]


def test_a_step_equals_that_of_mmengines_constructor():
    by_name = dict(custom_keys=dict(backbone=dict(lr_mult=0.1)))
    theirs = dict(
        type="OptimWrapper", optimizer=ADAM["optimizer"], paramwise_cfg=by_name
    )
    weights = []
    for config in (dict(ADAM, fused=False), theirs):
        model = toy_net()
        with DefaultScope.overwrite_default_scope("mmseg"):
            wrapper = build_optim_wrapper(model, config)
        for seed in range(3):
            torch.manual_seed(seed)
            image, target = torch.randn(2, 3, 6, 6), torch.randn(2, 2, 6, 6)
            wrapper.update_params(model(image, target)["loss"])
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("wrapper", "options", "message"),
    [
        (WRAPPER, None, "needs lr_mult"),
        (WRAPPER, dict(module="backbone"), "needs lr_mult"),
        (WRAPPER, dict(lr_mult=0.1, custom_keys={}), "no other option"),
        (dict(optimizer=dict(type="AdamW")), dict(lr_mult=0.1), "without lr"),
    ],
)
def test_unusable_options_raise(wrapper, options, message):
    with pytest.raises(ValueError, match=message):
        EncoderLrConstructor(wrapper, options)


def test_an_unknown_part_raises():
    with pytest.raises(ValueError, match="no part 'encoder'"):
        groups_of(toy_net(), module="encoder")
