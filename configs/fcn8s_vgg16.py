# FCN-8s on VGG16: scores at 1/32, 1/16 and 1/8, added up. What people change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
#   _fc             width of the layers that stand for VGG's fully connected ones
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'fcn8s_vgg16'

# The paper's 4096 come with ImageNet weights, which the file of the convolutions lacks.
_fc = 512

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
        type='leuko_mm.FCN8sHead',
        in_channels=[256, 512, 512],
        in_index=[2, 3, 4],
        fc_channels=_fc,
        fc_kernel=7,
        dropout_ratio=0.5,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/compare.md.
        init_cfg=dict(
            type='Normal', std=_fc**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
