"""Our parts and mmseg's in one model, found by name alone."""

import json
import subprocess
import sys

import pytest
import torch
from mmengine import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.structures import SegDataSample

from leuko_mm.registry import MODELS

CLASSES = 6
BN = {"type": "BN"}
VGG = {"type": "leuko_mm.VGG", "width": 0.125}  # 8, 16, 32, 64, 64 channels
NECK = {"type": "leuko_mm.CBAMSkipNeck", "in_channels": [8, 16, 32, 64, 64]}
NECK["reduction"] = 8
FOCAL_DICE = {"type": "leuko_mm.FocalDiceLoss"}
CROSS_ENTROPY = {"type": "CrossEntropyLoss", "avg_non_ignore": True}
OUR_HEAD = {
    "type": "leuko_mm.UNetHead",
    "in_channels": [8, 16, 32, 64, 64],
    "channels": [64, 32, 16, 8],
    "num_classes": CLASSES,
    "loss_decode": FOCAL_DICE,
}
THEIR_HEAD = {
    "type": "FCNHead",
    "in_channels": 64,
    "channels": 16,
    "num_convs": 1,
    "num_classes": CLASSES,
    "norm_cfg": BN,
    "loss_decode": CROSS_ENTROPY,
}
THEIR_UNET = {
    "type": "UNet",
    "base_channels": 8,
    "num_stages": 3,
    "strides": (1, 1, 1),
    "enc_num_convs": (1, 1, 1),
    "dec_num_convs": (1, 1),
    "downsamples": (True, True),
    "enc_dilations": (1, 1, 1),
    "dec_dilations": (1, 1),
    "norm_cfg": BN,
}
THEIR_RESNET = {
    "type": "ResNetV1c",
    "depth": 18,
    "base_channels": 16,
    "stem_channels": 16,
    "norm_cfg": BN,
}
SMALL = {"in_channels": [8, 16], "num_classes": CLASSES, "loss_decode": FOCAL_DICE}
# One working config for every name that we register among the models.
EVERY_NAME = [
    VGG,
    NECK,
    OUR_HEAD,
    FOCAL_DICE,
    {
        "type": "leuko_mm.CellEncoderDecoder",
        "backbone": VGG,
        "decode_head": OUR_HEAD,
        "test_cfg": {"mode": "whole", "least_area": 20, "views": 8},
    },
    {"type": "leuko_mm.LeukocyteMask", "backbone": VGG, "decode_head": OUR_HEAD},
    {"type": "leuko_mm.EfficientNetLite"},
    {
        **SMALL,
        "type": "leuko_mm.CellClassHead",
        "in_channels": 16,
        "align_corners": False,
    },
    {"type": "leuko_mm.SkipResNet", "depth": 18},
    {"type": "leuko_mm.ResidualContextEncoder", "widths": [8, 16]},
    {"type": "leuko_mm.DualPathEncoder", "widths": [8, 16]},
    {"type": "leuko_mm.ASPPNeck", "in_channels": [8, 16], "channels": 8},
    {**SMALL, "type": "leuko_mm.SegNetHead", "convs": [2, 1]},
    {**SMALL, "type": "leuko_mm.NestedUNetHead"},
    {
        **SMALL,
        "type": "leuko_mm.FCN8sHead",
        "in_channels": [32, 64, 64],
        "fc_channels": 16,
    },
]
MIXTURES = {
    "ours": {"backbone": VGG, "neck": NECK, "decode_head": OUR_HEAD},
    "our head on mmseg's UNet": {
        "backbone": THEIR_UNET,  # returns the deepest map first
        "decode_head": {
            **OUR_HEAD,
            "in_channels": [8, 16, 32],
            "in_index": [2, 1, 0],
            "channels": [16, 8],
        },
    },
    "our neck and head on mmseg's ResNet": {
        "backbone": THEIR_RESNET,
        "neck": {**NECK, "in_channels": [16, 32, 64, 128]},
        "decode_head": {
            **OUR_HEAD,
            "in_channels": [16, 32, 64, 128],
            "channels": [32, 16, 8],
            "norm_cfg": BN,
        },
    },
    "mmseg's head on our VGG": {"backbone": VGG, "decode_head": THEIR_HEAD},
    "mmseg's loss in our head": {
        "backbone": VGG,
        "decode_head": {**OUR_HEAD, "loss_decode": CROSS_ENTROPY},
    },
    "both losses in our head": {
        "backbone": VGG,
        "decode_head": {**OUR_HEAD, "loss_decode": [CROSS_ENTROPY, FOCAL_DICE]},
    },
    "our loss in mmseg's model": {
        "backbone": THEIR_RESNET,
        "decode_head": {
            **THEIR_HEAD,
            "in_channels": 128,
            "loss_decode": FOCAL_DICE,
        },
    },
}

BUILD_BY_NAME = """
import json, sys
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
init_default_scope("mmseg")
already = [name for name in sys.modules if name.startswith("leuko_mm")]
built = [type(MODELS.build(c)).__module__ for c in json.load(sys.stdin)]
print(json.dumps({"already": already, "built": built}))
"""


def test_every_registered_model_is_listed_here():
    MODELS.import_from_location()
    # Other tests register parts of their own.
    ours = {
        name
        for name, part in MODELS.module_dict.items()
        if part.__module__.startswith("leuko_mm.")
    }
    assert ours == {config["type"].removeprefix("leuko_mm.") for config in EVERY_NAME}


def test_every_name_builds_in_a_clean_process():
    done = subprocess.run(
        [sys.executable, "-c", BUILD_BY_NAME],
        input=json.dumps(EVERY_NAME),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["already"] == []
    assert len(report["built"]) == len(EVERY_NAME)
    assert all(module.startswith("leuko_mm.") for module in report["built"])


def build(mixture):
    config = ConfigDict(type="EncoderDecoder", test_cfg={"mode": "whole"}, **mixture)
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MMSEG_MODELS.build(config)


def make_samples(size):
    samples = []
    for index in range(2):
        labels = torch.randint(0, CLASSES, (1, *size))
        labels[:, :4] = 255
        meta = {"img_shape": size, "ori_shape": size, "img_path": f"{index}.png"}
        sample = SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels))
        samples.append(sample)
    return samples


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_trains_and_predicts(name):
    torch.manual_seed(0)
    size = (32, 48)
    model = build(MIXTURES[name])
    images, samples = torch.randn(2, 3, *size), make_samples(size)
    losses = model.loss(images, samples)
    total = sum(v for k, v in losses.items() if "loss_" in k)
    total.backward()
    assert torch.isfinite(total)
    first = next(model.backbone.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        results = model.predict(images, samples)
    assert len(results) == 2
    for result in results:
        assert result.seg_logits.data.shape == (CLASSES, *size)
        assert result.pred_sem_seg.data.shape == (1, *size)
