# Table 3, U-Net on VGG16 with AHE-Retinex, CBAM, focal + Dice loss.
_base_ = ['../unet_vgg16.py']
variant = 'all_three'
takes_setting = False

model = dict(
    neck=dict(
        type='leuko_mm.CBAMSkipNeck',
        in_channels=[64, 128, 256, 512, 512],
        reduction=16))

_enhance = dict(type='leuko_mm.AHERetinex', reading='hsv')
train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
