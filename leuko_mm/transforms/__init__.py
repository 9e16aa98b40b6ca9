"""transforms of leuko_mm."""

from leuko_mm.transforms.ahe_retinex import ahe_retinex
from leuko_mm.transforms.enhance_transform import AHERetinex
from leuko_mm.transforms.enhance_windows import enhance_image
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams

__all__ = ["READINGS", "AHERetinex", "RetinexParams", "ahe_retinex", "enhance_image"]
