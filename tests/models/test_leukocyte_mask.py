"""LeukocyteMask: boxes, windows, and what each stage computes and learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from leuko_mm.models import LeukocyteMask
from leuko_mm.models.leukocyte_mask import Box, find_cells, windows_around
from leuko_mm.registry import MODELS


def mask_of(*boxes, size=(100, 120)):
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_cells_are_the_connected_components_largest_first_without_specks():
    small, large = Box(10, 10, 20, 20), Box(40, 60, 70, 90)
    assert find_cells(mask_of(small, large)) == [large, small]
    assert find_cells(mask_of(small, large), max_cells=1) == [large]
    mask = mask_of((0, 0, 3, 3), (50, 50, 60, 60))  # 9 and 100 of 12,000 pixels
    assert find_cells(mask) == [Box(50, 50, 60, 60)]
    assert find_cells(np.zeros((10, 10), bool)) == []


@pytest.mark.parametrize("context", [0.0, 0.25, 1.0])
def test_windows_hold_their_boxes_and_are_alike_and_inside(context):
    numbers = np.random.default_rng(0)
    for _ in range(50):
        height, width = numbers.integers(20, 200, 2)
        tops, lefts = numbers.integers(0, (height - 8, width - 8), (3, 2)).T
        boxes = [
            Box(t, le, min(t + 30, height), min(le + 9, width))
            for t, le in zip(tops.tolist(), lefts.tolist(), strict=True)
        ]
        windows = windows_around(boxes, (int(height), int(width)), context=context)
        sizes = {(w.bottom - w.top, w.right - w.left) for w in windows}
        assert len(sizes) == 1
        for box, window in zip(boxes, windows, strict=True):
            assert 0 <= window.top <= box.top < box.bottom <= window.bottom <= height
            assert 0 <= window.left <= box.left < box.right <= window.right <= width


def test_the_size_is_a_multiple_or_the_pictures():
    (window,) = windows_around([Box(40, 40, 60, 60)], (200, 50), context=0.25)
    assert (window.bottom - window.top, window.right - window.left) == (32, 32)
    (window,) = windows_around([Box(0, 0, 90, 30)], (100, 50), context=0.25)
    assert window == Box(0, 0, 100, 48)
    assert windows_around([], (10, 10)) == []


CE = {"type": "CrossEntropyLoss", "avg_non_ignore": True}
FOCAL = {"type": "leuko_mm.FocalDiceLoss"}


def make_model(losses=(CE,), **options) -> LeukocyteMask:
    torch.manual_seed(0)
    config = ConfigDict(
        type="leuko_mm.LeukocyteMask",
        backbone={"type": "leuko_mm.VGG", "width": 0.125},
        decode_head={
            "type": "leuko_mm.UNetHead",
            "in_channels": [8, 16, 32, 64, 64],
            "channels": [16, 8, 8, 8],
            "num_classes": 6,
            "loss_decode": list(losses),
        },
        test_cfg={"mode": "whole"},
        **options,
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(config)


def make_samples(label):
    meta = {"img_shape": label.shape, "ori_shape": label.shape}
    return [SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=label[None]))]


def cells(size=(64, 96)):
    label = torch.zeros(size, dtype=torch.long)
    label[10:30, 12:40], label[40:60, 60:84] = 2, 3
    return label


def fix(model, value, kind="locate_head"):
    """Make a head return the given logits."""
    head = getattr(model, kind)
    head.forward = lambda maps: value(maps) if callable(value) else value


def one_hot(label, scale=10.0):
    return scale * torch.nn.functional.one_hot(label, 6).permute(2, 0, 1)[None].float()


def test_both_stages_learn_by_the_same_losses():
    model = make_model([CE, FOCAL])
    losses = model.loss(torch.randn(1, 3, 64, 96), make_samples(cells()))
    assert set(losses) == {
        f"{stage}.{name}"
        for stage in ("locate", "decode")
        for name in ("loss_ce", "loss_focal_dice", "acc_seg")
    }
    assert model.locate_head is not model.decode_head
    sum(v for k, v in losses.items() if "loss" in k).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_second_stage_learns_from_the_cells_of_the_truth():
    model, seen = make_model(), []
    plain = model.decode_head.loss

    def spy(maps, samples, train_cfg):
        seen.extend(s.gt_sem_seg.data for s in samples)
        return plain(maps, samples, train_cfg)

    model.decode_head.loss = spy
    model.loss(torch.randn(1, 3, 64, 96), make_samples(cells()))
    assert [int(cut.max()) for cut in seen] == [2, 3]
    # 28 pixels wide, a quarter more on each side, up to a multiple of 16
    assert {tuple(cut.shape) for cut in seen} == {(1, 32, 48)}
    assert [int((cut > 0).sum()) for cut in seen] == [20 * 28, 20 * 24]


@pytest.mark.parametrize("train_on", ["truth", "found"])
def test_an_image_without_a_cell_trains_both_stages(train_on):
    model = make_model(train_on=train_on)
    empty = torch.zeros(64, 64, dtype=torch.long)
    empty[:8] = 255  # ignored pixels are no cells
    losses = model.loss(torch.randn(1, 3, 64, 64), make_samples(empty))
    sum(v for k, v in losses.items() if "loss" in k).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_found_windows_come_from_the_first_stage():
    model, seen = make_model(train_on="found"), []
    coarse = torch.zeros(1, 6, 32, 32)
    coarse[:, 0], coarse[:, 4, 4:10, 20:28] = 1.0, 2.0
    model._cut = lambda inputs, windows: (
        seen.extend(windows) or LeukocyteMask._cut(inputs, windows)
    )
    model.locate_head.forward = lambda maps: coarse.requires_grad_()
    model.loss(torch.randn(1, 3, 64, 96), make_samples(cells()))
    # rows 8 to 20 and columns 60 to 84 of the image
    assert seen == [(0, Box(0, 48, 32, 96))]


def test_windows_have_the_second_stages_logits_and_the_rest_the_firsts():
    model, truth = make_model().eval(), torch.zeros(64, 64, dtype=torch.long)
    truth[10:30, 12:40], truth[40:60, 30:50] = 2, 3  # windows of 32 x 48
    coarse = one_hot(truth[::2, ::2])
    fix(model, coarse)
    fine = torch.full((1, 6, 1, 1), 0.0)
    fine[:, 5] = 50.0
    fix(
        model,
        lambda maps: fine.expand(len(maps[0]), 6, *maps[0].shape[-2:]),
        "decode_head",
    )
    logits = model.encode_decode(torch.randn(1, 3, 64, 64), [])
    assert logits.shape == (1, 6, 64, 64)
    refined = logits.argmax(1)[0] == 5
    assert refined[12:28, 14:38].all()
    assert refined[42:58, 32:48].all()
    assert not refined[:4].any()
    assert not refined[36:, :16].any()


def test_where_windows_overlap_the_mean_counts():
    model = make_model().eval()
    windows = [(0, Box(0, 0, 16, 32)), (0, Box(0, 16, 16, 48))]
    values = iter([1.0, 3.0])
    fix(
        model,
        lambda maps: torch.stack(
            [torch.full((6, 16, 32), next(values)) for _ in maps[0]]
        ),
        "decode_head",
    )
    logits = model._refine(torch.zeros(1, 3, 16, 64), torch.zeros(1, 6, 4, 8), windows)
    columns = logits[0, 0, 0]
    assert columns[:16].unique() == 1
    assert columns[16:32].unique() == 2
    assert columns[32:48].unique() == 3
    assert columns[48:].unique() == 0


def test_many_windows_are_segmented_a_few_at_a_time():
    model = make_model().eval()
    windows = [(0, Box(0, 4 * i, 16, 4 * i + 16)) for i in range(9)]
    inputs, coarse = torch.randn(1, 3, 16, 64), torch.zeros(1, 6, 4, 8)
    sizes = []
    plain = model.backbone.forward
    model.backbone.forward = lambda x: sizes.append(len(x)) or plain(x)
    with torch.no_grad():
        model._refine(inputs, coarse, windows)
    assert sizes == [4, 4, 1]


@pytest.mark.parametrize("size", [(16, 16), (65, 97), (300, 40)])
def test_odd_images_get_logits_of_their_size(size):
    model = make_model().eval()
    with torch.no_grad():
        (result,) = model.predict(torch.randn(1, 3, *size))
    assert result.seg_logits.data.shape == (6, *size)


@pytest.mark.parametrize("options", [{"train_on": "hope"}, {"locate_scale": 0}])
def test_raises(options):
    with pytest.raises(ValueError, match="'truth' or 'found'"):
        make_model(**options)
