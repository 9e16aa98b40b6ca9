"""The bench: contenders, their processes, turns, ratios, tables and the page."""

from __future__ import annotations

import json
import sys
import time

import pytest
import torch
from exported_network import need_exports
from tool_module import load_tool
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from leuko_mm.engine.optim import AutocastOptimWrapper

bench = load_tool("bench")
worker = load_tool("bench_contender")
LOW = dict(precision="bfloat16", layout="channels-last")
FULL = dict(precision="float32", layout="contiguous")
CONVOLUTIONS = dict(
    way="3x3 convolutions",
    job="predict",
    batch=2,
    size=16,
    device="cpu",
    threads=1,
    clock="wall",
    **FULL,
)


# Contenders


def ways(found) -> list[tuple[str, str]]:
    return [(one.network, one.way) for one in found]


def test_a_prediction_on_a_cpu_is_made_by_every_runtime():
    found = bench.contenders("predict", ["cbam_unet"], device="cpu", bfloat16=True)
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


# What a contender computes


def counted(**changes) -> float:
    call = worker.build({**CONVOLUTIONS, **changes})
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def test_each_convolution_has_the_same_arithmetic_and_training_both_gradients():
    # 9 C^2 multiply-adds a pixel, on a map a quarter as large where C doubles.
    assert counted() == 4 * 9 * 64**2 * 16**2 * 2
    assert counted(job="train") == 3 * counted()


@pytest.fixture
def spec(tiny_config):
    how = dict(device="cpu", layout="channels-last")
    return dict(network=str(tiny_config), batch=2, size=64, **how)


@pytest.fixture
def built(monkeypatch):
    """Keep the networks and the optimisers that are built."""
    from mmengine import optim

    kept = dict(models=[], wrappers=[])
    random_network, wrapped = worker._random_network, optim.build_optim_wrapper

    def keep_model(config):
        kept["models"].append(random_network(config))
        return kept["models"][-1]

    def keep_wrapper(model, recipe):
        kept["wrappers"].append(wrapped(model, recipe))
        return kept["wrappers"][-1]

    monkeypatch.setattr(worker, "_random_network", keep_model)
    monkeypatch.setattr(optim, "build_optim_wrapper", keep_wrapper)
    return kept


def channels_last(model: nn.Module) -> set[bool]:
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    # One by one, both layouts are the same.
    return {
        w.is_contiguous(memory_format=torch.channels_last)
        for w in weights
        if min(w.shape[1:]) > 1
    }


def test_the_plain_prediction_ours_and_an_export_agree(spec, tmp_path):
    need_exports()
    bench.write_export(spec["network"], tmp_path / "net.onnx")
    spec.update(job="predict", file=str(tmp_path / "net.onnx"))
    plain, own, exported = (
        worker.build(dict(spec, way=way))() for way in ("mmseg", "leuko", "onnxruntime")
    )
    assert plain.shape == (2, 6, 64, 64)
    assert plain.std() > 0
    # Within bfloat16, and within rounding.
    assert (plain - own).abs().max() < 0.05 * plain.abs().max()
    assert (plain - exported).abs().max() < 1e-4


def test_the_plain_step_is_float32_and_contiguous(spec, built):
    losses = worker.build(dict(spec, job="train", way="mmseg"))()
    assert torch.isfinite(losses["loss"])
    (model,), (wrapper,) = built["models"], built["wrappers"]
    assert channels_last(model) == {False}
    assert type(wrapper).__name__ == "OptimWrapper"
    assert type(wrapper.optimizer).__name__ == "AdamW"
    assert not wrapper.optimizer.defaults["fused"]


@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_our_step_is_that_of_the_protocol_and_can_be_repeated(spec, built, layout):
    call = worker.build(dict(spec, job="train", way="leuko", layout=layout))
    (model,), (wrapper,) = built["models"], built["wrappers"]
    before = model.backbone.features[0].weight.clone()
    call()
    assert channels_last(model) == {layout == "channels-last"}
    assert isinstance(wrapper, AutocastOptimWrapper)
    assert not torch.equal(before, model.backbone.features[0].weight)
    assert torch.isfinite(call()["loss"])


@pytest.mark.parametrize(
    ("way", "computed"), [("leuko frozen", 3), ("leuko frozen, maps kept", 2)]
)
def test_a_frozen_encoder_does_not_change(spec, built, way, computed):
    call = worker.build(dict(spec, job="train", way=way))
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


# Timing and the protocol of lines


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves a contender built by a given function."""

    def serve(build, *lines) -> list[dict]:
        monkeypatch.setattr(worker, "build", build)
        answers: list[dict] = []
        spec = dict(device="cpu", clock="wall", threads=torch.get_num_threads())
        worker.serve(iter(map(json.dumps, (spec, *lines))), answers.append)
        return answers

    return serve


def test_a_contender_is_warmed_up_counted_and_timed(serve):
    calls = []

    def build(spec):
        layer = nn.Conv2d(3, 8, 1)
        return lambda: calls.append(layer(torch.ones(1, 3, 10, 10)))

    about, first, second = serve(build, 0, 0)
    assert about == dict(gmacs=pytest.approx(2.4e-6), torch=torch.__version__)
    assert len(first["ms"]) == len(second["ms"]) == 1
    assert len(calls) == worker.WARMUP + 2
    # In bytes, torch alone takes more than that.
    assert first["peak_mib"] is None or 50 < first["peak_mib"] < 2**20
    assert serve(lambda spec: lambda: None)[0]["gmacs"] is None


def test_a_turn_lasts_its_time_and_the_processor_does_not_count_waiting():
    turn = worker.time_turn(lambda: time.sleep(0.02), 0.1)
    assert 2 <= len(turn["ms"]) <= 5
    assert all(one >= 20 for one in turn["ms"])
    assert turn["cores"] < 0.5
    turn = worker.time_turn(lambda: time.sleep(0.02), 0, clock="processor")
    assert len(turn["ms"]) == 1
    assert turn["ms"][0] < 10


@pytest.mark.parametrize("python", [None, sys.executable])
def test_turns_are_taken_and_the_process_ends(python):
    with bench.ContenderProcess(CONVOLUTIONS, python=python) as process:
        assert process.about["gmacs"] > 0
        assert process.ask(0)["ms"][0] > 0
        assert len(process.ask(0.2)["ms"]) > 1
    assert process.process.poll() is not None


PEER = """
import torch

def Unet(encoder, *, encoder_weights, classes):
    assert (encoder, encoder_weights, classes) == ('vgg16', None, 6)
    return torch.nn.Conv2d(3, classes, 3, padding=1)
"""
# As torchvision of the package index fails beside a CPU build of torch.
UNFIT = """
import torch
for name in ('nms', 'qnms'):
    torch.library.register_fake('torchvision::' + name)(lambda *given: given[0])
"""


@pytest.mark.parametrize(("job", "times"), [("predict", 1), ("train", 2)])
def test_the_peer_runs_beside_an_unfit_torchvision(tmp_path, monkeypatch, job, times):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "segmentation_models_pytorch.py").write_text(PEER)
    (tmp_path / "torchvision.py").write_text(UNFIT)
    with bench.ContenderProcess(dict(CONVOLUTIONS, way="eager", job=job)) as process:
        # Forward; in training the gradient of the weights too, not of the images.
        one = 2 * 16 * 16 * 9 * 3 * 6 / 1e9
        assert process.about["gmacs"] == pytest.approx(times * one)
        assert process.ask(0)["ms"][0] > 0


# A whole bench


class Pretender:
    """In place of a contender's process; writes down the turns."""

    turns: list[tuple[str, str]] = []
    specs: list[dict] = []
    # What a way answers instead of numbers.
    broken: dict[str, dict] = {}

    def __init__(self, spec, *, python=None):
        self.name = (spec["network"], spec["way"])
        self.about = self.broken.get(spec["way"], dict(gmacs=1.0, torch="2"))
        self.specs.append(dict(spec, python=python))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, seconds):
        self.turns.append(self.name)
        late = self.broken.get(f"late {self.name[1]}")
        return late or dict(ms=[float(len(self.turns))], cores=1.0, peak_mib=1.0)


@pytest.fixture
def pretender(monkeypatch):
    for name, value in dict(turns=[], specs=[], broken={}).items():
        monkeypatch.setattr(Pretender, name, value)
    monkeypatch.setattr(bench, "ContenderProcess", Pretender)
    monkeypatch.setattr(bench, "write_export", lambda _, file: file.touch())
    monkeypatch.setattr(bench, "find_spec", lambda name: name != "openvino")
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    return Pretender


SMALL = ["predict", "--methods", "cbam_unet", "--rounds", "2", "--threads", "1"]


def measured_rows(*words) -> dict:
    found = bench.bench(bench.parser().parse_args([*SMALL, *words]), lambda _: None)
    return {(row["network"], row["way"]): row for row in found["rows"]}


def test_contenders_take_turns(pretender):
    rows = measured_rows()
    half = len(pretender.turns) // 2
    assert pretender.turns[:half] == pretender.turns[half:]
    # 1, 2, 3 ... in the first round, and so on in the second.
    assert rows["cbam_unet", "mmseg"]["ms"] == (1 + 1 + half) / 2


def test_one_that_fails_does_not_stop_the_others(pretender, monkeypatch):
    def refuse(network, file):
        raise RuntimeError("no operator for that\nand more")

    monkeypatch.setattr(bench, "write_export", refuse)
    pretender.broken["late mmseg"] = dict(failed="out of memory")
    rows = measured_rows()
    assert rows["cbam_unet", "mmseg"]["left_out"] == "out of memory"
    assert rows["cbam_unet", "mmseg"]["ms"] is None
    assert rows["cbam_unet", "leuko"]["ms"]
    assert pretender.turns.count(("cbam_unet", "mmseg")) == 1
    lack = rows["cbam_unet", "onnxruntime"]["left_out"]
    assert lack == "cannot be exported (no operator for that)"


def test_all_have_the_same_threads_batch_size_and_clock(pretender):
    words = ["--threads", "3", "--batch", "5", "--peer-python", "other"]
    measured_rows(*words)
    args = bench.parser().parse_args(["train", *SMALL[1:], *words])
    bench.bench(args, lambda _: None)
    kinds = {(s["job"], s["threads"], s["batch"], s["size"]) for s in pretender.specs}
    assert kinds == {("train", 3, 5, 256), ("predict", 3, 1, 512)}
    # The other interpreter is for the peer alone.
    others = {(s["way"] == "eager", s["python"]) for s in pretender.specs}
    assert others == {(True, "other"), (False, None)}
    pretender.specs.clear()
    measured_rows("--clock", "processor")
    assert {(s["threads"], s["clock"]) for s in pretender.specs} == {(1, "processor")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "expected 1 or more, got {'rounds': 0}"),
        (["--train-size", "100"], "multiple of 32"),
        (["--methods", "cbam_unets"], "cbam_unet"),
        (["--clock", "processor", "--threads", "2"], "got --threads 2"),
        (["--json", "no/such/out.json"], "no/such is no folder"),
        (["--json", "there.json"], "--force"),
    ],
)
def test_wrong_use_is_one_message(
    pretender, words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").touch()
    assert bench.main(words) == 2
    assert message in capsys.readouterr().err
    assert not pretender.specs


@pytest.mark.slow
def test_a_real_bench_of_a_small_network(tiny_config):
    words = [f"--{job}-size=64" for job in bench.JOBS]
    words += ["--methods", str(tiny_config), "--rounds", "1", "--batch", "2"]
    found = bench.bench(bench.parser().parse_args(words), lambda _: None)
    rows = {(row["job"], row["network"], row["way"]): row for row in found["rows"]}
    for job in bench.JOBS:
        plain, own = (rows[job, str(tiny_config), way] for way in ("mmseg", "leuko"))
        assert own["times_plain"] == pytest.approx(plain["ms"] / own["ms"])
        assert own["gmacs"] == pytest.approx(plain["gmacs"], rel=0.01)
        assert own["conv_share"] > 0


# Rows, tables and the page


def measured(network, way, ms, *, gmacs=None, kind=FULL, **more) -> dict:
    turns = dict(ms=ms, cores=[1.5, 2.0, 1.0], peak_mib=512.4, gmacs=gmacs)
    about = dict(job="predict", device="cpu", network=network, way=way)
    return dict(**about, **kind, **turns, **more)


@pytest.fixture
def rows():
    found = bench.make_rows(
        [
            measured("net", "mmseg", [90, 100, 300], gmacs=40),
            measured("net", "leuko", [20, 25.06, 30], gmacs=40, kind=LOW),
            measured("net", "openvino", [10.0], kind=LOW),
            measured("smp.Unet(vgg16)", "eager", [50.0], gmacs=20),
            measured("3x3 convolutions", "3x3 convolutions", [10.0], gmacs=8),
            measured("3x3 convolutions", "3x3 convolutions", [4.0], gmacs=8, kind=LOW),
            measured("net", "onnxruntime", [], lack="onnx is not installed"),
        ],
        batch=2,
    )
    return {(row["network"], row["way"], row["precision"]): row for row in found}


def test_a_row_has_medians_ratios_of_medians_and_shares(rows):
    plain, own = rows["net", "mmseg", "float32"], rows["net", "leuko", "bfloat16"]
    assert (plain["ms"], plain["fastest_ms"], plain["calls"]) == (100, 90, 3)
    assert (plain["images_s"], plain["cores"], plain["peak_mib"]) == (20, 1.5, 512.4)
    assert own["times_plain"] == pytest.approx(100 / 25.06)
    assert own["times_peer"] == pytest.approx(50 / 25.06)
    peer = rows["smp.Unet(vgg16)", "eager", "float32"]
    assert (peer["times_peer"], peer["times_plain"]) == (1, None)
    # 0.4 of 0.8 GMAC a ms; an export has the arithmetic of its network.
    assert plain["conv_share"] == pytest.approx(0.5)
    assert rows["net", "openvino", "bfloat16"]["gmacs"] == 40
    assert rows["net", "openvino", "bfloat16"]["conv_share"] == pytest.approx(2)
    assert rows["3x3 convolutions", "3x3 convolutions", "bfloat16"][
        "conv_share"
    ] == pytest.approx(1)
    left_out = rows["net", "onnxruntime", "float32"]
    assert left_out["left_out"] == "onnx is not installed"
    assert left_out["ms"] is left_out["times_plain"] is left_out["conv_share"] is None


@pytest.fixture
def found(rows):
    return dict(
        env=dict(cpu="a processor", gpu=None, torch="2.13.0"),
        threads=2,
        clock="wall",
        load=dict(before=0.25, after=None),
        rounds=7,
        batch=dict(train=4, predict=2),
        size=dict(train=256, predict=512),
        rows=list(rows.values()),
    )


def test_only_the_text_between_the_marks_changes(found, tmp_path):
    (tmp_path / "bench_train.json").write_text(json.dumps(found))
    page = "before\n<!-- bench_train -->\nold\n<!-- end of bench_train -->\nafter\n"
    updated = bench.updated_page(page, tmp_path)
    assert updated.startswith("before\n<!-- bench_train -->\n\na processor")
    assert updated.endswith("\n\n<!-- end of bench_train -->\nafter\n")
    assert "old" not in updated
    assert bench.updated_page(updated, tmp_path) == updated
    with pytest.raises(ValueError, match="no '<!-- bench_train -->'"):
        bench.updated_page("nothing", tmp_path)


def test_the_page_has_the_tables_of_the_committed_files(project_root):
    page = bench.PAGE.read_text(encoding="utf-8")
    assert bench.updated_page(page) == page, "run python tools/bench.py page"
    for path in (project_root / "results").glob("bench_*.json"):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        plain = {r["network"]: r["ms"] for r in rows if r["way"] == "mmseg"}
        for row in rows:
            if row["times_plain"]:
                ratio = plain[row["network"]] / row["ms"]
                assert row["times_plain"] == pytest.approx(ratio)
