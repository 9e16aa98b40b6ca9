"""A config's name and a few choices become one complete, checked config."""

import pytest
from mmengine.config import Config
from tiny_run import write_config

from leuko_mm.errors import UsageError
from leuko_mm.workflows.find_config import find_config, protocol_names
from leuko_mm.workflows.resolve_config import check_keys, config_hash, resolve_config


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
