# The CBAM U-Net from random weights.
_base_ = ['../cbam_unet.py']
variant = 'scratch'

model = dict(backbone=dict(init_cfg=None))
