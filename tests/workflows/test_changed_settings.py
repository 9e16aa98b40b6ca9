"""What a run's config has otherwise than its file says."""

from leuko_mm.workflows.changed_settings import changed_settings
from leuko_mm.workflows.resolve_config import resolve_config
from leuko_mm.workflows.train import place_run


def told(rows):
    return {row.key: (row.default, row.value) for row in rows}


def test_nothing_was_chosen(tiny_config):
    config = resolve_config(str(tiny_config))
    place_run(config, "somewhere/else")
    config.launcher, config.resume = "none", True
    changed = changed_settings(config)
    assert changed.chosen == changed.by_protocol == ()


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
