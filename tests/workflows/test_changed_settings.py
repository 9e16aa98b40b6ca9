"""What a run's config has otherwise than its file says."""

from leuko_mm.engine.autocast import bfloat16_helps
from leuko_mm.workflows.changed_settings import changed_settings
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.run_place import place_run
from leuko_mm.workflows.train import TrainRequest, prepare_config


def told(rows):
    return {row.key: (row.default, row.value) for row in rows}


def test_nothing_was_chosen(tiny_config):
    config = resolve_config(str(tiny_config))
    place_run(config, "somewhere/else")
    config.launcher, config.resume = "none", True
    changed = changed_settings(config)
    assert changed.chosen == changed.by_protocol == ()


def test_what_the_machine_decides_is_no_choice(tiny_config):
    config = prepare_config(TrainRequest(str(tiny_config)))
    assert config.optim_wrapper.enabled is bfloat16_helps()
    assert changed_settings(config).chosen == ()


def test_bfloat16_is_a_choice_where_the_machine_decides_otherwise(tiny_config):
    config = prepare_config(TrainRequest(str(tiny_config), amp=not bfloat16_helps()))
    assert told(changed_settings(config).chosen) == {
        "optim_wrapper.enabled": (str(bfloat16_helps()), str(not bfloat16_helps())),
    }


def test_the_state_that_a_run_goes_on_from_is_no_choice(tiny_config):
    config = resolve_config(str(tiny_config))
    config.resume, config.load_from = True, "work_dirs/tiny/iter_2.pth"
    assert changed_settings(config).chosen == ()
    config.resume = False
    assert list(told(changed_settings(config).chosen)) == ["load_from"]


def test_a_test_tells_only_what_it_reads(tiny_config):
    config = resolve_config(str(tiny_config), protocol="half", split="fold2", seed=3)
    changed = changed_settings(config, tested=True)
    assert told(changed.chosen) == {
        "protocol": ("'smoke'", "'half'"),
        "test_dataloader.dataset.dataset.split": ("'fold5'", "'fold2'"),
    }
    brought = told(changed.by_protocol)
    assert brought["test_dataloader.dataset.size"] == ("64", "256")
    assert {key.split(".")[0] for key in brought} == {"test_dataloader"}


def test_every_choice_is_told_by_its_key(tiny_config):
    config = resolve_config(
        str(tiny_config),
        seed=3,
        options={
            "model.decode_head.loss_decode.0.gamma": 1.5,
            "model.train_cfg.sampler": "hard",
            "optim_wrapper.optimizer.betas": [0.5, 0.9],
        },
    )
    assert told(changed_settings(config).chosen) == {
        "randomness.seed": ("0", "3"),
        "train_dataloader.dataset.seed": (None, "3"),
        "model.decode_head.loss_decode.0.gamma": ("2.0", "1.5"),
        "model.train_cfg": ("{}", None),
        "model.train_cfg.sampler": (None, "'hard'"),
        "optim_wrapper.optimizer.betas": (None, "[0.5, 0.9]"),
    }


def test_what_the_protocol_brings_is_told_apart(tiny_config):
    config = resolve_config(str(tiny_config), protocol="half", split="fold2")
    changed = changed_settings(config)
    chosen, brought = told(changed.chosen), told(changed.by_protocol)
    assert chosen == {
        "protocol": ("'smoke'", "'half'"),
        "train_dataloader.dataset.dataset.split": ("'fold5'", "'fold2'"),
        "test_dataloader.dataset.dataset.split": ("'fold5'", "'fold2'"),
    }
    assert brought["train_dataloader.dataset.size"] == ("64", "256")
    assert not any(key.startswith("_") for key in brought)
    assert not any(key.startswith("model.") for key in brought)


def test_a_file_that_is_gone_tells_nothing(tiny_config):
    config = resolve_config(str(tiny_config))
    tiny_config.unlink()
    assert changed_settings(config) is None
