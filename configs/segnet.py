# SegNet on VGG16: values go back to where the pooling found them, no map is carried
# over. What people change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'segnet'

model = dict(
    type='EncoderDecoder',
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
        init_cfg=dict(type='leuko_mm.EncoderWeights', checkpoint='vgg16')),
    decode_head=dict(
        type='leuko_mm.SegNetHead',
        in_channels=[64, 128, 256, 512, 512],
        convs=[3, 3, 3, 2, 1],
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.0,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/compare.md.
        init_cfg=dict(
            type='Normal', std=(9 * 64)**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
