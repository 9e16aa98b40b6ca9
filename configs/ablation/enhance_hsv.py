# The CBAM U-Net with AHE-Retinex as the paper concludes: MSRCR on H and S, AHE on V.
_base_ = ['../cbam_unet.py']
variant = 'hsv'
takes_setting = False

_enhance = dict(type='leuko_mm.AHERetinex', reading='hsv')
train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
