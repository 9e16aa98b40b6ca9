# SegNeXt-T, a row of today from MMSegmentation's parts, from random weights.
# What people change most:
#   --protocol paper | grouped | half | robust | labs | smoke     data and schedule
#   --setting A | B                      raw + cross-entropy, AHE-Retinex + focal + Dice
# Its head draws the start of a matrix factorisation for every image, in tests too:
# the same seed gives the same scores, the same image alone may not.
_base_ = ['_base_/runtime.py', '_base_/protocols/paper.py']
method = 'segnext_t'

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=32,
        test_cfg=dict(size_divisor=32)),
    backbone=dict(
        type='MSCAN',
        init_cfg=None,
        embed_dims=[32, 64, 160, 256],
        mlp_ratios=[8, 8, 4, 4],
        drop_rate=0.0,
        drop_path_rate=0.1,
        depths=[3, 3, 5, 2],
        attention_kernel_sizes=[5, [1, 7], [1, 11], [1, 21]],
        attention_kernel_paddings=[2, [0, 3], [0, 5], [0, 10]],
        act_cfg=dict(type='GELU'),
        norm_cfg=dict(type='BN')),
    decode_head=dict(
        type='LightHamHead',
        in_channels=[64, 160, 256],
        in_index=[1, 2, 3],
        channels=256,
        ham_channels=256,
        ham_kwargs=dict(
            MD_S=1, MD_R=16, train_steps=6, eval_steps=7, inv_t=100, rand_init=True),
        norm_cfg=dict(type='GN', num_groups=32),
        dropout_ratio=0.1,
        align_corners=False,
        num_classes=6,
        # Logits of the size of the features from the start: docs/compare.md.
        init_cfg=dict(
            type='Normal', std=256**-0.5, override=dict(name='conv_seg')),
        loss_decode=[dict(type='leuko_mm.FocalDiceLoss', gamma=2.0)]),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
