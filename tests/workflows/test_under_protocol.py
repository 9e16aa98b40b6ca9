"""A method under a protocol: its encoder's stages, the number of its classes."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from tiny_run import write_config

from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.under_protocol import fit_to_classes, fit_to_method


def stages(config) -> int:
    (hook,) = (h for h in config.custom_hooks if h.type == "leuko_mm.StagedFreezeHook")
    return hook.iters


@pytest.mark.parametrize("protocol", [None, "paper", "half"])
def test_a_method_may_decline_to_wait(tmp_path, protocol):
    waits = resolve_config(str(write_config(tmp_path)), protocol=protocol)
    path = write_config(tmp_path, name="hasty", more="frozen_first = False")
    hasty = resolve_config(str(path), protocol=protocol)
    assert stages(waits) > 0
    assert stages(hasty) == 0
    assert len(hasty.custom_hooks) == len(waits.custom_hooks)


def test_stages_counted_in_epochs_are_declined_too():
    hook = dict(type="leuko_mm.StagedFreezeHook", epochs=50, module="backbone")
    config = Config(dict(custom_hooks=[hook], frozen_first=False))
    fit_to_method(config)
    assert config.custom_hooks[0] == {**hook, "epochs": 0}
    fit_to_method(Config(dict(frozen_first=False)))


def binary(**model) -> Config:
    cells = dict(type="leuko_mm.LeukocyteDataset", binary=True)
    return Config(dict(model=model, train_dataloader=dict(dataset=cells)))


def test_two_classes_reach_every_classifier():
    heads = [dict(num_classes=6), dict(num_classes=6, out_channels=6, channels=6)]
    config = binary(decode_head=heads, more=dict(locator=dict(head=heads[0])))
    fit_to_classes(config)
    assert config.model.decode_head[0].num_classes == 2
    assert config.model.decode_head[1] == dict(
        num_classes=2, out_channels=2, channels=6
    )
    assert config.model.more.locator.head.num_classes == 2


def test_one_sigmoid_channel_stays_one():
    config = binary(decode_head=dict(num_classes=2, out_channels=1))
    fit_to_classes(config)
    assert config.model.decode_head == dict(num_classes=2, out_channels=1)


@pytest.mark.parametrize("protocol", ["half", "robust"])
def test_the_protocol_decides_on_the_classes(tiny_config, protocol):
    config = resolve_config(str(tiny_config), protocol=protocol)
    expected = 2 if protocol == "robust" else 6
    assert config.model.decode_head.num_classes == expected


def test_how_an_answer_is_read_is_no_part_of_a_method():
    own = resolve_config("cbam_unet_compact")
    assert own.model.test_cfg.least_area
    compared = resolve_config("cbam_unet_compact", protocol="half")
    assert compared.model.test_cfg == dict(mode="whole")
    assert compared.model.type == own.model.type
