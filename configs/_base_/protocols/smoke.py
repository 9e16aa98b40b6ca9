# Two iterations of 64x64 on synthetic cells: does everything run?
_base_ = '../mosaics.py'
protocol = 'smoke'
_cells = dict(name='synthetic')
_iterations = 2
_frozen = 1

train_cfg = dict(max_iters=_iterations)
optim_wrapper = dict(
    constructor='leuko_mm.EncoderLrConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    # A pretrained encoder, once thawed, learns at a tenth of the rate.
    paramwise_cfg=dict(lr_mult=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=1),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=False,
        begin=1,
        end=_iterations),
]
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    dict(type='leuko_mm.StagedFreezeHook', iters=_frozen),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(
        size=64,
        mode='resample',
        mosaics=4,
        dataset=_cells,
        tile_augmentation=[
            dict(type='leuko_mm.RandomCellAffine'),
            dict(type='leuko_mm.StainJitter'),
        ]))
test_dataloader = dict(dataset=dict(size=64, dataset=_cells))
