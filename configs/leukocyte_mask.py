# LeukocyteMask: cells are found in a small picture, cut out, and segmented one by one.
# Only its summary was open to us; what we inferred is in docs/compare.md. What people
# change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
#   context                              margin around a cell, share of its side
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'leukocyte_mask'

_decoder = [256, 128, 64, 32]

model = dict(
    type='leuko_mm.LeukocyteMask',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # ImageNet statistics in RGB, as the weights of torchvision expect.
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=16,
        test_cfg=dict(size_divisor=16)),
    backbone=dict(
        type='leuko_mm.VGG',
        depth=16,
        init_cfg=dict(type='leuko_mm.EncoderWeights', checkpoint='vgg16')),
    # Of the second stage; the first's is made from the same lines.
    decode_head=dict(
        type='leuko_mm.UNetHead',
        in_channels=[64, 128, 256, 512, 512],
        channels=_decoder,
        upsample='nearest',
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.0,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/compare.md.
        init_cfg=dict(
            type='Normal', std=_decoder[-1]**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
    locate_scale=0.25,
    context=0.25,
    min_area=0.002,
    max_cells=16,
    train_on='truth')
