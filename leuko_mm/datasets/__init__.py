"""Datasets: cells of a prepared dataset, and mosaics composed of them."""

from leuko_mm.datasets.leukocyte_dataset import LeukocyteDataset
from leuko_mm.datasets.mosaic_dataset import MosaicDataset
from leuko_mm.datasets.sampling import GlobalIndexSampler

__all__ = ["GlobalIndexSampler", "LeukocyteDataset", "MosaicDataset"]
