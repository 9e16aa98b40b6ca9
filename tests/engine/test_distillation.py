"""A teacher adds to the loss, and to nothing that is saved."""

import copy
import json
import math

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from leuko_mm.engine.checkpoint_files import write_checkpoint
from leuko_mm.engine.distillation import (
    DistillationHook,
    attention_loss,
    distillation_loss,
)
from leuko_mm.engine.teacher import TeacherError, load_teacher
from leuko_mm.workflows.model_size import build_bare
from leuko_mm.workflows.resolve_config import resolve_config


def test_the_divergence_is_that_of_two_softened_softmaxes():
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    found = distillation_loss(student, teacher, temperature=3.0)
    expected = F.kl_div(
        F.log_softmax(student / 3, 1), F.softmax(teacher / 3, 1), reduction="none"
    )
    assert found.item() == pytest.approx(9 * expected.sum(1).mean().item(), rel=1e-5)


def test_a_hand_computed_divergence():
    student, teacher = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
    teacher[0, 0] = math.log(3)  # 3/4 and 1/4 against 1/2 and 1/2
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = distillation_loss(student, teacher, temperature=1.0)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_pixels_that_do_not_count_change_neither_value_nor_gradient():
    torch.manual_seed(0)
    student = torch.randn(1, 3, 2, 2, requires_grad=True)
    teacher = torch.randn(1, 3, 2, 2)
    counted = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    one = distillation_loss(student, teacher, counted=counted)
    one.backward()
    assert student.grad[..., 0, 1].abs().sum() == 0
    assert student.grad[..., 0, 0].abs().sum() > 0
    teacher[..., 0, 1] += 5
    assert distillation_loss(student, teacher, counted=counted).item() == one.item()
    assert distillation_loss(student, teacher, counted=counted * 0).item() == 0


def test_attention_compares_where_not_how_much_nor_how_wide():
    maps = torch.rand(2, 4, 8, 8) + 0.1
    assert attention_loss([maps], [maps.repeat(1, 3, 1, 1) * 7]).item() < 1e-9
    elsewhere = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    elsewhere[0][..., 0, 0] = elsewhere[1][..., 3, 3] = 1
    # Two orthogonal directions of length 1 are 2 apart, squared.
    assert attention_loss(*[[e] for e in elsewhere]).item() == pytest.approx(2)


def test_attention_takes_the_map_of_the_nearest_size():
    ours = torch.rand(1, 2, 8, 8)
    others = [torch.rand(1, 2, 16, 16), ours * 2, torch.rand(1, 5, 4, 4)]
    assert attention_loss([ours], others).item() < 1e-9


class Runner:
    """What the hook needs of a runner."""

    def __init__(self, config):
        torch.manual_seed(1)
        self.cfg, self.model = config, build_bare(config)


@pytest.fixture
def run(tiny_config, tmp_path):
    """Return a runner and the file of a teacher that fits it."""
    config = resolve_config(str(tiny_config))
    config = copy.deepcopy(config)
    torch.manual_seed(0)
    sidecar = dict(
        config=dict(model=config.model.to_dict()),
        classes=["c"] * 6,
        enhance=None,
        scale=dict(cell_px=32),
        normalisation=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        training=dict(split="fold5"),
    )
    path = tmp_path / "teacher-fold5.pth"
    write_checkpoint(path, build_bare(config), sidecar)
    return Runner(config), path


def batch():
    label = torch.ones(1, 64, 64, dtype=torch.long)
    label[:, :8] = 255
    return torch.randn(1, 3, 64, 64), [
        SegDataSample(
            gt_sem_seg=PixelData(data=label), metainfo=dict(img_shape=(64, 64))
        )
    ]


def test_the_teacher_adds_to_the_loss_and_to_no_checkpoint(run):
    runner, path = run
    hook = DistillationHook(str(path).replace("fold5", "{split}"), features=0.5)
    before = list(runner.model.state_dict())
    hook.before_train(runner)
    losses = runner.model.loss(*batch())
    assert losses["loss_distillation"] > 0
    assert losses["loss_attention"] > 0
    sum(v for k, v in losses.items() if "loss" in k).backward()
    assert list(runner.model.state_dict()) == before
    assert all(p.grad is None for p in hook.teacher.model.parameters())
    assert not hook.teacher.model.training
    runner.model.train()
    assert not hook.teacher.model.training
    hook.after_train(runner)
    assert "loss_distillation" not in runner.model.loss(*batch())
    copy.deepcopy(runner.model)


def test_a_teacher_of_itself_adds_nothing(run):
    runner, path = run
    runner.model.load_state_dict(torch.load(path, weights_only=True))
    hook = DistillationHook(str(path))
    hook.before_train(runner)
    runner.model.eval()
    assert runner.model.loss(*batch())["loss_distillation"].item() < 1e-6


def test_the_teacher_sees_what_it_was_trained_on(run):
    runner, path = run
    sidecar = json.loads(path.with_suffix(".json").read_text())
    sidecar["normalisation"] = dict(mean=[0, 0, 0], std=[255.0] * 3)
    sidecar["scale"] = dict(cell_px=64)
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    teacher = load_teacher(str(path), runner.cfg, runner.model)
    pixels = torch.rand(1, 3, 64, 64) * 255
    ours = runner.model.data_preprocessor
    inputs = (pixels - ours.mean) / ours.std
    own = inputs * teacher.factor + teacher.shift
    torch.testing.assert_close(own, pixels / 255, atol=1e-5, rtol=1e-5)
    logits, maps = teacher(inputs)
    assert logits.shape[-2:] == maps[0].shape[-2:] == (128, 128)


def test_no_weight_needs_no_teacher(run):
    runner, _ = run
    DistillationHook("nowhere.pth", weight=0).before_train(runner)
    assert "loss" not in vars(runner.model)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(training=dict(split="fold4")), "trained on split fold4.*fold5"),
        (dict(classes=["a", "b"]), "2 classes, the student 6"),
        (dict(enhance=dict(type="X")), "enhanced by"),
        (dict(sha256="0"), "is not the file"),
    ],
)
def test_a_teacher_that_may_not_teach_is_refused(run, change, said):
    runner, path = run
    place = path.with_suffix(".json")
    place.write_text(json.dumps({**json.loads(place.read_text()), **change}))
    with pytest.raises(TeacherError, match=said):
        load_teacher(str(path), runner.cfg, runner.model)


def test_a_missing_teacher_names_the_command(run):
    runner, path = run
    path.unlink()
    with pytest.raises(TeacherError, match=r"leuko train cbam_unet .*--split fold5"):
        DistillationHook(str(path)).before_train(runner)


def test_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="temperature=0"):
        DistillationHook("t.pth", temperature=0)
