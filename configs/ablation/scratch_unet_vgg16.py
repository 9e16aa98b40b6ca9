# U-Net on VGG16 from random weights.
_base_ = ['../unet_vgg16.py']
variant = 'scratch'

model = dict(backbone=dict(init_cfg=None))
