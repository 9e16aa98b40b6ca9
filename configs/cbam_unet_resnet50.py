# CBAM U-Net on ResNet50 (the paper's Table 4): the encoder swapped, one enlargement
# more at the end. What people change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
#   _decoder                             widths of the decoder, bottom to top
# These widths give the decoder inputs 3072, 1024, 512, 192 of public ResNet50 U-Nets;
# ablation/decoder_wide.py is cbam_unet with the same ones, for Table 4.
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'cbam_unet_resnet50'

_decoder = [512, 256, 128, 64]
_skips = [64, 256, 512, 1024, 2048]

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # Of the weights: caffe's means in RGB order, no scaling.
        mean=[123.68, 116.779, 103.939],
        std=[1.0, 1.0, 1.0],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=32,
        test_cfg=dict(size_divisor=32)),
    backbone=dict(
        type='leuko_mm.SkipResNet',
        depth=50,
        style='caffe',
        norm_cfg=dict(type='BN'),
        norm_eval=False,
        init_cfg=dict(type='leuko_mm.EncoderWeights', checkpoint='resnet50')),
    neck=dict(type='leuko_mm.CBAMSkipNeck', in_channels=_skips, reduction=16),
    decode_head=dict(
        type='leuko_mm.UNetHead',
        in_channels=_skips,
        channels=_decoder,
        upsample='nearest',
        final_upsample=2,
        norm_cfg=dict(type='BN'),
        dropout_ratio=0.0,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/compare.md.
        init_cfg=dict(
            type='Normal', std=_decoder[-1]**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
