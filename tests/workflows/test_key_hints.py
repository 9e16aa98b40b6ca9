"""Which key a misspelt one was meant to be, and which keys may be new."""

import pytest

from leuko_mm.errors import UsageError
from leuko_mm.workflows.key_hints import check_option_keys, hint_on
from leuko_mm.workflows.resolve_config import resolve_config


@pytest.mark.parametrize(
    "option",
    [
        "randomness.seed",
        "model.backbone.depth",
        # Arguments that the file does not give.
        "train_dataloader.dataset.seed",
        "optim_wrapper.optimizer.betas",
        "optim_wrapper.accumulative_counts",
        "default_hooks.checkpoint.save_last",
        "model.decode_head.dropout_ratio",
        "model.train_cfg.sampler",
        "train_dataloader.pin_memory",
        "test_dataloader.batch_sampler",
        # Whatever is wrong with these is said elsewhere.
        "modle.backbone.depth",
        "custom_hooks.9.iters",
        "custom_hooks.iters",
        "randomness.seed.value",
    ],
)
def test_what_is_there_or_may_be_new_passes(tiny_config, option):
    check_option_keys(resolve_config(str(tiny_config)).to_dict(), {option: 1})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.decode_head.chanels", "model.decode_head has no 'chanels' (did you"),
        ("custom_hooks.1.itres", "custom_hooks.1 has no 'itres' (did you mean 'iters'"),
        ("randomness.sed", "did you mean 'seed'"),
        # Not in the file: what the part takes counts too.
        ("model.decode_head.dropout_ration", "did you mean 'dropout_ratio'"),
        ("_iterations", "give --iterations"),
        ("_widths", "begins with _"),
    ],
)
def test_a_slip_is_refused(tiny_config, option, said):
    with pytest.raises(UsageError) as caught:
        check_option_keys(resolve_config(str(tiny_config)).to_dict(), {option: 1})
    assert said in str(caught.value)
    assert option in str(caught.value)


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        (
            # A base says it, which does not know the part's own arguments.
            "BaseDecodeHead.__init__() got an unexpected keyword argument 'upsampel'",
            " (did you mean 'upsample'?)",
        ),
        (
            "class `AdamW` in torch: AdamW.__init__() got an unexpected keyword "
            "argument 'beta'",
            " (did you mean 'betas'?)",
        ),
        ("VGG.__init__() got an unexpected keyword argument 'dept'", ""),
        (
            "PackSegInput is not in the mmseg::transform registry. Please check",
            " (did you mean 'PackSegInputs'?)",
        ),
        ("something else", ""),
    ],
)
def test_a_library_s_message_gets_its_hint(message, hint):
    config = dict(
        model=dict(decode_head=dict(type="leuko_mm.UNetHead", upsampel="nearest")),
        optim_wrapper=dict(optimizer=dict(type="AdamW", beta=0.9)),
    )
    assert hint_on(message, config) == hint
