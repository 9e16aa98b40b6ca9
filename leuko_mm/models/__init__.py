"""Encoders, necks, heads and segmentors, registered with MMSegmentation."""

from leuko_mm.models.cbam import CBAM, CBAMSkipNeck
from leuko_mm.models.cell_class_head import CellClassHead
from leuko_mm.models.cell_encoder_decoder import CellEncoderDecoder
from leuko_mm.models.dual_path_aspp import ASPPNeck, DualPathEncoder
from leuko_mm.models.efficientnet_lite import EfficientNetLite
from leuko_mm.models.encoders import VGG, SkipResNet
from leuko_mm.models.fcn8s import FCN8sHead
from leuko_mm.models.leukocyte_mask import LeukocyteMask
from leuko_mm.models.segnet import SegNetHead
from leuko_mm.models.unet_head import UNetDecoder, UNetHead
from leuko_mm.models.wbc_net import NestedUNetHead, ResidualContextEncoder

__all__ = [
    "CBAM",
    "VGG",
    "ASPPNeck",
    "CBAMSkipNeck",
    "CellClassHead",
    "CellEncoderDecoder",
    "DualPathEncoder",
    "EfficientNetLite",
    "FCN8sHead",
    "LeukocyteMask",
    "NestedUNetHead",
    "ResidualContextEncoder",
    "SegNetHead",
    "SkipResNet",
    "UNetDecoder",
    "UNetHead",
]
