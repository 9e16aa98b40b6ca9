# The CBAM U-Net with AHE-Retinex after its Algorithm 1: MSRCR on R, G and B, then AHE.
_base_ = ['../cbam_unet.py']
variant = 'rgb'
takes_setting = False

_enhance = dict(type='leuko_mm.AHERetinex', reading='rgb')
train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
