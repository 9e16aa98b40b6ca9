"""Who takes part, and in which precision and layout."""

from __future__ import annotations

import pytest

from leuko_mm.workflows import bench_contenders
from leuko_mm.workflows.bench_contenders import Contender, contenders


def ways(found) -> list[tuple[str, str]]:
    return [(one.network, one.way) for one in found]


def test_a_prediction_on_a_cpu_is_made_by_every_runtime():
    found = contenders("predict", ["cbam_unet"], device="cpu", bfloat16=True)
    own = ["leuko", "onnxruntime", "openvino"]
    assert ways(found)[:9] == [
        ("cbam_unet", "mmseg"),
        *(("cbam_unet", way) for way in own),
        *(("unet_vgg16", way) for way in own),
        ("unet", "mmseg"),
        ("smp.Unet(vgg16)", "eager"),
    ]
    precision = {one.way: one.precision for one in found[:4]}
    assert precision == dict(
        mmseg="float32", leuko="bfloat16", onnxruntime="float32", openvino="bfloat16"
    )


def test_training_has_the_frozen_phase_and_no_exports():
    found = contenders("train", ["cbam_unet"], device="cpu", bfloat16=True)
    assert ways(found)[:5] == [
        ("cbam_unet", "mmseg"),
        ("cbam_unet", "leuko"),
        ("cbam_unet", "leuko frozen"),
        ("cbam_unet", "leuko frozen, maps kept"),
        ("unet_vgg16", "leuko"),
    ]


def test_a_gpu_runs_no_exports():
    found = contenders("predict", ["cbam_unet"], device="cuda", bfloat16=True)
    assert {way for _, way in ways(found)} == {
        "mmseg",
        "leuko",
        "eager",
        "3x3 convolutions",
    }


def test_every_precision_and_layout_has_its_convolutions():
    for low in (True, False):
        found = contenders("predict", ["cbam_unet"], device="cpu", bfloat16=low)
        networks = [c for c in found if c.home != "bench_convolution"]
        rates = [c for c in found if c.home == "bench_convolution"]
        kinds = [(c.precision, c.layout) for c in rates]
        assert {(c.precision, c.layout) for c in networks} == set(kinds)
        assert len(kinds) == len(set(kinds))
        assert any(c.precision == "bfloat16" for c in found) is low


def test_no_network_is_named_twice():
    methods = ["cbam_unet", "unet_vgg16", "unet"]
    found = contenders("predict", methods, device="cpu", bfloat16=True)
    assert len(found) == len(set(found))


def test_each_has_a_home():
    homes = [Contender("net", way).home for way in ("mmseg", "eager", "leuko frozen")]
    assert homes == ["bench_networks", "bench_peer", "bench_networks"]


@pytest.mark.parametrize(
    ("helps", "layout"), [(True, "channels-last"), (False, "contiguous")]
)
def test_our_trainings_have_the_layout_of_the_processor(monkeypatch, helps, layout):
    monkeypatch.setattr(bench_contenders, "channels_last_helps", lambda device: helps)
    for job, wanted in (("train", layout), ("predict", "channels-last")):
        found = contenders(job, ["cbam_unet"], device="cpu", bfloat16=False)
        own = [one.layout for one in found if one.way.startswith("leuko")]
        assert set(own) == {wanted}
