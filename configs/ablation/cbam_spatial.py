# The CBAM U-Net with the spatial gates of its CBAM alone.
_base_ = ['../cbam_unet.py']
variant = 'spatial'

model = dict(neck=dict(gates='spatial'))
