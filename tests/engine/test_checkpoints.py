"""Checkpoints appear whole with their sidecar; what a file says is never run."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import FILES, Call
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import load_checkpoint
from tiny_run import python
from torch import nn
from toy_training import ADAM, toy_net, toy_runner

from leuko_mm.engine.checkpoints import (
    UnsafeCheckpointError,
    check_kinds,
    load_tensors,
    newest_state,
    save_states_atomically,
    write_checkpoint,
)

SIDECAR = dict(method="toy", classes=["background", "leukocyte"])


@pytest.fixture
def model() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    return layers.to(memory_format=torch.channels_last)


@pytest.fixture
def harm(tmp_path) -> Call:
    """Return what makes a file when it is unpickled."""
    return Call(os.system, f"touch {tmp_path / 'harmed'}")


def test_the_sidecar_names_the_digest_of_the_file(tmp_path, model):
    returned = write_checkpoint(tmp_path / "net.pth", model, SIDECAR)
    written = json.loads((tmp_path / "net.json").read_text())
    digest = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    assert written == returned == {"schema": 1, **SIDECAR, "sha256": digest}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.json", "net.pth"]


def test_mmengine_finds_the_classes_that_mmseg_asks_for(tmp_path, model):
    sidecar = {**SIDECAR, "colours": [[0, 0, 0], [255, 255, 255]]}
    write_checkpoint(tmp_path / "net.pth", model, sidecar)
    read = load_checkpoint(nn.Sequential(*model), str(tmp_path / "net.pth"))
    about = dict(classes=sidecar["classes"], palette=sidecar["colours"])
    assert read["meta"] == dict(dataset_meta=about)
    assert read["state_dict"].keys() == model.state_dict().keys()
    for text in ("[]", "{}", "{"):
        (tmp_path / "net.json").write_text(text)
        read = load_checkpoint(nn.Sequential(*model), str(tmp_path / "net.pth"))
        assert read.keys() == model.state_dict().keys()


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel])
def test_the_tensors_are_contiguous_and_without_a_wrappers_prefix(
    tmp_path, model, wrap
):
    write_checkpoint(tmp_path / "net.pth", wrap(model), SIDECAR)
    tensors = load_tensors(tmp_path / "net.pth")
    assert list(tensors) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensors[name], tensor)
        assert tensors[name].is_contiguous()
    assert not model[0].weight.is_contiguous()


def test_the_content_is_on_the_disk_before_its_name(tmp_path, model, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noting(*args, name=name, real=real):
            order.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, noting)
    write_checkpoint(tmp_path / "net.pth", model, SIDECAR)
    assert order == ["fsync", "replace"] * 2


def write_state(folder, name: str, *, damaged: bool = False) -> None:
    torch.save(dict(meta={}, state_dict=dict(a=torch.zeros(100))), folder / name)
    if damaged:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])


def test_the_newest_state_is_found_by_its_number(tmp_path):
    assert newest_state(tmp_path) is None
    for name in ("iter_100.pth", "iter_20.pth", "best_iter_900.pth", "iter_x.pth"):
        write_state(tmp_path, name)
    assert newest_state(tmp_path) == tmp_path / "iter_100.pth"


def test_a_damaged_newest_state_is_skipped_with_a_warning(tmp_path, caplog):
    write_state(tmp_path, "iter_20.pth")
    write_state(tmp_path, "iter_30.pth", damaged=True)
    (tmp_path / "iter_40.pth").write_bytes(b"")
    with caplog.at_level("WARNING", "leuko_mm"):
        assert newest_state(tmp_path) == tmp_path / "iter_20.pth"
    for name, record in zip(("iter_40", "iter_30"), caplog.records, strict=True):
        assert name in record.getMessage()
    (tmp_path / "iter_20.pth").unlink()
    assert newest_state(tmp_path) is None


class Saver:
    """Stands for mmengine's runner, whose writing is cut short on request."""

    def __init__(self, work_dir):
        self.work_dir, self.cut_short = str(work_dir), False

    def save_checkpoint(self, out_dir, filename, meta=None):
        path = Path(out_dir) / filename
        path.write_text("half")
        if self.cut_short:
            raise OSError("no space left")
        path.write_text(f"whole {meta}")


def test_a_state_appears_whole_or_not_at_all(tmp_path):
    (tmp_path / ".iter_1.pth.part").write_text("of a killed process")
    saver = Saver(tmp_path)
    save_states_atomically(saver)
    assert list(tmp_path.iterdir()) == []
    saver.save_checkpoint(str(tmp_path), "iter_1.pth", meta=1)
    saver.cut_short = True
    for name in ("iter_1.pth", "iter_2.pth"):
        with pytest.raises(OSError, match="no space"):
            saver.save_checkpoint(str(tmp_path), name, meta=2)
    assert [p.name for p in tmp_path.iterdir()] == ["iter_1.pth"]
    assert (tmp_path / "iter_1.pth").read_text() == "whole 1"


@pytest.fixture(scope="module")
def training_state(tmp_path_factory):
    """Return mmengine's file of a training, two iterations in."""
    folder = tmp_path_factory.mktemp("training")
    keep = dict(type="CheckpointHook", by_epoch=False, interval=2)
    stop = dict(type="IterBasedTrainLoop", max_iters=2)
    training(folder, train_cfg=stop, default_hooks=dict(checkpoint=keep)).train()
    return folder / "iter_2.pth"


def training(folder, **settings):
    schedule = dict(type="CosineAnnealingLR", by_epoch=False, T_max=2)
    options = dict(optim_wrapper=ADAM, param_scheduler=schedule)
    return toy_runner(toy_net(norm=True), folder, **options, **settings)


def resuming(state, folder):
    return training(folder, load_from=str(state), resume=True)


def test_a_training_state_is_read_completely(training_state):
    ours = load_tensors(training_state)
    trusted = torch.load(training_state, weights_only=False)
    assert ours.keys() == trusted.keys()
    assert ours["meta"] == trusted["meta"]
    assert ours["param_schedulers"] == trusted["param_schedulers"]
    moments = ours["optimizer"]["state"], trusted["optimizer"]["state"]
    for number, state in moments[1].items():
        for name, tensor in state.items():
            assert torch.equal(moments[0][number][name], tensor)
    curves = ours["message_hub"]["log_scalars"]
    assert curves.keys() == trusted["message_hub"]["log_scalars"].keys()
    assert "train/loss" in curves
    for name, curve in curves.items():
        assert type(curve) is HistoryBuffer
        wanted = trusted["message_hub"]["log_scalars"][name]
        for mine, theirs in zip(curve.data, wanted.data, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert curve.statistics("mean") == wanted.statistics("mean")


@pytest.mark.parametrize("kind", ["zip", "legacy", "legacy of an older numpy"])
def test_numbers_of_numpy_are_read(tmp_path, kind):
    content = dict(
        float=np.float64(0.5),
        integer=np.int64(-3),
        truth=np.bool_(True),
        grid=np.arange(6, dtype=np.float32).reshape(2, 3, order="F"),
        empty=np.zeros((0, 2)),
        tensor=torch.ones(2),
    )
    path = tmp_path / "numbers.pth"
    torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    if "older" in kind:
        new = path.read_bytes()
        assert b"cnumpy._core." in new
        path.write_bytes(new.replace(b"cnumpy._core.", b"cnumpy.core."))
    loaded = load_tensors(path)
    for name, value in content.items():
        assert type(loaded[name]) is type(value)
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].dtype == value.dtype


@pytest.mark.parametrize("zipped", [True, False])
def test_a_command_is_not_run_and_trust_is_not_advised(tmp_path, harm, zipped):
    path = tmp_path / "harm.pth"
    content = dict(state_dict=toy_net().state_dict(), extra=harm)
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UnsafeCheckpointError, match=r"harm.pth.*asks for \w+.system"
    ) as raised:
        load_tensors(path)
    for advice in ("weights_only", "add_safe_globals", "allowlist"):
        assert advice not in str(raised.value)
    assert not (tmp_path / "harmed").exists()
    # The command works: without the guard the file would have been made.
    torch.load(path, weights_only=False)
    assert (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Call(getattr, HistoryBuffer, "__init__"), "attribute '__init__'"),
        (Call(getattr, torch.Tensor, "mean"), "asks for torch.Tensor"),
        (Call(eval, "1"), "asks for (builtins.)?eval"),
        (Call(np.load, "x.npy"), "asks for numpy"),
        (torch.ones(2).to_sparse(), "asks for torch._utils._rebuild_sparse"),
        (np.array([{}], dtype=object), "array of 'O8'"),
        (np.zeros(2, dtype=[("a", "f8")]), "array of 'V8'"),
        (np.array(["text"]), "array of 'U4'"),
    ],
)
def test_anything_beyond_numbers_is_refused(tmp_path, thing, message):
    torch.save(dict(x=thing), tmp_path / "x.pth")
    with pytest.raises(UnsafeCheckpointError, match=message):
        load_tensors(tmp_path / "x.pth")


def test_a_curve_cannot_replace_the_statistics(tmp_path):
    curve = HistoryBuffer([1.0, 3.0], [1, 1])
    methods = dict(HistoryBuffer._statistics_methods)
    curve.statistics_methods = dict(mean=np.ndarray, extra=np.ndarray)
    curve._statistics_methods = curve.statistics_methods
    torch.save(dict(curve=curve), tmp_path / "curve.pth")
    loaded = load_tensors(tmp_path / "curve.pth")["curve"]
    assert methods == HistoryBuffer._statistics_methods
    assert loaded.statistics("mean") == 2.0


def test_a_number_type_cannot_lie_about_its_layout(tmp_path):
    # numpy believes such a record, and would read memory that is not the array's.
    far = (3, "<", None, ("a",), {"a": (np.dtype("f8"), 5000)}, -1, -1, 0)
    kind = Call(np.dtype, "f8", False, True, state=far)
    torch.save(dict(x=Call(np.dtype, "f8"), y=kind), tmp_path / "x.pth")
    loaded = load_tensors(tmp_path / "x.pth")
    assert loaded["y"] == np.dtype("f8")
    assert loaded["y"].fields is None
    assert np.dtype("f8").fields is None


def test_what_others_allow_does_not_count_and_stays(tmp_path):
    torch.save(dict(x=Call(getattr, HistoryBuffer, "__init__")), tmp_path / "x.pth")
    with torch.serialization.safe_globals([getattr, HistoryBuffer, slice]):
        former = set(torch.serialization.get_safe_globals())
        with pytest.raises(UnsafeCheckpointError):
            load_tensors(tmp_path / "x.pth")
        assert set(torch.serialization.get_safe_globals()) == former


def test_kinds_of_numbers_are_not_converted():
    module = nn.BatchNorm1d(1)
    check_kinds(module, {"weight": torch.ones(1, dtype=torch.float16)})
    check_kinds(module, {"num_batches_tracked": torch.tensor(3.0)})
    for bad in (
        {"weight": torch.ones(1, dtype=torch.int64)},
        {"num_batches_tracked": torch.tensor(0.5)},
        {"weight": "text"},
    ):
        (name,) = bad
        with pytest.raises(UnsafeCheckpointError, match=rf"f\.pth .* its {name} is"):
            check_kinds(module, bad, file="f.pth")


class Layer(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.linear = nn.Linear(2, 1)


def by_function(path, folder):
    load_checkpoint(Layer(), str(path))


def by_init_cfg(path, folder):
    Layer(dict(type="Pretrained", checkpoint=str(path))).init_weights()


def by_load_from(path, folder):
    toy_runner(toy_net(norm=True), folder).load_checkpoint(str(path))


def by_resuming(path, folder):
    resuming(path, folder).load_or_resume()


PATHS = [by_function, by_init_cfg, by_load_from, by_resuming]


@pytest.mark.parametrize("load", PATHS)
@pytest.mark.parametrize("kind", FILES)
def test_every_path_of_mmengine_refuses_every_hostile_file(
    tmp_path, training_state, load, kind
):
    content = load_tensors(training_state)
    linear = {"linear.weight": torch.ones(1, 2), "linear.bias": torch.ones(1)}
    if load in (by_function, by_init_cfg):
        content = dict(state_dict=linear)
    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    torch.save(content, good)
    FILES[kind](good, bad, tmp_path / "harmed")
    with pytest.raises(UnsafeCheckpointError, match="was not loaded"):
        load(bad, tmp_path)
    assert not (tmp_path / "harmed").exists()
    if kind == "by_reduce":
        load(good, tmp_path)


def test_addresses_are_read_safely(tmp_path, web, harm, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    wanted = Layer()
    for name, content in dict(good=wanted.state_dict(), harm=dict(x=harm)).items():
        buffer = io.BytesIO()
        torch.save(content, buffer)
        web.files[f"/{name}.pth"] = buffer.getvalue()
    with pytest.raises(UnsafeCheckpointError):
        load_checkpoint(Layer(), f"{web.address}/harm.pth")
    assert not (tmp_path / "harmed").exists()
    for _ in range(2):
        model = Layer()
        load_checkpoint(model, f"{web.address}/good.pth")
        assert torch.equal(model.linear.weight, wanted.linear.weight)
    assert web.asked == ["/harm.pth", "/good.pth"]


def test_the_config_in_a_file_is_not_run(tmp_path, training_state):
    content = load_tensors(training_state)
    content["meta"]["config"] = f"import os\nos.system('touch {tmp_path}/harmed')\n"
    torch.save(content, tmp_path / "old.pth")
    runner = resuming(tmp_path / "old.pth", tmp_path)
    runner.load_or_resume()
    assert runner.iter == 2
    assert not (tmp_path / "harmed").exists()


CLEAN = """
import sys
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
init_default_scope("mmseg")
assert not [name for name in sys.modules if name.startswith("leuko_mm")]
init = dict(type="Pretrained", checkpoint=sys.argv[1])
MODELS.build(dict(type="leuko_mm.VGG", width=0.125, init_cfg=init)).init_weights()
"""


@pytest.mark.slow
def test_building_a_model_of_ours_makes_loading_safe(tmp_path, harm):
    torch.save(dict(x=harm), tmp_path / "harm.pth")
    done = python("-c", CLEAN, tmp_path / "harm.pth")
    assert "UnsafeCheckpointError" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "harmed").exists()
