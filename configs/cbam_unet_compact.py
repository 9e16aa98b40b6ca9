# Compact CBAM U-Net: the first eight convolutions of ImageNet's VGG16 on the image at
# half its size, two light stages below them, CBAM on the five skips; 4.0 million
# parameters, an eighth of cbam_unet's arithmetic. As written, the file is the recipe of
# the model in the package: smears composed of real cells and fields
# (docs/models.md). What people change most:
#   --split fold1 ... fold5              which slides are tested
#   _iterations                          how long to train
#   frozen_stages                        stages of VGG16 that never learn
#   --protocol paper | grouped | half | robust | labs | smoke     compare it
_base_ = ['_base_/runtime.py', '_base_/protocols/half.py']
method = 'cbam_unet_compact'
# Not that of the base: data and schedule are the recipe's own.
protocol = 'zoo'

_iterations = 1800
_frozen = 40
# Four stages of VGG16, two light ones below them.
_widths = [64, 128, 256, 512, 96, 96]
_decoder = [56, 48, 48, 32, 16]

model = dict(
    type='leuko_mm.CellEncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # ImageNet statistics in RGB, as the weights of torchvision expect.
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
        convs=[2, 2, 3, 1],
        shrink=2,
        frozen_stages=2,
        init_cfg=dict(
            type='leuko_mm.EncoderWeights', checkpoint='vgg16', beginning=True)),
    neck=dict(
        type='leuko_mm.CBAMSkipNeck',
        in_channels=_widths[:4],
        deeper=_widths[4:],
        reduction=16),
    decode_head=dict(
        type='leuko_mm.UNetHead',
        in_channels=_widths,
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
    # Pieces below half a red cell are none; views=8 looks from all sides.
    test_cfg=dict(mode='whole', least_area=1000, views=1))

train_cfg = dict(max_iters=_iterations)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=20,
        end=_iterations),
]
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    dict(type='leuko_mm.StagedFreezeHook', iters=_frozen),
    # The mean of the weights over the last part of the training.
    dict(type='leuko_mm.WeightAveragingHook', begin=0.6),
]
train_dataloader = dict(
    dataset=dict(
        size=512,
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
                gain=0.6,
                offset=0.2,
                saturation=0.8,
                gamma=0.8),
            dict(type='leuko_mm.CameraJitter'),
            dict(type='PackSegInputs'),
        ]))
# The cells at the size at which they were cut out: the network halves them itself.
test_dataloader = dict(dataset=dict(size=512))
