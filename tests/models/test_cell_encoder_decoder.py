"""Every cell has one class, and eight views are averaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmseg.structures import SegDataSample
from torch import nn

from leuko_mm.models.cell_encoder_decoder import (
    CellEncoderDecoder,
    mean_of_eight_views,
    one_class_per_cell,
)
from leuko_mm.registry import MODELS


def probabilities_of(labels, sure=0.8):
    """Return (3, H, W) probabilities whose most probable class is the label."""
    rest = (1 - sure) / 2
    return np.where(np.arange(3)[:, None, None] == labels, sure, rest)


@pytest.fixture
def labels():
    found = np.zeros((12, 20), int)
    found[2:8, 2:8] = 1
    found[2:4, 2:8] = 2  # a third of the cell is taken for another class
    found[3:9, 12:18] = 2
    found[10, 0:2] = 1  # a speck
    return found


def test_a_cell_takes_the_class_of_most_of_it_and_specks_go(labels):
    found = one_class_per_cell(probabilities_of(labels), least_area=5)
    wanted = np.zeros_like(labels)
    wanted[2:8, 2:8], wanted[3:9, 12:18] = 1, 2
    assert found.dtype == np.uint8
    assert np.array_equal(found, wanted)


def test_sure_pixels_outvote_many_unsure_ones(labels):
    probabilities = probabilities_of(labels, sure=0.36)
    probabilities[:, 2:4, 2:8] = np.array([0.0, 0.0, 1.0])[:, None, None]
    assert set(one_class_per_cell(probabilities, least_area=5)[2:8, 2:8].flat) == {2}


def test_background_is_never_the_class_of_a_cell():
    probabilities = np.array([[[0.45, 0.9]], [[0.55, 0.1]], [[0.0, 0.0]]])
    assert one_class_per_cell(probabilities, least_area=1).tolist() == [[1, 0]]


def test_nothing_found_is_all_background():
    found = one_class_per_cell(probabilities_of(np.zeros((4, 5), int)), least_area=0)
    assert not found.any()


def test_eight_views_of_a_pointwise_network_change_nothing():
    images = torch.randn(2, 3, 6, 9)
    found = mean_of_eight_views(lambda view: 2 * view, images)
    torch.testing.assert_close(found.softmax(1), (2 * images).softmax(1))


def test_eight_views_of_any_network_do_not_prefer_a_direction():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3, padding=1)
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        found = mean_of_eight_views(network, image)
        turned = mean_of_eight_views(network, torch.rot90(image, 1, (2, 3)))
    torch.testing.assert_close(torch.rot90(found, 1, (2, 3)), turned)


def segmentor(**test_cfg) -> CellEncoderDecoder:
    torch.manual_seed(0)
    widths = [8, 16]
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(
            dict(
                type="leuko_mm.CellEncoderDecoder",
                backbone=dict(type="leuko_mm.VGG", width=0.125, convs=(1, 1)),
                decode_head=dict(
                    type="leuko_mm.UNetHead",
                    in_channels=widths,
                    channels=[8],
                    num_classes=6,
                    align_corners=False,
                    loss_decode=[dict(type="leuko_mm.FocalDiceLoss")],
                ),
                test_cfg=ConfigDict(mode="whole", **test_cfg),
            )
        ).eval()


def predict(model, image):
    sample = SegDataSample(
        metainfo=dict.fromkeys(("ori_shape", "img_shape", "pad_shape"), (16, 24))
    )
    with torch.no_grad():
        return model.predict(image, [sample])[0]


def test_predictions_are_those_of_the_functions():
    image = torch.randn(1, 3, 16, 24)
    plain = predict(segmentor(), image)
    assert torch.equal(plain.pred_sem_seg.data[0], plain.seg_logits.data.argmax(0))
    found = predict(segmentor(least_area=3), image)
    torch.testing.assert_close(found.seg_logits.data, plain.seg_logits.data)
    wanted = one_class_per_cell(plain.seg_logits.data.softmax(0).numpy(), least_area=3)
    assert np.array_equal(found.pred_sem_seg.data[0].numpy(), wanted)
    assert not torch.equal(found.pred_sem_seg.data, plain.pred_sem_seg.data)
    eight = predict(segmentor(views=8), image).seg_logits.data
    one = segmentor()

    def logits_of(view):
        return one.encode_decode(view, [dict(img_shape=tuple(view.shape[2:]))])

    with torch.no_grad():
        mean = mean_of_eight_views(logits_of, image)
    torch.testing.assert_close(eight, mean[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "test_cfg", [dict(views=4), dict(least_area=-1), dict(mode="slide", stride=(2, 2))]
)
def test_raises_on_what_it_cannot_read(test_cfg):
    with pytest.raises(ValueError, match="test_cfg="):
        CellEncoderDecoder(backbone={}, decode_head={}, test_cfg=test_cfg)
