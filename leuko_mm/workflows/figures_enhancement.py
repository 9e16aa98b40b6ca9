"""The steps of AHE-Retinex on one cell, as pictures for a figure."""

from __future__ import annotations

import cv2
import numpy as np

from leuko_mm.transforms.ahe_retinex import ahe_retinex, equalise
from leuko_mm.transforms.retinex_fast import restored_planes, surrounds
from leuko_mm.transforms.retinex_params import READINGS, RetinexParams

Picture = tuple[str, np.ndarray]


def enhancement_steps(
    image: np.ndarray, params: RetinexParams | None = None
) -> list[tuple[str, list[Picture]]]:
    """Return the steps of the reading ``hsv``, then what every reading gives.

    Args:
        image: one window, uint8 RGB.
        params: the numbers to use; None: the default ones.

    Returns:
        Words on each step, with captioned pictures: RGB, or planes of 0-255.
    """
    params = params or RetinexParams()
    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hue, saturation, value = cv2.split(hsv)
    saturation *= 255
    lights = [
        (f"light of S, sigma {sigma:g}", cv2.resize(light, image.shape[1::-1]))
        for sigma, light in zip(
            params.sigmas, surrounds(saturation, params.sigmas), strict=True
        )
    ]
    new_hue, new_saturation, _ = restored_planes(image, "hsv", params)
    readings = [(name, ahe_retinex(image, reading=name)) for name in READINGS]
    return [
        (
            "1 RGB to HSV",
            [
                ("cell as taken", image),
                ("H", hue * (255 / 360)),
                ("S", saturation),
                ("V", value),
            ],
        ),
        ("2 light around each pixel", lights),
        (
            "3 MSRCR on H and S, AHE on V",
            [
                ("H, its cast taken off", np.mod(new_hue, 255)),
                ("S, restored", new_saturation),
                ("V, equalised", equalise(value, params)),
                ("back to RGB", ahe_retinex(image, params=params)),
            ],
        ),
        ("the readings", [(f"reading {name}", shown) for name, shown in readings]),
    ]
