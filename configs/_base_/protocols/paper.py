# The paper: 50 mosaics of 512x512, split 9:1 over cells, 50 epochs with the encoder
# frozen and 50 with everything trained, batch 2, initial learning rate 1e-4, no
# augmentation. 45 training mosaics at batch 2 make 22.5 iterations an epoch.
_base_ = '../mosaics.py'
protocol = 'paper'
_iterations = 2250
_frozen = 1125

train_cfg = dict(max_iters=_iterations)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-4))
# The paper names the initial rate only; one cosine down to 1e-6 is our reading.
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=False,
        begin=0,
        end=_iterations),
]
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    dict(type='leuko_mm.StagedFreezeHook', iters=_frozen),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        size=512, mode='fixed', mosaics=45, dataset=dict(split='paper')))
test_dataloader = dict(dataset=dict(size=512, dataset=dict(split='paper')))
