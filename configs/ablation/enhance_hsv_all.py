# The CBAM U-Net with AHE-Retinex after the paper's eq. 2: MSRCR on H, S, V, then AHE.
_base_ = ['../cbam_unet.py']
variant = 'hsv_all'
takes_setting = False

_enhance = dict(type='leuko_mm.AHERetinex', reading='hsv_all')
train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
