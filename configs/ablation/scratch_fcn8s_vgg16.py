# FCN-8s on VGG16 from random weights.
_base_ = ['../fcn8s_vgg16.py']
variant = 'scratch'

model = dict(backbone=dict(init_cfg=None))
