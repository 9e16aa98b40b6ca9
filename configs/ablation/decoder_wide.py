# The CBAM U-Net with the decoder widths of public VGG16 U-Nets, which are also those of
# cbam_unet_resnet50: Table 4 compares the encoders of these two.
_base_ = ['../cbam_unet.py']
variant = 'wide'

_decoder = [512, 256, 128, 64]
model = dict(
    decode_head=dict(
        channels=_decoder,
        init_cfg=dict(
            type='Normal', std=_decoder[-1]**-0.5, override=dict(name='conv_seg'))))
