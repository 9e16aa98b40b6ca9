# Table 3, U-Net on VGG16 with cross-entropy, CBAM.
_base_ = ['../unet_vgg16.py']
variant = 'cbam'
takes_setting = False

model = dict(
    neck=dict(
        type='leuko_mm.CBAMSkipNeck',
        in_channels=[64, 128, 256, 512, 512],
        reduction=16),
    decode_head=dict(
        loss_decode=[
            dict(
                type='CrossEntropyLoss',
                use_sigmoid=False,
                avg_non_ignore=True,
                loss_weight=1.0),
        ]))
