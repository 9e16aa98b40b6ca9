# The CBAM U-Net with AHE on V alone, without the retinex.
_base_ = ['../cbam_unet.py']
variant = 'clahe'
takes_setting = False

_enhance = dict(type='leuko_mm.ValueEqualisation')
train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
