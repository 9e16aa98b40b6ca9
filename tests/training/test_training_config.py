"""A config's name and a few choices become one complete, checked config."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from tiny_run import write_config

from leuko_mm.errors import UsageError
from leuko_mm.training.config import (
    REPLACED,
    SETTING,
    SETTINGS,
    cells_config,
    config_hash,
    find_config,
    fit_to_classes,
    is_of_config,
    resolve_config,
    set_iterations,
)
from leuko_mm.training.results import run_name
from leuko_mm.training.run import TrainRequest, prepare_config

OWN_IMAGE = "dict(type='leuko_mm.AHERetinex', reading='rgb')"


@pytest.fixture
def resolve(tiny_config):
    """Return a function that resolves the tiny network's config."""
    return lambda **choices: resolve_config(str(tiny_config), **choices)


@pytest.mark.parametrize(
    "name",
    ["cbam_unet", "cbam_unet.py", "configs/cbam_unet.py", "configs/cbam_unet"],
)
def test_a_config_is_found_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).name == "cbam_unet.py"


def test_a_file_of_the_user_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cbam_unet.py").write_text("method = 'mine'\n")
    assert find_config("cbam_unet.py").resolve() == tmp_path / "cbam_unet.py"


@pytest.mark.parametrize("name", ["nonet", ""])
def test_an_unknown_config_lists_those_that_can_be_trained(name):
    said = rf"no config '{name}'.*cbam_unet.*quickstart"
    with pytest.raises(UsageError, match=said) as caught:
        find_config(name)
    assert "runtime" not in str(caught.value)


def test_split_data_and_seed_reach_every_place(resolve):
    config = resolve(split="fold2", data="mine", seed=7)
    for part in ("train", "test"):
        cells = cells_config(config, part)
        assert (cells.part, cells.split, cells.name) == (part, "fold2", "mine")
    assert config.randomness.seed == 7
    assert config.train_dataloader.dataset.seed == 7
    assert "seed" not in config.test_dataloader.dataset
    assert cells_config(resolve(split="all"), "test").split is None


def test_options_come_last(resolve):
    options = {
        "randomness.seed": 9,
        "train_dataloader.dataset.dataset.split": "fold1",
        "model.decode_head.loss_decode.0.gamma": 1.0,
    }
    config = resolve(split="fold2", seed=7, setting="B", options=options)
    assert config.randomness.seed == 9
    assert cells_config(config, "train").split == "fold1"
    assert cells_config(config, "test").split == "fold2"
    assert config.model.decode_head.loss_decode[0].gamma == 1.0
    assert SETTINGS["B"].losses[0]["gamma"] == 2.0


def test_the_protocol_replaces_everything_but_the_method(tmp_path):
    path = write_config(
        tmp_path, enhance=OWN_IMAGE, more="train_cfg = dict(max_iters=9)"
    )
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


@pytest.mark.parametrize("protocol", [None, "half"])
@pytest.mark.parametrize(
    ("wrong", "right"),
    [("optim_wraper", "optim_wrapper"), ("take_setting", "takes_setting")],
)
def test_a_misspelt_key_fails_with_the_nearest_one(tmp_path, wrong, right, protocol):
    path = write_config(tmp_path, more=f"{wrong} = dict()\n")
    message = rf"'{wrong}' \(did you mean '{right}'\?\)"
    with pytest.raises(UsageError, match=message):
        resolve_config(str(path), protocol=protocol)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("broken.py", "model = dict(", "SyntaxError"),
        ("broken.py", "model = dict(type=nothing)", "NameError"),
        ("broken.py", "_base_ = ['absent.py']", "absent.py"),
        ("broken.py", "raise ValueError('my own reason')", "my own reason"),
        ("notes.txt", "method = 'x'", ""),
    ],
)
def test_a_config_that_cannot_be_read_is_named_with_the_reason(
    tmp_path, name, code, said
):
    path = tmp_path / name
    path.write_text(code + "\n")
    with pytest.raises(UsageError, match=f"{name} cannot be read.*{said}"):
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
    "option",
    ["custom_hooks.9.iters", "model.backbone.depth.inner", "custom_hooks.first.type"],
)
def test_options_that_fit_nowhere_are_named(resolve, option):
    with pytest.raises(UsageError, match=f"--cfg-options .*{option}=3"):
        resolve(options={option: 3})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("randomness.deterministic", True),
        # Arguments that the file leaves at their defaults.
        ("optim_wrapper.accumulative_counts", 2),
        ("default_hooks.checkpoint.save_last", False),
        ("model.decode_head.dropout_ratio", 0.5),
        ("train_dataloader.pin_memory", True),
        # They resemble loss_weight and size_divisor, which the file gives.
        ("model.decode_head.loss_decode.0.class_weight", [1.0] * 6),
        ("model.data_preprocessor.pad_size_divisor", 16),
    ],
)
def test_an_argument_that_is_new_is_taken(resolve, option, value):
    place = resolve(setting="A", options={option: value})
    for name in option.split("."):
        place = place[int(name) if name.isdecimal() else name]
    assert place == value


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.decode_head.chanels", "model.decode_head has no 'chanels' (did you"),
        ("randomness.sed", "randomness has no 'sed' (did you mean 'seed'?)"),
        # CheckpointHook takes any argument and would not refuse it.
        ("default_hooks.checkpoint.intervall", "(did you mean 'interval'?)"),
        ("modle.backbone.depth", "did you mean 'model'"),
        ("_iterations", "give --iterations"),
        ("_widths", "begins with _"),
    ],
)
def test_a_misspelt_option_is_refused(resolve, option, said):
    with pytest.raises(UsageError) as caught:
        resolve(options={option: 1})
    assert said in str(caught.value)


def test_the_hash_tells_the_config_and_not_the_place(resolve):
    def hashed(**changes):
        config = resolve()
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


def test_a_seed_of_nought_is_that_of_a_config_without_one(resolve):
    without, given = config_hash(resolve()), resolve(seed=0)
    assert config_hash(given) != without
    assert is_of_config(without, given)
    assert is_of_config(config_hash(given), given)
    assert not is_of_config(without, resolve(seed=1))
    assert not is_of_config(without, resolve(seed=0, split="fold1"))
    assert not is_of_config(None, given)


def of_length(iterations, name="cbam_unet", protocol="half"):
    return resolve_config(name, protocol=protocol, iterations=iterations)


def test_every_stage_is_in_proportion():
    config = of_length(300)
    warm_up, cosine = config.param_scheduler
    freeze = config.custom_hooks[1]
    assert config.train_cfg.max_iters == cosine.end == 300
    assert (warm_up.begin, warm_up.end, cosine.begin) == (0, 20, 20)
    assert freeze.type == "leuko_mm.StagedFreezeHook"
    assert freeze.iters == 45  # of 97 in 650
    assert of_length(300, "ablation/encoder_thawed").custom_hooks[1].iters == 0


@pytest.mark.parametrize("protocol", ["paper", "grouped", "half", "robust", "smoke"])
def test_nothing_else_of_a_protocol_changes(protocol):
    own = of_length(None, protocol=protocol).to_dict()
    other = of_length(1000, protocol=protocol).to_dict()
    changed = {key for key in other if other[key] != own.get(key)}
    assert changed == {"train_cfg", "param_scheduler", "custom_hooks", "variant"}


def test_the_number_is_part_of_the_name_behind_the_setting():
    wish = TrainRequest("cbam_unet", protocol="half", setting="A", iterations=300)
    assert prepare_config(wish).work_dir == "work_dirs/cbam_unet-A-i300-half-fold5-s0"


def test_the_own_number_changes_nothing():
    assert of_length(650).to_dict() == of_length(None).to_dict()


def test_lengths_that_fit_no_schedule_are_refused():
    with pytest.raises(UsageError, match="20 is too few: the CosineAnnealingLR"):
        of_length(20)
    config = of_length(None)
    del config.train_cfg["max_iters"]
    with pytest.raises(UsageError, match="counts iterations"):
        set_iterations(config, 300)


def both(config) -> list:
    return [config[f"{part}_dataloader"].dataset.enhance for part in ("train", "test")]


def test_setting_a_is_the_raw_image_and_cross_entropy(tmp_path):
    path = str(write_config(tmp_path, enhance=OWN_IMAGE))
    own = resolve_config(path)
    assert own.model.decode_head.loss_decode[0].type == "leuko_mm.FocalDiceLoss"
    assert [enhance.reading for enhance in both(own)] == ["rgb", "rgb"]
    assert "variant" not in own
    config = resolve_config(path, setting="A")
    (loss,) = config.model.decode_head.loss_decode
    assert (loss.type, loss.use_sigmoid) == ("CrossEntropyLoss", False)
    assert both(config) == [None, None]
    assert config.variant == "A"
    assert (config[SETTING], config[REPLACED]) == ("A", ["leuko_mm.FocalDiceLoss"])


def test_setting_b_is_ahe_retinex_and_focal_dice(resolve):
    config = resolve(setting="B", protocol="half", split="fold2", seed=3)
    (loss,) = config.model.decode_head.loss_decode
    assert loss == dict(type="leuko_mm.FocalDiceLoss", gamma=2.0)
    assert both(config) == [dict(type="leuko_mm.AHERetinex", reading="hsv")] * 2
    assert run_name(config) == "tiny-B-half-fold2-s3"
    assert run_name(config, protocol=False) == "tiny-B-fold2-s3"


def test_every_loss_that_a_method_names_is_replaced(tmp_path):
    more = """
setting_losses = ['decode_head.loss_decode', 'decode_head.locator.loss']
model['decode_head']['locator'] = dict(loss=[dict(type='DiceLoss')])
"""
    path = write_config(tmp_path, more=more)
    for protocol in (None, "half"):
        config = resolve_config(str(path), setting="A", protocol=protocol)
        head = config.model.decode_head
        for losses in (head.loss_decode, head.locator.loss):
            assert [loss.type for loss in losses] == ["CrossEntropyLoss"]


@pytest.mark.parametrize("listed", [False, True])
def test_the_loss_of_an_auxiliary_head_is_not_left_without_a_word(tmp_path, listed):
    head = dict(type="FCNHead", loss_decode=dict(type="DiceLoss"))
    auxiliary = f"model['auxiliary_head'] = {[head] if listed else head}\n"
    key = f"auxiliary_head{'.0' if listed else ''}.loss_decode"
    named = f"setting_losses = {['decode_head.loss_decode', key]}"
    path = write_config(tmp_path, more=auxiliary)
    with pytest.raises(UsageError, match=r"auxiliary_head as they are.*setting_losses"):
        resolve_config(str(path), setting="A")
    resolve_config(str(path))
    path = write_config(tmp_path, more=auxiliary + named)
    config = resolve_config(str(path), setting="A")
    assert config[REPLACED] == ["leuko_mm.FocalDiceLoss", "DiceLoss"]
    assert "DiceLoss')" not in str(config.model)


def test_a_method_says_which_losses_and_whether_it_takes_a_setting(tmp_path):
    path = write_config(tmp_path, more="setting_losses = ['head.loss']")
    with pytest.raises(UsageError, match=r"model\.head\.loss, which.*setting_losses"):
        resolve_config(str(path), setting="A")
    path = write_config(tmp_path, more="variant = 'loud'\ntakes_setting = False")
    for protocol in (None, "half"):
        with pytest.raises(UsageError, match=r"tiny loud is about.*leave --setting"):
            resolve_config(str(path), setting="A", protocol=protocol)


def test_the_copy_that_a_run_keeps_gets_no_second_one(resolve, tmp_path):
    copy = tmp_path / "copy.py"
    resolve(setting="A").dump(str(copy))
    with pytest.raises(UsageError, match="has a setting already"):
        resolve_config(str(copy), setting="B")
    assert resolve_config(str(copy)).variant == "A"


@pytest.mark.parametrize("protocol", [None, "paper", "half"])
def test_a_method_may_decline_the_frozen_stage(tmp_path, protocol):
    def hooks(path):
        return resolve_config(str(path), protocol=protocol).custom_hooks

    frozen = hooks(write_config(tmp_path))
    hasty = hooks(write_config(tmp_path, name="hasty", more="frozen_first = False"))
    (stage,) = (h for h in frozen if h.type == "leuko_mm.StagedFreezeHook")
    assert stage.iters > 0
    stage.iters = 0
    assert hasty == frozen


def test_two_classes_reach_every_classifier():
    cells = dict(type="leuko_mm.LeukocyteDataset", binary=True)
    heads = [
        dict(num_classes=6),
        dict(num_classes=6, out_channels=6, channels=6),
        # One sigmoid channel stays one.
        dict(num_classes=2, out_channels=1),
    ]
    model = dict(decode_head=heads, more=dict(locator=dict(head=heads[0])))
    config = Config(dict(model=model, train_dataloader=dict(dataset=cells)))
    fit_to_classes(config)
    assert config.model.decode_head == [
        dict(num_classes=2),
        dict(num_classes=2, out_channels=2, channels=6),
        dict(num_classes=2, out_channels=1),
    ]
    assert config.model.more.locator.head.num_classes == 2


@pytest.mark.parametrize(("protocol", "classes"), [("half", 6), ("robust", 2)])
def test_the_protocol_decides_on_the_classes(resolve, protocol, classes):
    assert resolve(protocol=protocol).model.decode_head.num_classes == classes


def test_post_processing_is_no_part_of_a_method():
    own = resolve_config("cbam_unet_compact")
    assert own.model.test_cfg.least_area
    compared = resolve_config("cbam_unet_compact", protocol="half")
    assert compared.model.test_cfg == dict(mode="whole")
    assert compared.model.type == own.model.type


def test_a_seed_leaves_the_other_choices_of_randomness(tmp_path):
    more = "randomness = dict(seed=0, deterministic=True)"
    config = resolve_config(str(write_config(tmp_path, more=more)), seed=3)
    assert config.randomness == dict(seed=3, deterministic=True)


def test_milestones_keep_their_place_in_a_shorter_training(tmp_path):
    more = """
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[60, 90])]
train_cfg = dict(max_iters=100)
"""
    config = resolve_config(str(write_config(tmp_path, more=more)), iterations=50)
    assert config.param_scheduler[0].milestones == [30, 45]


def test_a_network_that_names_cells_takes_no_protocol():
    with pytest.raises(UsageError, match="leave --protocol out"):
        resolve_config("cell_classes", protocol="half")
    with pytest.raises(UsageError, match="leave --setting out"):
        resolve_config("cell_classes", setting="A")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("model = [1]", "model is"),
        ("model['backbone'] = 'VGG'", "model.backbone is 'VGG'"),
        ("model['backbone'] = None", "model.backbone is None"),
        ("model['data_preprocessor'] = None", "model.data_preprocessor is None"),
        ("custom_hooks = 3", "custom_hooks is 3"),
        ("default_scope = 'mmdet'", "default_scope is 'mmdet'"),
        ("train_cfg = dict(max_iters=0)", "max_iters is 0"),
        ("train_cfg = dict(max_iters='two')", "max_iters is 'two'"),
        (
            "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)",
            "train_cfg counts epochs",
        ),
        (
            "train_dataloader['sampler'] = dict(type='InfiniteSampler')",
            "train_dataloader.sampler is 'InfiniteSampler'",
        ),
        ("method = '../x'", "method is '../x'"),
        ("model['neck']['act'] = dict(type='torch.nn.Bilinear')", "in no registry"),
        (
            "model['neck']['act'] = {1, 2}",
            "model.neck.act is {1, 2}, which the",
        ),
        ("model['neck']['act'] = {1: 'x'}", "model.neck.act, a key, is 1"),
        ("import sys; sys.exit(3)", "cannot be read: SystemExit"),
    ],
)
@pytest.mark.parametrize("protocol", [None, "smoke"])
def test_a_value_of_a_wrong_kind_is_named(tmp_path, more, said, protocol):
    path = write_config(tmp_path, more=more)
    replaced = ("custom_hooks", "default_scope", "max_iters", "train_cfg")
    replaced += ("train_dataloader.sampler",)
    if protocol and said.split()[0] in replaced:
        protocol = None  # which replaces them
    with pytest.raises(UsageError, match=said):
        resolve_config(str(path), protocol=protocol)


def test_an_option_of_a_wrong_kind_is_named(resolve):
    for options, said in (
        ({"model.neck.in_channels.0": 17}, "give the whole list"),
        ({"train_dataloader": None}, "lacks train_dataloader"),
        ({"custom_imports.imports": ["no_such_module"]}, "no_such_module"),
    ):
        with pytest.raises(UsageError, match=said):
            resolve(options=options)


def test_an_import_above_the_base_is_named(tmp_path):
    path = write_config(tmp_path)
    text = path.read_text()
    path.write_text(f"import numpy as np\n{text}")
    with pytest.raises(UsageError, match="import is above _base_; begin the file"):
        resolve_config(str(path))
    path.write_text(f"{text}import numpy as np\nvariant = str(int(np.ones(1)[0]))")
    assert resolve_config(str(path)).variant == "1"


def test_names_of_what_a_config_has_are_free(tmp_path):
    named = "norm_cfg = dict(type='BN')\ndata_preprocessor = model['data_preprocessor']"
    resolve_config(str(write_config(tmp_path, more=named)))
    with pytest.raises(UsageError, match="'norm_cfg'"):
        resolve_config(str(write_config(tmp_path, more="norm_cfg = dict(type='LN')")))


def test_configs_of_mmsegmentation_can_be_bases(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "_base_ = 'mmseg::_base_/models/fcn_unet_s5-d16.py'\n"
        "norm_cfg = dict(type='BN')\n"
        "model = dict(backbone=dict(norm_cfg=norm_cfg))\n"
    )
    config = resolve_config(str(path), protocol="smoke")
    assert config.model.backbone.type == "UNet"
    assert config.model.backbone.norm_cfg.type == "BN"


def test_classes_may_be_imported_or_named_with_their_module(tmp_path):
    (tmp_path / "base.py").write_text("log_level = 'INFO'\n")
    path = tmp_path / "mine.py"
    path.write_text(
        "from mmengine.config import read_base\n"
        "from mmseg.models import EncoderDecoder, FCNHead\n"
        "with read_base():\n"
        "    from .base import *\n"
        "model = dict(type=EncoderDecoder, decode_head=dict(type=FCNHead), "
        "backbone=dict(type='leuko_mm.models.encoders.VGG'))\n"
    )
    model = resolve_config(str(path), protocol="smoke").model
    parts = (model, model.decode_head, model.backbone)
    types = [part.type for part in parts]
    assert types == ["EncoderDecoder", "FCNHead", "leuko_mm.VGG"]


def test_a_config_may_name_its_folder(tmp_path):
    path = write_config(tmp_path, more=f"work_dir = '{tmp_path / 'there'}'\n")
    for protocol in (None, "smoke"):
        request = TrainRequest(str(path), protocol=protocol)
        assert prepare_config(request).work_dir == str(tmp_path / "there")
    assert prepare_config(TrainRequest(str(path), work_dir="x")).work_dir == "x"
    # As a run leaves it in its folder.
    path = write_config(tmp_path, more=f"work_dir = '{tmp_path}'\n")
    assert prepare_config(TrainRequest(str(path))).work_dir.startswith("work_dirs/")
