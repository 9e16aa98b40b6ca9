# Compact CBAM U-Net: a narrow VGG16 that reads squares of 2x2 pixels, CBAM on the four
# skips; 3.7 million parameters, a fifteenth of cbam_unet's arithmetic. As written, the
# file is the recipe of the model that the package carries: smears composed of real
# cells and fields, taught by a cbam_unet that was trained on the same slides
# (docs/model_zoo.md). What people change most:
#   --split fold1 ... fold5              which slides are tested; the teacher's as well
#   _iterations                          how long to train
#   _teacher                             another teacher; weight=0 learns without one
#   --protocol paper | grouped | half | robust | smoke     compare it: no teacher there
_base_ = ['_base_/runtime.py', '_base_/protocols/half.py']
method = 'cbam_unet_compact'
# Not that of the base: data and schedule are the recipe's own.
protocol = 'zoo'

_iterations = 4000
_teacher = 'work_dirs/cbam_unet-half-{split}-s0/cbam_unet-half-{split}-s0.pth'
# Half the widths of VGG16, a little less where its parameters are.
_widths = [32, 64, 128, 192, 256]
_decoder = [96, 64, 32, 32]

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=32,
        test_cfg=dict(size_divisor=32)),
    backbone=dict(
        type='leuko_mm.VGG',
        depth=16,
        width=[0.5, 0.5, 0.5, 0.375, 0.5],
        patch=2,
        batch_norm=True,
        init_cfg=None),
    neck=dict(type='leuko_mm.CBAMSkipNeck', in_channels=_widths, reduction=8),
    decode_head=dict(
        type='leuko_mm.UNetHead',
        in_channels=_widths,
        channels=_decoder,
        upsample='nearest',
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.0,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/methods.md.
        init_cfg=dict(
            type='Normal', std=_decoder[-1]**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

# Random weights take a higher rate, and longer, than the protocol's.
train_cfg = dict(max_iters=_iterations)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=100,
        end=_iterations),
]
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    dict(
        type='leuko_mm.DistillationHook',
        teacher=_teacher,
        weight=1.0,
        temperature=2.0,
        features=0.0),
]
train_dataloader = dict(
    dataset=dict(
        layout='smear',
        fields=0.1,
        class_balanced=True,
        tile_augmentation=[
            dict(type='leuko_mm.RandomCellAffine', scale=(0.75, 1.3)),
            dict(
                type='leuko_mm.StainJitter',
                gain=0.1,
                offset=0.03,
                saturation=0.2,
                gamma=0.2),
        ],
        # A smear has one stain and one focus: over the whole image.
        pipeline=[
            dict(
                type='leuko_mm.StainJitter',
                gain=0.4,
                offset=0.12,
                saturation=0.6,
                gamma=0.6),
            dict(type='leuko_mm.RandomBlur', sigma=0.006),
            dict(type='PackSegInputs'),
        ]))
