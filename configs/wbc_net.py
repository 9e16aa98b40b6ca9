# WBC-Net: residual encoder with a wide view, nested skips, from random weights. Only
# its summary was open to us; what we inferred is in docs/compare.md. What people
# change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
#   _widths                              channels of the levels, finest first
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'wbc_net'

_widths = [32, 64, 128, 256, 512]

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
        type='leuko_mm.ResidualContextEncoder',
        widths=_widths,
        blocks=2,
        dilation=2,
        norm_cfg=dict(type='BN'),
        init_cfg=None),
    decode_head=dict(
        type='leuko_mm.NestedUNetHead',
        in_channels=_widths,
        upsample='deconv',
        deep_supervision=False,
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.0,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/compare.md.
        init_cfg=dict(
            type='Normal', std=_widths[0]**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
