# Table 3, U-Net on VGG16 with AHE-Retinex, focal + Dice loss.
_base_ = ['../unet_vgg16.py']
variant = 'retinex_dice_focal'
takes_setting = False

_enhance = dict(type='leuko_mm.AHERetinex', reading='hsv')
train_dataloader = dict(dataset=dict(enhance=_enhance))
test_dataloader = dict(dataset=dict(enhance=_enhance))
