# Table 3, U-Net on VGG16 with cross-entropy and nothing else.
_base_ = ['../unet_vgg16.py']
variant = 'none'
takes_setting = False

model = dict(
    decode_head=dict(
        loss_decode=[
            dict(
                type='CrossEntropyLoss',
                use_sigmoid=False,
                avg_non_ignore=True,
                loss_weight=1.0),
        ]))
