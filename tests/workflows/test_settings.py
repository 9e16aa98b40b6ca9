"""The two settings of a comparison, applied to a config."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from tiny_run import write_config

from leuko_mm.errors import UsageError
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.run_place import run_name
from leuko_mm.workflows.settings import SETTINGS, apply_setting

OWN_IMAGE = "dict(type='leuko_mm.AHERetinex', reading='rgb')"
TWO_LOSSES = """
setting_losses = ['decode_head.loss_decode', 'decode_head.locator.loss']
model['decode_head']['locator'] = dict(loss=[dict(type='DiceLoss')])
"""


def both(config) -> list:
    return [config[f"{part}_dataloader"].dataset.enhance for part in ("train", "test")]


def test_a_is_the_raw_image_and_cross_entropy(tmp_path):
    config = resolve_config(str(write_config(tmp_path, enhance=OWN_IMAGE)), setting="A")
    (loss,) = config.model.decode_head.loss_decode
    assert (loss.type, loss.use_sigmoid) == ("CrossEntropyLoss", False)
    assert both(config) == [None, None]
    assert config.variant == "A"


def test_b_is_ahe_retinex_and_focal_dice(tiny_config):
    config = resolve_config(str(tiny_config), setting="B", protocol="half")
    (loss,) = config.model.decode_head.loss_decode
    assert loss == dict(type="leuko_mm.FocalDiceLoss", gamma=2.0)
    assert both(config) == [dict(type="leuko_mm.AHERetinex", reading="hsv")] * 2
    assert config.protocol == "half"


def test_without_a_setting_a_config_is_as_written(tmp_path):
    config = resolve_config(str(write_config(tmp_path, enhance=OWN_IMAGE)))
    assert config.model.decode_head.loss_decode[0].type == "leuko_mm.FocalDiceLoss"
    assert [e.reading for e in both(config)] == ["rgb", "rgb"]
    assert "variant" not in config


def test_the_name_of_the_run_tells_it(tiny_config):
    config = resolve_config(str(tiny_config), setting="B", split="fold2", seed=3)
    assert run_name(config) == "tiny-B-smoke-fold2-s3"


def test_every_loss_that_a_method_names_is_replaced(tmp_path):
    path = write_config(tmp_path, more=TWO_LOSSES)
    for protocol in (None, "half"):
        head = resolve_config(str(path), setting="A", protocol=protocol).model
        head = head.decode_head
        assert head.loss_decode[0].type == head.locator.loss[0].type
        assert head.loss_decode[0].type == "CrossEntropyLoss"


def test_a_loss_that_is_not_there_is_named(tmp_path):
    path = write_config(tmp_path, more="setting_losses = ['head.loss']")
    with pytest.raises(UsageError, match=r"model\.head\.loss, which.*setting_losses"):
        resolve_config(str(path), setting="A")


def test_a_file_about_the_loss_itself_refuses(tmp_path):
    more = "variant = 'loud'\ntakes_setting = False"
    path = write_config(tmp_path, more=more)
    for protocol in (None, "half"):
        with pytest.raises(UsageError, match=r"tiny loud is about.*leave --setting"):
            resolve_config(str(path), setting="A", protocol=protocol)


def test_the_copy_that_a_run_keeps_gets_no_second_one(tiny_config, tmp_path):
    copy = tmp_path / "copy.py"
    resolve_config(str(tiny_config), setting="A").dump(str(copy))
    with pytest.raises(UsageError, match="has a setting already"):
        resolve_config(str(copy), setting="B")
    assert resolve_config(str(copy)).variant == "A"


def test_an_unknown_setting_lists_those_there_are(tiny_config):
    with pytest.raises(UsageError, match=r"no setting 'C'.*A \(raw.*B \(AHE"):
        resolve_config(str(tiny_config), setting="C")


def test_options_come_after_it(tiny_config):
    options = {"model.decode_head.loss_decode.0.gamma": 1.0}
    config = resolve_config(str(tiny_config), setting="B", options=options)
    assert config.model.decode_head.loss_decode[0].gamma == 1.0
    assert SETTINGS["B"].losses[0]["gamma"] == 2.0


def test_a_misspelt_word_of_a_method_fails(tmp_path):
    path = write_config(tmp_path, more="take_setting = False")
    with pytest.raises(UsageError, match="did you mean 'takes_setting'"):
        resolve_config(str(path))


def test_a_config_of_ones_own_without_a_variant_gets_one():
    loaders = {f"{part}_dataloader": dict(dataset=dict()) for part in ("train", "test")}
    head = dict(loss_decode=dict(type="CrossEntropyLoss"))
    config = Config(dict(model=dict(decode_head=head), **loaders))
    apply_setting(config, "B")
    assert config.variant == "B"
    with pytest.raises(UsageError):
        apply_setting(config, "A")
