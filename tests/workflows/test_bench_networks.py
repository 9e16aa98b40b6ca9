"""The two ways to run a network: the same arithmetic, in another manner."""

from __future__ import annotations

import pytest
import torch
from exported_network import need_exports
from torch import nn

from leuko_mm.engine.autocast import AutocastOptimWrapper
from leuko_mm.workflows import bench_networks
from leuko_mm.workflows.bench_networks import build, write_export


@pytest.fixture
def spec(tiny_config):
    how = dict(device="cpu", layout="channels-last")
    return dict(network=str(tiny_config), batch=2, size=64, **how)


@pytest.fixture
def built(monkeypatch):
    """Keep the networks and the optimisers that are built."""
    kept = dict(models=[], wrappers=[])
    bare, wrapped = bench_networks.build_bare, bench_networks.build_optim_wrapper

    def keep_model(config):
        kept["models"].append(bare(config))
        return kept["models"][-1]

    def keep_wrapper(model, recipe):
        kept["wrappers"].append(wrapped(model, recipe))
        return kept["wrappers"][-1]

    monkeypatch.setattr(bench_networks, "build_bare", keep_model)
    monkeypatch.setattr(bench_networks, "build_optim_wrapper", keep_wrapper)
    return kept


def channels_last(model: nn.Module) -> set[bool]:
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    # One by one, both layouts are the same.
    return {
        w.is_contiguous(memory_format=torch.channels_last)
        for w in weights
        if min(w.shape[1:]) > 1
    }


def test_the_plain_prediction_and_ours_say_the_same(spec):
    spec["job"] = "predict"
    plain, own = (build(dict(spec, way=way))() for way in ("mmseg", "leuko"))
    assert plain.shape == (2, 6, 64, 64)
    assert plain.std() > 0
    # Within bfloat16.
    assert (plain - own).abs().max() < 0.05 * plain.abs().max()


def test_an_export_says_the_same_too(spec, tmp_path):
    need_exports()
    write_export(spec["network"], tmp_path / "net.onnx")
    spec.update(job="predict", file=str(tmp_path / "net.onnx"))
    plain, exported = (build(dict(spec, way=w))() for w in ("mmseg", "onnxruntime"))
    assert (plain - exported).abs().max() < 1e-4


def test_the_plain_step_is_float32_and_contiguous(spec, built):
    losses = build(dict(spec, job="train", way="mmseg"))()
    assert torch.isfinite(losses["loss"])
    (model,), (wrapper,) = built["models"], built["wrappers"]
    assert channels_last(model) == {False}
    assert type(wrapper).__name__ == "OptimWrapper"
    assert type(wrapper.optimizer).__name__ == "AdamW"
    assert not wrapper.optimizer.defaults["fused"]


@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_our_step_is_that_of_the_protocol(spec, built, layout):
    call = build(dict(spec, job="train", way="leuko", layout=layout))
    (model,), (wrapper,) = built["models"], built["wrappers"]
    before = model.backbone.features[0].weight.clone()
    call()
    assert channels_last(model) == {layout == "channels-last"}
    assert isinstance(wrapper, AutocastOptimWrapper)
    assert not torch.equal(before, model.backbone.features[0].weight)


@pytest.mark.parametrize(
    ("way", "computed"), [("leuko frozen", 3), ("leuko frozen, maps kept", 2)]
)
def test_a_frozen_encoder_is_left_as_it_is(spec, built, way, computed):
    call = build(dict(spec, job="train", way=way))
    (model,) = built["models"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    calls = []
    model.backbone.features[0].register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        call()
    assert len(calls) == computed
    changed = {
        name
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert changed
    assert not [name for name in changed if name.startswith("backbone")]


def test_a_step_can_be_repeated(spec):
    call = build(dict(spec, job="train", way="leuko"))
    assert all(torch.isfinite(call()["loss"]) for _ in range(3))
