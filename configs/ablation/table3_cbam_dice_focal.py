# Table 3, U-Net on VGG16 with CBAM, focal + Dice loss, without AHE-Retinex; the
# paper leaves this row out.
_base_ = ['../unet_vgg16.py']
variant = 'cbam_dice_focal'
takes_setting = False

model = dict(
    neck=dict(
        type='leuko_mm.CBAMSkipNeck',
        in_channels=[64, 128, 256, 512, 512],
        reduction=16))
