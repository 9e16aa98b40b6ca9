"""A request becomes a run: where it goes, from which state, and what it loads."""

from __future__ import annotations

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from leuko_mm.cli.main import main
from leuko_mm.engine.checkpoints import load_tensors
from leuko_mm.errors import UsageError
from leuko_mm.files import locked
from leuko_mm.inference.model import shipped_checkpoint
from leuko_mm.losses.focal_dice import FocalDiceLoss
from leuko_mm.models.size import build_bare
from leuko_mm.training import run
from leuko_mm.training.config import resolve_config
from leuko_mm.training.run import (
    TestRequest,
    TrainRequest,
    check_same_start,
    load_model,
    prepare_config,
    resume_from_newest,
    run_test,
)


def prepared(config, **wishes):
    return prepare_config(TrainRequest(str(config), **wishes))


def test_the_folder_tells_what_was_run(tiny_config):
    assert prepared(tiny_config).work_dir == "work_dirs/tiny-smoke-fold5-s0"
    config = prepared(tiny_config, protocol="half", split="fold2", seed=3)
    assert config.work_dir == "work_dirs/tiny-half-fold2-s3"
    tiny_config.write_text(tiny_config.read_text() + "variant = 'plain'\n")
    assert prepared(tiny_config).work_dir == "work_dirs/tiny-plain-smoke-fold5-s0"


def test_other_data_has_a_folder_of_its_own(tiny_config):
    own = "work_dirs/tiny-smoke-fold5-s0"
    assert prepared(tiny_config, data="synthetic").work_dir == own
    assert prepared(tiny_config, data="smears").work_dir == f"{own}-smears"
    assert prepared(tiny_config, data="/srv/data/mine").work_dir == f"{own}-mine"
    assert prepared(tiny_config, data="mine", work_dir="here").work_dir == "here"


def test_two_trainings_do_not_write_into_one_folder(
    tiny_data, tiny_config, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(run, "PATIENCE_S", 0)
    place = tmp_path / "run"
    place.mkdir()
    with locked(place):
        assert main(["train", str(tiny_config), "--work-dir", str(place)]) == 2
    assert f"another leuko train is writing into {place}" in capsys.readouterr().err
    assert not list(place.glob("*.pth"))


def config_of(work_dir, **more) -> Config:
    return Config(dict(work_dir=str(work_dir), load_from=None, **more))


def test_a_training_resumes_from_its_newest_state(tmp_path, caplog):
    config = config_of(tmp_path)
    with caplog.at_level("WARNING", "leuko_mm"):
        resume_from_newest(config, tmp_path)
    assert (config.resume, config.load_from) == (False, None)
    assert "nothing to resume" in caplog.text
    torch.save(dict(state_dict={}), tmp_path / "iter_3.pth")
    resume_from_newest(config, tmp_path)
    assert config.resume is True
    assert config.load_from == str(tmp_path / "iter_3.pth")


def test_states_elsewhere_are_found_or_said_to_be_gone(tmp_path):
    mark, state = tmp_path / "last_checkpoint", tmp_path / "states" / "iter_3.pth"
    state.parent.mkdir()
    torch.save(dict(state_dict={}), state)
    for words in (b"\xff\xfe\0", str(tmp_path / "gone" / "iter_3.pth").encode()):
        mark.write_bytes(words)
        with pytest.raises(UsageError, match="no state of the training can be read"):
            resume_from_newest(config_of(tmp_path), tmp_path)
    mark.write_text(str(state))
    resume_from_newest(config := config_of(tmp_path), tmp_path)
    assert config.load_from == str(state)


def test_processes_that_do_not_agree_are_told_what_to_copy(tmp_path, monkeypatch):
    config = config_of(tmp_path, resume=True)
    config.load_from = str(tmp_path / "iter_5.pth")
    monkeypatch.setattr(run, "all_gather_object", lambda own: [own, None])
    said = "process 0 goes on from iter_5.pth, process 1 from its start"
    with pytest.raises(UsageError, match=said) as caught:
        check_same_start(config)
    assert "copy its newest one" in str(caught.value)


class Holder:
    """The part of a runner that loading uses."""

    def __init__(self):
        self.model = nn.Conv2d(1, 2, 1)


@pytest.mark.parametrize(
    "more",
    [{}, {"bias": torch.zeros(3)}, {"bias": torch.zeros(2), "more": torch.zeros(1)}],
    ids=["missing", "another shape", "left over"],
)
def test_a_part_of_the_weights_is_not_enough(tmp_path, more):
    torch.save({"weight": torch.zeros(2, 1, 1, 1), **more}, tmp_path / "a.pth")
    with pytest.raises(
        UsageError, match=r"a\.pth does not fit the config: .*(bias|more)"
    ):
        load_model(Holder(), tmp_path / "a.pth")


def test_a_checkpoint_without_a_sidecar_is_warned_of(
    tiny_data, tiny_config, tmp_path, caplog
):
    path = tmp_path / "alone.pth"
    torch.save({}, path)
    # The empty file is refused, after the warning.
    with pytest.raises((UsageError, ValueError)):
        run_test(TestRequest(str(tiny_config), str(path), split="fold5"))
    assert "alone.pth has no sidecar (alone.json)" in caplog.text


def test_a_test_of_the_package_s_checkpoint_writes_into_work_dirs(
    tiny_data, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package" / "zoo").mkdir(parents=True)
    for place in (tmp_path / "package" / "zoo" / "a.pth", tmp_path / "a.pth"):
        torch.save({}, place)
    monkeypatch.setattr(run.leuko_mm, "__file__", "package/__init__.py")
    folders = []
    monkeypatch.setattr(run, "_test", lambda _, config, *__: folders.append(config))
    for path in ("package/zoo/a.pth", "a.pth"):
        run_test(TestRequest(str(tiny_config), path, split="fold5"))
    names = [config.work_dir for config in folders]
    assert names == ["work_dirs/a-test-smoke-fold5", "test-smoke-fold5"]


def test_a_class_network_is_scored_by_pictures(tiny_data, tmp_path):
    shipped = str(shipped_checkpoint("cell_classes"))
    asked = dict(data="synthetic", split="fold1", work_dir=str(tmp_path / "run"))
    folder = run_test(TestRequest("cell_classes", checkpoint=shipped, **asked))
    table = (folder / "table.md").read_text()
    assert " of 5 pictures get their class (95 % interval " in table
    assert "\n| other  " in table
    for words in ("background", "pixel", "leukocyte", "slides of"):
        assert words not in table
    page = (folder / "report.html").read_text()
    assert " of 5 pictures get their class" in page
    assert "background</" not in page
    results = json.loads((folder / "results.json").read_text())
    assert "background" in results["per_class"]  # its keys are fixed


@pytest.mark.parametrize("label", [255, 0, 3])
@pytest.mark.parametrize(
    "loss",
    [
        dict(type="leuko_mm.FocalDiceLoss"),
        dict(type="leuko_mm.FocalDiceLoss", absent="smooth"),
        dict(type="CrossEntropyLoss"),
        dict(type="CrossEntropyLoss", avg_non_ignore=True),
    ],
)
def test_all_ignored_and_absent_classes_give_numbers(tiny_config, label, loss):
    config = resolve_config(str(tiny_config))
    config.model.decode_head.loss_decode = [loss]
    model = build_bare(Config(dict(model=config.model))).train()
    sample = SegDataSample(metainfo=dict(img_shape=(32, 32)))
    sample.gt_sem_seg = PixelData(data=torch.full((1, 32, 32), label))
    total, _ = model.parse_losses(model.loss(torch.rand(2, 3, 32, 32), [sample] * 2))
    total.backward()
    assert torch.isfinite(total)
    for name, weight in model.named_parameters():
        assert weight.grad is None or torch.isfinite(weight.grad).all(), name
    if label == 255:
        assert total == 0


def test_a_training_stops_at_a_loss_that_is_no_number(
    tiny_config, tiny_data, tmp_path, monkeypatch, capfd
):
    forward = FocalDiceLoss.forward

    def broken(self, *args, **kwargs):
        return forward(self, *args, **kwargs) * float("nan")

    monkeypatch.setattr(FocalDiceLoss, "forward", broken)
    work_dir = tmp_path / "run"
    command = ["train", str(tiny_config), "--work-dir", str(work_dir), "--no-amp"]
    assert main(command) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    for words in ("iteration 1: ", "loss_focal_dice is nan", "not_finite_iter_1_rank0"):
        assert words in said
    saved = load_tensors(work_dir / "not_finite_iter_1_rank0.pth")
    assert len(saved["names"]) == 4 * len(saved["inputs"]) == 4 * len(saved["labels"])
    cells = (tiny_data / "synthetic" / "index.csv").read_text()
    assert all(f"\n{name}," in cells for name in saved["names"])
    option = said[said.index("--cfg-options") :].split()[:3]
    # With the option of the message the training ends, and its config tells of it.
    assert main([*command, "--force", *option]) == 0
    results = json.loads((work_dir / "results.json").read_text())
    assert results["run"]["iterations"] == 2
