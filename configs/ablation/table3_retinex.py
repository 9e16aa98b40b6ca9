# Table 3, U-Net on VGG16 with cross-entropy, AHE-Retinex.
_base_ = ['../unet_vgg16.py']
variant = 'retinex'
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

_enhance = dict(type='leuko_mm.AHERetinex', reading='hsv')
train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
