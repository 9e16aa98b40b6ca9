# The protocol half as it did best on the development fold (docs/methods.md): with an
# encoder that learns faster once it is thawed.
protocol = 'tuned'
_iterations = 650
_frozen = 97  # 15 %: a pretrained encoder first waits for its decoder

train_cfg = dict(type='IterBasedTrainLoop', max_iters=_iterations)
optim_wrapper = dict(
    type='leuko_mm.AutocastOptimWrapper',
    constructor='leuko_mm.EncoderLrConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    # A pretrained encoder, once thawed, learns at three tenths of the rate.
    paramwise_cfg=dict(lr_mult=0.3))
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
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='leuko_mm.GlobalIndexSampler'),
    dataset=dict(
        type='leuko_mm.MosaicDataset',
        n=2,
        size=256,
        mode='resample',
        mosaics=50,
        dataset=dict(name='bcisc', split='fold5', part='train'),
        tile_pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
        ],
        tile_augmentation=[
            dict(type='leuko_mm.RandomCellAffine'),
            dict(type='leuko_mm.StainJitter'),
        ],
        pipeline=[dict(type='PackSegInputs')]))
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='leuko_mm.MosaicDataset',
        n=2,
        size=256,
        mode='every',
        test_mode=True,
        dataset=dict(name='bcisc', split='fold5', part='test'),
        tile_pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
        ],
        pipeline=[
            dict(type='PackSegInputs', meta_keys=('tiles', 'ori_shape', 'img_shape'))
        ]))
