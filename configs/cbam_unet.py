# CBAM U-Net (the paper's method): VGG16 encoder, CBAM on the four skips, Dice + focal
# loss. What people change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
#   --split fold1 ... fold5 | paper      which slides are tested
#   _decoder                             widths of the decoder, bottom to top
# The paper enhances every cell with AHE-Retinex. On slides that training never saw no
# reading of it did better than the image as taken, so it is off here
# (docs/reproduce.md); configs/ablation/enhance_*.py are this file with each reading.
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'cbam_unet'

# The paper states neither widths nor normalisation of the expanding path. Half the
# widths that public VGG16 U-Nets use (512, 256, 128, 64): 57 % of the multiply-adds.
_decoder = [256, 128, 64, 32]

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
        size_divisor=16,
        test_cfg=dict(size_divisor=16)),
    backbone=dict(
        type='leuko_mm.VGG',
        depth=16,
        init_cfg=dict(type='leuko_mm.EncoderWeights', checkpoint='vgg16')),
    neck=dict(
        type='leuko_mm.CBAMSkipNeck',
        in_channels=[64, 128, 256, 512, 512],
        reduction=16),
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
    test_cfg=dict(mode='whole'))
