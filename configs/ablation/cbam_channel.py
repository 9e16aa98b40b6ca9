# The CBAM U-Net with the channel gates of its CBAM alone.
_base_ = ['../cbam_unet.py']
variant = 'channel'

model = dict(neck=dict(gates='channel'))
