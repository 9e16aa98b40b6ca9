"""leuko_mm: registered parts for leukocyte segmentation on MMSegmentation."""

__version__ = "0.2.0"
