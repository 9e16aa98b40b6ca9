# Table 3, U-Net on VGG16 with focal + Dice loss: the parent as it is, under the name
# of the row.
_base_ = ['../unet_vgg16.py']
variant = 'dice_focal'
takes_setting = False
