# LeukocyteMask from random weights.
_base_ = ['../leukocyte_mask.py']
variant = 'scratch'

model = dict(backbone=dict(init_cfg=None))
