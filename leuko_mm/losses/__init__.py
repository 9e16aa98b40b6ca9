"""Dice and focal losses, registered with MMSegmentation."""

from leuko_mm.losses.dice import soft_dice_loss
from leuko_mm.losses.focal_dice import FocalDiceLoss, softmax_focal_loss

__all__ = ["FocalDiceLoss", "soft_dice_loss", "softmax_focal_loss"]
