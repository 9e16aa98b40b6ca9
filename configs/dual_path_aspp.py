# Dual-path U-Net with atrous pooling at its bottom, from random weights. Only
# its summary was open to us; what we inferred is in docs/compare.md. What people
# change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
#   _widths                              residual channels of the levels, finest first
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'dual_path_aspp'

_widths = [32, 64, 128, 256, 512]
# Two blocks a level append an eighth of its width each, and begin with two more.
_channels = [48, 96, 192, 384, 768]
_bottom = 256

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=16,
        test_cfg=dict(size_divisor=16)),
    backbone=dict(
        type='leuko_mm.DualPathEncoder',
        widths=_widths,
        blocks=2,
        growth_divisor=8,
        groups=4,
        norm_cfg=dict(type='BN'),
        init_cfg=None),
    neck=dict(
        type='leuko_mm.ASPPNeck',
        in_channels=_channels,
        channels=_bottom,
        rates=[1, 6, 12, 18],
        pooled=True,
        norm_cfg=dict(type='BN')),
    decode_head=dict(
        type='leuko_mm.UNetHead',
        in_channels=[48, 96, 192, 384, _bottom],
        channels=[256, 128, 64, 32],
        upsample='deconv',
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.0,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/compare.md.
        init_cfg=dict(
            type='Normal', std=32**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
