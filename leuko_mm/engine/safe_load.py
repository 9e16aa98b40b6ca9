"""Load tensors from a file without running anything that the file says."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from mmengine.runner import checkpoint as mmengine_checkpoint


class UnsafeCheckpointError(ValueError):
    """The file asks for more than tensors; it was not loaded."""


def load_tensors(path: str | Path, map_location="cpu") -> dict:
    """Read a checkpoint, restricted to tensors and mmengine's plain records.

    Args:
        path: a local file.
        map_location: as in ``torch.load``.

    Raises:
        FileNotFoundError: if there is no such file.
        UnsafeCheckpointError: if the file is damaged or would run code when unpickled.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    allowed = mmengine_checkpoint.get_torch_safe_globals()
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise UnsafeCheckpointError(
            f"{path} was not loaded: it is damaged, or holds more than tensors "
            f"({reason}). Use a checkpoint written by leuko_mm, or re-save its "
            "state_dict on a machine that you trust it with"
        ) from None


def use_safe_loading() -> None:
    """Make mmengine read local checkpoints through ``load_tensors``.

    Its own loader tries a restricted load first, but then falls back to unpickling
    whatever the file contains, with only a warning.
    """
    mmengine_checkpoint.CheckpointLoader.register_scheme(
        prefixes="", loader=_load_local, force=True
    )


def _load_local(filename, map_location=None):
    return load_tensors(filename, map_location or "cpu")
