"""A config's name and a few choices become one complete, checked config.

Tests of another length of training.

The two settings of a comparison, applied to a config.

A method under a protocol: its encoder's stages, the number of its classes.
"""

from __future__ import annotations

import pytest
from mmengine.config import Config
from tiny_run import write_config

from leuko_mm.errors import UsageError
from leuko_mm.training.config import (
    SETTINGS,
    apply_setting,
    check_keys,
    config_hash,
    find_config,
    fit_to_classes,
    fit_to_method,
    protocol_names,
    resolve_config,
    set_iterations,
)
from leuko_mm.training.results import run_name
from leuko_mm.training.run import TrainRequest, prepare_config


def cells(config, part):
    return config[f"{part}_dataloader"].dataset.dataset


@pytest.mark.parametrize(
    "name", ["cbam_unet", "cbam_unet.py", "configs/cbam_unet.py", "./cbam_unet"]
)
def test_a_config_is_found_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).name == "cbam_unet.py"


def test_a_file_of_the_user_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cbam_unet.py").write_text("method = 'mine'\n")
    assert find_config("cbam_unet.py").resolve() == tmp_path / "cbam_unet.py"


def test_an_unknown_config_lists_those_there_are():
    with pytest.raises(UsageError, match=r"no config 'nonet'.*cbam_unet.*quickstart"):
        find_config("nonet")


def test_the_bases_are_no_configs_to_train():
    with pytest.raises(UsageError) as caught:
        find_config("nonet")
    assert "runtime" not in str(caught.value)


def test_split_data_and_seed_reach_every_place(tiny_config):
    config = resolve_config(str(tiny_config), split="fold2", data="mine", seed=7)
    for part in ("train", "test"):
        assert cells(config, part).split == "fold2"
        assert cells(config, part).name == "mine"
    assert config.randomness.seed == 7
    assert config.train_dataloader.dataset.seed == 7
    assert "seed" not in config.test_dataloader.dataset


def test_all_stands_for_no_split(tiny_config):
    config = resolve_config(str(tiny_config), split="all")
    assert cells(config, "test").split is None


def test_options_come_last(tiny_config):
    options = {"randomness.seed": 9, "train_dataloader.dataset.dataset.split": "fold1"}
    config = resolve_config(str(tiny_config), split="fold2", seed=7, options=options)
    assert config.randomness.seed == 9
    assert cells(config, "train").split == "fold1"
    assert cells(config, "test").split == "fold2"


def test_the_protocol_replaces_everything_but_the_method(tmp_path):
    enhance = "dict(type='leuko_mm.AHERetinex', reading='rgb')"
    path = write_config(tmp_path, enhance=enhance, more="train_cfg = dict(max_iters=9)")
    own = resolve_config(str(path))
    paper = resolve_config(str(path), protocol="paper")
    assert own.train_cfg.max_iters == 9
    assert (paper.protocol, own.protocol) == ("paper", "smoke")
    assert paper.train_cfg == resolve_config("cbam_unet", protocol="paper").train_cfg
    assert paper.model == own.model
    for loader in ("train_dataloader", "test_dataloader"):
        assert paper[loader].dataset.enhance == dict(
            type="leuko_mm.AHERetinex", reading="rgb"
        )
    # The copy that a run keeps of its config is named after the method.
    assert paper.filename == own.filename


def test_a_method_without_bases_works_under_a_protocol(tmp_path):
    path = tmp_path / "bare.py"
    path.write_text("model = dict(type='EncoderDecoder')\n")
    config = resolve_config(str(path), protocol="smoke")
    assert config.method == "bare"
    assert config.train_dataloader.dataset.enhance is None


def test_an_unknown_protocol_lists_those_there_are(tiny_config):
    with pytest.raises(UsageError, match=r"no protocol 'halve'.*half.*paper.*smoke"):
        resolve_config(str(tiny_config), protocol="halve")
    assert {"half", "paper", "smoke"} <= set(protocol_names())


def test_a_misspelt_key_fails_with_the_nearest_one(tmp_path):
    path = write_config(tmp_path, more="optim_wraper = dict()\n")
    message = r"'optim_wraper' \(did you mean 'optim_wrapper'\?\)"
    with pytest.raises(UsageError, match=message):
        resolve_config(str(path))


def test_a_protocol_does_not_hide_a_misspelt_key(tmp_path):
    path = write_config(tmp_path, more="custom_hook = []\n")
    with pytest.raises(UsageError, match="did you mean 'custom_hooks'"):
        resolve_config(str(path), protocol="half")


def test_a_misspelt_key_among_the_options_fails(tiny_config):
    with pytest.raises(UsageError, match=r"'modle' \(did you mean 'model'\?\)"):
        resolve_config(str(tiny_config), options={"modle.backbone.depth": 11})


def test_a_strange_key_fails_without_a_hint():
    with pytest.raises(UsageError, match=r"'zzz'\. Begin") as caught:
        check_keys(Config(dict(zzz=1)))
    assert "did you mean" not in str(caught.value)


def test_private_names_are_free(tmp_path):
    path = write_config(tmp_path, more="_optim_wraper = dict(anything=1)\n")
    assert resolve_config(str(path))["_optim_wraper"] == dict(anything=1)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("model = dict(", "SyntaxError"),
        ("model = dict(type=nothing)", "NameError"),
        ("_base_ = ['absent.py']", "absent.py"),
        ("raise ValueError('my own reason')", "my own reason"),
    ],
)
def test_a_config_that_cannot_be_read_is_named_with_the_reason(tmp_path, code, said):
    path = tmp_path / "broken.py"
    path.write_text(code + "\n")
    with pytest.raises(UsageError, match=f"broken.py cannot be read.*{said}"):
        resolve_config(str(path))


def test_a_file_that_is_no_config_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("method = 'x'\n")
    with pytest.raises(UsageError, match=r"notes\.txt cannot be read"):
        resolve_config(str(path))


def test_an_incomplete_config_says_what_it_lacks(tmp_path):
    path = tmp_path / "bare.py"
    path.write_text("model = dict(type='EncoderDecoder')\ntrain_dataloader = dict(n=1)")
    with pytest.raises(
        UsageError, match=r"(?s)lacks .*test_dataloader.*_base_"
    ) as caught:
        resolve_config(str(path))
    assert "model," not in str(caught.value).splitlines()[0]
    assert "train_dataloader.dataset" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"custom_hooks.9.iters": 3},
        {"model.backbone.depth.inner": 3},
        {"train_dataloader.dataset.pipeline.first.type": "X"},
    ],
)
def test_options_that_fit_nowhere_are_named(tiny_config, options):
    with pytest.raises(UsageError, match=r"--cfg-options .*=") as caught:
        resolve_config(str(tiny_config), options=options)
    assert next(iter(options)) in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"randomness.deterministic": True},
        # Arguments that the file leaves at their defaults.
        {"optim_wrapper.accumulative_counts": 2},
        {"default_hooks.checkpoint.save_last": False},
        {"model.decode_head.dropout_ratio": 0.5},
        {"train_dataloader.pin_memory": True},
    ],
)
def test_a_key_that_is_new_is_taken(tiny_config, options):
    config = resolve_config(str(tiny_config), options=options)
    ((key, value),) = options.items()
    place = config
    for name in key.split("."):
        place = place[name]
    assert place == value


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.decode_head.chanels", "model.decode_head has no 'chanels' (did you"),
        ("randomness.sed", "randomness has no 'sed' (did you mean 'seed'?)"),
        ("modle.backbone.depth", "did you mean 'model'"),
        ("_iterations", "give --iterations"),
        ("_widths", "begins with _"),
    ],
)
def test_a_misspelt_option_is_refused(tiny_config, option, said):
    with pytest.raises(UsageError) as caught:
        resolve_config(str(tiny_config), options={option: 1})
    assert said in str(caught.value)


def test_the_hash_tells_the_config_and_not_the_place(tiny_config):
    def hashed(**changes):
        config = resolve_config(str(tiny_config))
        config.merge_from_dict(changes)
        return config_hash(config)

    here = hashed()
    assert len(here) == 64
    assert hashed() == here
    local = {
        "work_dir": "/a",
        "test_evaluator.out_dir": "/a",
        "experiment_name": "b",
        "launcher": "pytorch",
        "_private": 1,
    }
    assert hashed(**local) == here
    assert hashed(**{"model.backbone.depth": 11}) != here
    assert hashed(**{"randomness.seed": 1}) != here


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
        set_iterations(config, 300)


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
