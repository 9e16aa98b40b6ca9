# SegNet from random weights.
_base_ = ['../segnet.py']
variant = 'scratch'

model = dict(backbone=dict(init_cfg=None))
