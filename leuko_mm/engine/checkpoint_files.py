"""A published checkpoint: a file of tensors, and a sidecar that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from leuko_mm.engine.data_parallel import unwrapped

SCHEMA = 1


def write_checkpoint(path: Path, model: nn.Module, sidecar: Mapping) -> dict:
    """Write ``<name>.pth`` (tensors only) and ``<name>.json``, each atomically.

    Args:
        path: the ``.pth`` file.
        model: its ``state_dict`` is stored contiguous, on the CPU, without the prefix
            of a data-parallel wrapper.
        sidecar: what the tensors are; ``schema`` and ``sha256`` are added.

    Returns:
        The sidecar as written.

    Raises:
        TypeError: if the sidecar is no JSON; nothing is written then.
    """
    path = Path(path)
    state = unwrapped(model).state_dict()
    tensors = {key: value.cpu().contiguous() for key, value in state.items()}
    content = {"schema": SCHEMA, **sidecar}
    with _replacing(path) as part:
        torch.save(tensors, part)
        content["sha256"] = hashlib.sha256(part.read_bytes()).hexdigest()
        text = json.dumps(content, indent=2) + "\n"
    write_text(path.with_suffix(".json"), text)
    return content


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one whole."""
    with _replacing(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a file to write, which takes the place of ``path`` once it is complete."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
