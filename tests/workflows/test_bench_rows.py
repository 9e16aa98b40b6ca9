"""Medians, ratios of medians and shares, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from leuko_mm.workflows.bench_rows import make_rows, remedy

LOW = dict(precision="bfloat16", layout="channels-last")
FULL = dict(precision="float32", layout="contiguous")


def measured(network, way, ms, *, gmacs=None, kind=FULL, **more) -> dict:
    turns = dict(ms=ms, cores=[1.5, 2.0, 1.0], peak_mib=100.0, gmacs=gmacs)
    return dict(
        job="predict", device="cpu", network=network, way=way, **kind, **turns, **more
    )


@pytest.fixture
def rows():
    found = make_rows(
        [
            measured("net", "mmseg", [90, 100, 300], gmacs=40),
            measured("net", "leuko", [20, 25, 30], gmacs=40, kind=LOW),
            measured("net", "openvino", [10.0], kind=LOW),
            measured("smp.Unet(vgg16)", "eager", [50.0], gmacs=20),
            measured("3x3 convolutions", "3x3 convolutions", [10.0], gmacs=8),
            measured("3x3 convolutions", "3x3 convolutions", [4.0], gmacs=8, kind=LOW),
            measured("net", "onnxruntime", [], lack="onnx is not installed"),
        ],
        batch=2,
    )
    return {(row["network"], row["way"], row["precision"]): row for row in found}


def test_a_row_is_the_median_of_its_calls(rows):
    row = rows["net", "mmseg", "float32"]
    assert (row["ms"], row["fastest_ms"], row["calls"]) == (100, 90, 3)
    assert row["images_s"] == 20
    assert (row["cores"], row["peak_mib"]) == (1.5, 100)


def test_ratios_are_those_of_the_medians(rows):
    own = rows["net", "leuko", "bfloat16"]
    assert (own["times_plain"], own["times_peer"]) == (4, 2)
    assert rows["smp.Unet(vgg16)", "eager", "float32"]["times_peer"] == 1
    assert rows["smp.Unet(vgg16)", "eager", "float32"]["times_plain"] is None


def test_the_share_is_of_the_rate_in_the_same_precision_and_layout(rows):
    # 0.4 of 0.8, and 1.6 of 2 GMAC a ms.
    plain, own = rows["net", "mmseg", "float32"], rows["net", "leuko", "bfloat16"]
    assert plain["conv_share"] == pytest.approx(0.5)
    assert own["conv_share"] == pytest.approx(0.8)
    same = rows["3x3 convolutions", "3x3 convolutions", "bfloat16"]
    assert same["conv_share"] == pytest.approx(1)
    assert same["times_peer"] is None


def test_an_export_has_the_arithmetic_of_its_network(rows):
    exported = rows["net", "openvino", "bfloat16"]
    assert exported["gmacs"] == 40
    assert exported["conv_share"] == pytest.approx(2)


def test_what_was_left_out_has_a_reason_and_no_figures(rows):
    row = rows["net", "onnxruntime", "float32"]
    assert row["left_out"] == "onnx is not installed"
    assert row["ms"] is row["times_plain"] is row["conv_share"] is None


def test_without_peer_and_convolutions_there_are_no_ratios_to_them():
    (row,) = make_rows([measured("net", "leuko", [5.0], gmacs=1)], batch=1)
    assert row["ms"] == 5
    assert row["times_plain"] is row["times_peer"] is row["conv_share"] is None


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("segmentation_models_pytorch", "--peer-python"),
        ("torch", "pip install torch"),
    ],
)
def test_the_remedy_says_what_to_type(module, words):
    assert words in remedy(module)
