"""What images AHE-Retinex accepts, and what it makes of them."""

from __future__ import annotations

import numpy as np


def as_rgb_uint8(image: np.ndarray) -> np.ndarray:
    """Return an image as (H, W, 3) uint8, or refuse it by this table.

    ======================= ==================================================
    given                   becomes
    ======================= ==================================================
    (H, W, 3) uint8         itself, no copy
    (H, W), (H, W, 1)       grey, repeated on three channels
    (H, W, 4)               without its alpha, if that is opaque everywhere;
                            else refused: what lies behind is not known
    uint16                  divided by 257 and rounded; refused if its largest
                            value is 1 to 4095: 10 or 12 bits in 16, which
                            would come out black
    float16, 32, 64         times 255 and rounded; refused outside 0 to 1, and
                            for NaN or infinity
    other types, other      refused
    shapes, no pixels
    ======================= ==================================================

    Raises:
        ValueError: where the table says refused.

    Example:
        >>> as_rgb_uint8(np.array([[0.0, 1.0]])).tolist()
        [[[0, 0, 0], [255, 255, 255]]]
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(
            f"expected an image as a numpy array, got {type(image).__name__}"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or image.size == 0:
        raise ValueError(
            f"expected an image of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) "
            f"with at least one pixel, got {image.shape}"
        )
    image = _as_uint8(image)
    if image.shape[2] == 4:
        if image[..., 3].min() < 255:
            raise ValueError(
                "the image has transparent pixels (alpha below 255): lay it on its "
                "background first and pass RGB"
            )
        image = image[..., :3]
    if image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(image)


def _as_uint8(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        # Alpha, where there is one, says nothing about the depth of the colours.
        top = int(image[..., :3].max())
        if 1 <= top <= 4095:
            raise ValueError(
                f"the 16-bit image has no value above {top}: it seems to hold 10 or "
                "12 bits; bring it to the full 16-bit range, or to 8 bits, first"
            )
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise ValueError(
                f"expected a float image within 0 to 1, got {low:g} to {high:g}: "
                "scale it, or pass uint8"
            )
        return np.rint(image * 255).astype(np.uint8)
    raise ValueError(
        f"expected an image of type uint8, uint16 or float, got {image.dtype}"
    )
