"""Tests of another length of training."""

import pytest

from leuko_mm.errors import UsageError
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.schedule_length import train_for
from leuko_mm.workflows.train import TrainRequest, prepare_config


def resolved(iterations, **choices):
    return resolve_config("cbam_unet", iterations=iterations, **choices)


def test_every_stage_is_in_proportion():
    config = resolved(300, protocol="half")
    warm_up, cosine = config.param_scheduler
    freeze = config.custom_hooks[1]
    assert config.train_cfg.max_iters == cosine.end == 300
    assert (warm_up.begin, warm_up.end, cosine.begin) == (0, 20, 20)
    assert freeze.type == "leuko_mm.StagedFreezeHook"
    assert freeze.iters == round(0.15 * 300)


@pytest.mark.parametrize("protocol", ["paper", "grouped", "half", "robust", "smoke"])
def test_nothing_else_of_a_protocol_changes(protocol):
    own = resolved(None, protocol=protocol).to_dict()
    other = resolved(1000, protocol=protocol).to_dict()
    changed = {key for key in other if other[key] != own.get(key)}
    assert changed == {"train_cfg", "param_scheduler", "custom_hooks", "variant"}


def test_the_number_is_part_of_the_name_behind_the_setting():
    wish = TrainRequest("cbam_unet", protocol="half", setting="A", iterations=300)
    assert prepare_config(wish).work_dir == "work_dirs/cbam_unet-A-i300-half-fold5-s0"


def test_the_own_number_changes_nothing():
    own = resolved(None, protocol="half")
    assert resolved(650, protocol="half").to_dict() == own.to_dict()


def test_an_encoder_that_is_never_frozen_stays_so():
    config = resolve_config("ablation/encoder_thawed", protocol="half", iterations=300)
    assert config.custom_hooks[1].iters == 0


def test_too_few_for_the_warm_up_are_refused():
    with pytest.raises(UsageError, match="20 is too few: the CosineAnnealingLR"):
        resolved(20, protocol="half")


def test_a_config_that_counts_epochs_is_refused():
    config = resolved(None, protocol="half")
    del config.train_cfg["max_iters"]
    with pytest.raises(UsageError, match="counts iterations"):
        train_for(config, 300)
