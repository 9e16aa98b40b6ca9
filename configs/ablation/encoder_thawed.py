# The CBAM U-Net with its pretrained encoder trained from the first iteration on.
_base_ = ['../cbam_unet.py']
variant = 'thawed'
frozen_first = False
