"""leuko_mm: registered parts for leukocyte segmentation on MMSegmentation."""

import os

# ONNX Runtime's telemetry is on by itself, and keeps an identifier in the home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.2.0"
