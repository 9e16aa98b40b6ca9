"""Fixtures of the tests of inference."""

from __future__ import annotations

from pathlib import Path

import pytest
from painted_network import PaintedColourNetwork, painted_model, write_checkpoint


@pytest.fixture
def painted(tmp_path) -> Path:
    """Return a checkpoint that recognises the classes' colours on white."""
    recipe = painted_model()
    network = PaintedColourNetwork(recipe["decode_head"], recipe["data_preprocessor"])
    return write_checkpoint(tmp_path, recipe, network.state_dict())
