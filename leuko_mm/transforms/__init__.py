"""Transforms: AHE-Retinex, and the augmentation that all methods share."""

from leuko_mm.transforms.affine import RandomCellAffine
from leuko_mm.transforms.ahe_retinex import ahe_retinex, enhance_image
from leuko_mm.transforms.camera import CameraJitter, OtherCamera
from leuko_mm.transforms.enhance import AHERetinex, ValueEqualisation, equalise_value
from leuko_mm.transforms.retinex import READINGS, RetinexParams
from leuko_mm.transforms.stain import StainJitter

__all__ = [
    "READINGS",
    "AHERetinex",
    "CameraJitter",
    "OtherCamera",
    "RandomCellAffine",
    "RetinexParams",
    "StainJitter",
    "ValueEqualisation",
    "ahe_retinex",
    "enhance_image",
    "equalise_value",
]
