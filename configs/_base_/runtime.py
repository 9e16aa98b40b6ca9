# What every run shares, whatever the method and the protocol.
default_scope = 'mmseg'
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True,
    # One OpenCV thread a worker: the cores belong to the training step.
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=1),
    dist_cfg=dict(backend='gloo'))
log_processor = dict(by_epoch=False, window_size=10)
# No name: mmengine keeps visualizers by name for the whole process, and takes that of
# the run, so that a second run does not log into the folder of the first.
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # State to resume from. No checkpoint is chosen by a score: the last one counts. Two
    # are kept, since the oldest is removed before the new one is written.
    checkpoint=dict(
        type='CheckpointHook', by_epoch=False, interval=100, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'))
val_dataloader = None
val_cfg = None
val_evaluator = None
test_cfg = dict(type='TestLoop')
test_evaluator = dict(type='leuko_mm.LeukocyteMetric')
