# Leukocyte against background on single cells of several sources: the paper's Table 2.
# Choose one with --data, and --split fold1 ... fold5. An image is brought to 256 pixels
# along its longer side, and the network's answer back to the image's own size, at which
# it is scored.
protocol = 'robust'
# The sources of the table; LISC is for the user to get (leuko prepare lisc).
_datasets = ['bcisc', 'segmentation_wbc_1', 'segmentation_wbc_2', 'lisc']
# Two classes: every classifier of a method follows from this word.
_cells = dict(name='bcisc', split='fold5', binary=True)
_size = (256, 256)
_iterations = 450
_frozen = 67  # 15 %: a pretrained encoder first waits for its decoder

train_cfg = dict(type='IterBasedTrainLoop', max_iters=_iterations)
optim_wrapper = dict(
    type='leuko_mm.AutocastOptimWrapper',
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
    sampler=dict(type='leuko_mm.GlobalIndexSampler'),
    dataset=dict(
        type='leuko_mm.LeukocyteDataset',
        part='train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='Resize', scale=_size, keep_ratio=True),
            dict(type='leuko_mm.RandomCellAffine'),
            dict(type='leuko_mm.StainJitter'),
            dict(type='PackSegInputs'),
        ],
        **_cells))
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='leuko_mm.LeukocyteDataset',
        part='test',
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=_size, keep_ratio=True),
            # Behind the resizing: the truth is scored as it was drawn.
            dict(type='LoadAnnotations'),
            dict(
                type='PackSegInputs',
                meta_keys=(
                    'stem', 'group', 'class_name', 'img_path', 'ori_shape',
                    'img_shape')),
        ],
        **_cells))
