import pytest
import torch

from leuko_mm.models import FCN8sHead, NestedUNetHead, SegNetHead, UNetHead

CE = {"type": "mmseg.CrossEntropyLoss", "avg_non_ignore": True}
HEADS = {
    # head, and how many values its classifier sums up
    "unet": (lambda **o: UNetHead([64, 64], [64], **o), 64),
    "nested": (lambda **o: NestedUNetHead([64, 64], **o), 64),
    "segnet": (lambda **o: SegNetHead([64, 64], convs=[2, 1], **o), 9 * 64),
    "fcn8s": (lambda **o: FCN8sHead([8, 8, 8], fc_channels=64, **o), 64),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_classifier_starts_with_logits_of_the_size_of_the_features(name):
    torch.manual_seed(0)
    make, summed = HEADS[name]
    head = make(num_classes=6, loss_decode=CE)
    head.init_weights()
    weight = head.conv_seg.weight
    assert weight.std().item() == pytest.approx(summed**-0.5, rel=0.12)
    assert head.conv_seg.bias.abs().max() == 0
    assert weight[0].numel() == summed


@pytest.mark.parametrize("name", HEADS)
def test_two_classes_are_a_softmax_of_two(name, recwarn):
    head = HEADS[name][0](num_classes=2, loss_decode=CE)
    assert head.out_channels == head.conv_seg.out_channels == 2
    assert not [w for w in recwarn if "out_channels" in str(w.message)]


@pytest.mark.parametrize("name", HEADS)
def test_several_losses_add_up_in_the_log(name):
    focal = {"type": "leuko_mm.FocalDiceLoss"}
    head = HEADS[name][0](num_classes=3, loss_decode=[CE, focal])
    assert [loss.loss_name for loss in head.loss_decode] == [
        "loss_ce",
        "loss_focal_dice",
    ]
