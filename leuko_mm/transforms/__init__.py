"""Transforms: AHE-Retinex, and the augmentation that all methods share."""

from leuko_mm.transforms.ahe_retinex import ahe_retinex
from leuko_mm.transforms.camera_jitter import CameraJitter, OtherCamera
from leuko_mm.transforms.cell_affine import RandomCellAffine
from leuko_mm.transforms.enhance_transform import AHERetinex
from leuko_mm.transforms.enhance_windows import enhance_image
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams
from leuko_mm.transforms.stain_jitter import StainJitter
from leuko_mm.transforms.value_equalisation import ValueEqualisation, equalise_value

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
