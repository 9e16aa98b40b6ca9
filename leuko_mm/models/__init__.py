"""models of leuko_mm."""

from leuko_mm.models.cbam import CBAM, CBAMSkipNeck
from leuko_mm.models.unet_head import UNetDecoder, UNetHead
from leuko_mm.models.vgg import VGG

__all__ = ["CBAM", "VGG", "CBAMSkipNeck", "UNetDecoder", "UNetHead"]
