# 256x256 mosaics (cells at half size), fixed iterations: the comparison on a CPU.
_base_ = '../mosaics.py'
protocol = 'half'
_iterations = 650
_frozen = 97  # 15 %: a pretrained encoder first waits for its decoder

train_cfg = dict(max_iters=_iterations)
optim_wrapper = dict(
    constructor='leuko_mm.EncoderLrConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    # A pretrained encoder, once thawed, learns at a tenth of the rate.
    paramwise_cfg=dict(lr_mult=0.1))
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
    dataset=dict(
        size=256,
        mode='resample',
        mosaics=50,
        tile_augmentation=[
            dict(type='leuko_mm.RandomCellAffine'),
            dict(type='leuko_mm.StainJitter'),
        ]))
test_dataloader = dict(dataset=dict(size=256))
