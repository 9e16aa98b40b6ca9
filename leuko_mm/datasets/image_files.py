"""The former name of ``leuko_mm.datasets.images``, for scripts that import it."""

from leuko_mm.datasets.images import read_image

__all__ = ["read_image"]
