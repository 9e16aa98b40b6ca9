"""One tile through the network: pixels in, class probabilities out."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from leuko_mm.inference.checkpoint import Checkpoint
from leuko_mm.inference.runtimes import Runtime

# What every network here halves at most; others pad for themselves.
DIVISOR = 32


class TileNetwork:
    """Call a network on a tile as its training did.

    Args:
        checkpoint: tells how pixels are normalised.
        runtime: computes the logits.
        tta: average over the eight views of a square, mirrored and turned.
    """

    def __init__(self, checkpoint: Checkpoint, runtime: Runtime, *, tta: bool = False):
        self.runtime, self.tta = runtime, tta
        normalisation = checkpoint.sidecar["normalisation"]
        mean, std = normalisation.get("mean"), normalisation.get("std")
        self.mean = np.array(mean or [0, 0, 0], np.float32)
        self.std = np.array(std or [1, 1, 1], np.float32)
        # Training reads BGR; where it was not turned, the network knows BGR.
        self.flips = not normalisation.get("bgr_to_rgb")

    def __call__(self, tile: np.ndarray) -> np.ndarray:
        """Return the probabilities of a tile.

        Shape:
            RGB uint8 (h, w, 3) -> (C, h, w) float32, sum 1 over C.
        """
        if not self.tta:
            return self._one(tile)
        total = 0.0
        for turn in range(4):
            for mirror in (False, True):
                view = np.rot90(tile[:, ::-1] if mirror else tile, turn)
                seen = np.rot90(self._one(view), -turn, axes=(1, 2))
                total = total + (seen[:, :, ::-1] if mirror else seen)
        return total / 8

    def _one(self, tile: np.ndarray) -> np.ndarray:
        height, width = tile.shape[:2]
        bottom, right = -height % DIVISOR, -width % DIVISOR
        # Mirrored, so that no dark frame is seen that training never showed; the
        # border of a tile narrower than that is repeated.
        way = (
            cv2.BORDER_REFLECT
            if min(height, width) >= DIVISOR
            else (cv2.BORDER_REPLICATE)
        )
        full = cv2.copyMakeBorder(
            np.ascontiguousarray(tile), 0, bottom, 0, right, way
        ).astype(np.float32)
        values = ((full[..., ::-1] if self.flips else full) - self.mean) / self.std
        inputs = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
        logits = self.runtime(inputs)
        if logits.shape[1] == 1:
            cell = torch.sigmoid(logits)
            probabilities = torch.cat([1 - cell, cell], dim=1)
        else:
            probabilities = logits.softmax(dim=1)
        return probabilities[0, :, :height, :width].cpu().numpy()
