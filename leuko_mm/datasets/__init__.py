"""Datasets: cells of a prepared dataset, and mosaics composed of them."""

from leuko_mm.datasets.leukocyte import LeukocyteDataset
from leuko_mm.datasets.mosaic import MosaicDataset
from leuko_mm.datasets.sampling import GlobalIndexSampler

__all__ = ["GlobalIndexSampler", "LeukocyteDataset", "MosaicDataset"]
