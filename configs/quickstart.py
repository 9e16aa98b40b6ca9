# Quickstart: a narrow CBAM U-Net, trained on synthetic smears in a few minutes. The
# same parts as configs/cbam_unet.py, from random weights, on data that travels with
# the package. What people change most:
#   _iterations      how long to train
#   --data           another prepared dataset, such as bcisc
_base_ = ['_base_/runtime.py', '_base_/protocols/half.py']
method = 'quickstart'

_iterations = 1200
_size = 192  # tiles of 96 px: nuclei and granules show, at half the cost of 256
_widths = [16, 32, 64, 128, 128]
_enhance = dict(type='leuko_mm.AHERetinex', reading='hsv')

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
    backbone=dict(type='leuko_mm.VGG', depth=16, width=0.25, batch_norm=True),
    neck=dict(type='leuko_mm.CBAMSkipNeck', in_channels=_widths, reduction=8),
    decode_head=dict(
        type='leuko_mm.UNetHead',
        in_channels=_widths,
        channels=[64, 32, 16, 16],
        upsample='nearest',
        norm_cfg=dict(type='BN'),
        num_classes=6,
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

# Synthetic smears instead of BCISC, and a rate for random weights.
_cells = dict(name='synthetic', split='fold5')
train_cfg = dict(max_iters=_iterations)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=20,
        end=_iterations),
]
train_dataloader = dict(
    dataset=dict(dataset=_cells, size=_size, enhance=_enhance))
test_dataloader = dict(
    dataset=dict(dataset=_cells, size=_size, enhance=_enhance))
