# The class of a cell: EfficientNet-Lite0 on a square around it, at one scale, its
# background made white; 2.9 million parameters. Trained on the cells of several
# laboratories, drawn evenly; dyes, lamp and camera are varied widely. What people
# change most:
#   --data bcisc,pbc,bccd                prepared datasets to train on
#   --split fold1 ... fold5              which part of each of them is tested
#   _iterations                          how long to train
_base_ = ['_base_/runtime.py']
method = 'cell_classes'
protocol = 'cells'
# It names cells, and is not compared with what segments.
takes_protocol = False
takes_setting = False

_iterations = 300
_cells = dict(names=['bcisc', 'pbc', 'bccd'], split='fold5')
_size = 128
# Diameter of a red cell in a square: 3.7 of them fit side by side.
_red_cell = 35.0

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        # The encoder balances and normalises what it gets.
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=32,
        test_cfg=dict(size_divisor=32)),
    backbone=dict(
        type='leuko_mm.EfficientNetLite',
        init_cfg=dict(
            type='leuko_mm.EncoderWeights', checkpoint='efficientnet_lite0')),
    decode_head=dict(
        type='leuko_mm.CellClassHead',
        in_channels=320,
        # 0, the background, is whatever is none of the five.
        num_classes=6,
        align_corners=False,
        loss_decode=[
            dict(
                type='CrossEntropyLoss', use_sigmoid=False, avg_non_ignore=True)
        ]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

train_cfg = dict(type='IterBasedTrainLoop', max_iters=_iterations)
optim_wrapper = dict(
    # In float32: depthwise convolutions gain nothing from bfloat16 on a CPU.
    type='OptimWrapper',
    constructor='leuko_mm.EncoderLrConstructor',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-2),
    paramwise_cfg=dict(lr_mult=0.25),
    clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.02,
        by_epoch=False,
        begin=20,
        end=_iterations),
]
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    # The mean of the weights over the last part of the training.
    dict(type='leuko_mm.WeightAveragingHook', begin=0.4),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='leuko_mm.GlobalIndexSampler'),
    dataset=dict(
        type='leuko_mm.CellCropDataset',
        dataset=dict(part='train', **_cells),
        size=_size,
        red_cell=_red_cell,
        # More labelled cells that are none of the five, and those of another
        # laboratory are taken for them (docs/models.md).
        places=0.6,
        pipeline=[
            dict(
                type='leuko_mm.RandomCellAffine', scale=(0.7, 1.4), shift=0.06),
            dict(type='CenterCrop', crop_size=_size),
            dict(type='leuko_mm.DensityJitter'),
            dict(
                type='leuko_mm.CameraJitter',
                sigma=0.014,
                sharpen=1.5,
                noise=8.0,
                quality=30),
            dict(type='PackSegInputs'),
        ]))
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='leuko_mm.CellCropDataset',
        test_mode=True,
        dataset=dict(part='test', **_cells),
        size=_size,
        red_cell=_red_cell,
        pipeline=[
            dict(type='PackSegInputs', meta_keys=('tiles', 'ori_shape', 'img_shape'))
        ]))
