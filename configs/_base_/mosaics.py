# What the protocols share: mosaics of 2 x 2 cells, each test cell seen once, and how a
# training step is made. A protocol adds its size, schedule and augmentation.
train_cfg = dict(type='IterBasedTrainLoop')
optim_wrapper = dict(type='leuko_mm.AutocastOptimWrapper')

_cells = dict(name='bcisc', split='fold5')
_tile_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
]
train_dataloader = dict(
    sampler=dict(type='leuko_mm.GlobalIndexSampler'),
    dataset=dict(
        type='leuko_mm.MosaicDataset',
        n=2,
        dataset=dict(part='train', **_cells),
        tile_pipeline=_tile_pipeline,
        pipeline=[dict(type='PackSegInputs')]))
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='leuko_mm.MosaicDataset',
        n=2,
        mode='every',
        test_mode=True,
        dataset=dict(part='test', **_cells),
        tile_pipeline=_tile_pipeline,
        pipeline=[
            dict(type='PackSegInputs', meta_keys=('tiles', 'ori_shape', 'img_shape'))
        ]))
