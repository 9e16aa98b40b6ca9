"""Transforms: AHE-Retinex, and the augmentation that all methods share."""

from leuko_mm.lazy import lazy_names
from leuko_mm.transforms.ahe_retinex import ahe_retinex, enhance_image
from leuko_mm.transforms.retinex import READINGS, RetinexParams

_HOMES = {
    "AHERetinex": "enhance",
    "CameraJitter": "camera",
    "DensityJitter": "stain",
    "OtherCamera": "camera",
    "RandomCellAffine": "affine",
    "StainJitter": "stain",
    "ValueEqualisation": "enhance",
    "equalise_value": "enhance",
}
__all__ = ["READINGS", "RetinexParams", "ahe_retinex", "enhance_image", *_HOMES]
__getattr__ = lazy_names(__name__, _HOMES)
