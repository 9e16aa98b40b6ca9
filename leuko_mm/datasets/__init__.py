"""Datasets: cells of a prepared dataset, and mosaics composed of them."""

from leuko_mm.lazy import lazy_names

_HOMES = {
    "CellCropDataset": "cell_crops",
    "GlobalIndexSampler": "sampling",
    "LeukocyteDataset": "leukocyte",
    "MosaicDataset": "mosaic",
    "image_pipeline": "leukocyte",
}
__all__ = list(_HOMES)
__getattr__ = lazy_names(__name__, _HOMES)
