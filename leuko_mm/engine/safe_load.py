"""Load tensors from a file without running anything that the file says."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn

from leuko_mm.engine.download import download
from leuko_mm.engine.pickled_sizes import check_contents
from leuko_mm.errors import LeukoError

NUMBERS = ("b1", "u1", "i4", "i8", "f2", "f4", "f8")
# What mmengine stores behind every curve; written out, it asks for ``getattr``.
STATISTICS = {"min", "max", "current", "mean"}


class UnsafeCheckpointError(LeukoError, ValueError):
    """The file is damaged or asks for more than tensors; it was not loaded."""


class _StoredCurve(HistoryBuffer):
    """Stands in for mmengine's record of a curve while a file is read."""

    def __setstate__(self, state: dict) -> None:
        # Only the numbers: mmengine would let the file replace the methods that
        # compute means for the whole process.
        values, counts = state["_log_history"], state["_count_history"]
        self.__class__ = HistoryBuffer
        self.__init__(np.array(values), np.array(counts), int(state["max_length"]))


def _no_attribute(owner: Any, name: str) -> None:
    """Stands in for ``getattr``, which would reach everything from anything."""
    if owner is not _StoredCurve or name not in STATISTICS:
        raise pickle.UnpicklingError(f"it asks for the attribute {name!r}")


def _number_type(name: str, *_: Any) -> np.dtype:
    """Stands in for ``numpy.dtype``, whose copies would believe any layout."""
    if name not in NUMBERS:
        raise pickle.UnpicklingError(f"it holds an array of {name!r}, not of numbers")
    return np.dtype(name)


def _empty_array(*_: Any) -> np.ndarray:
    """Stands in for numpy's ``_reconstruct``; the state that follows fills it."""
    return np.empty(0)


def _no_bytes() -> bytes:
    """Stands in for ``bytes``, which the file of an empty array calls."""
    return b""


def _scalar(dtype: np.dtype, raw: bytes) -> np.generic:
    return np.frombuffer(raw, dtype)[0]


# (what is called, what the file calls it): all that a file may ask for beyond what
# torch itself allows. numpy has moved its core once, files know both places.
ALLOWED = [
    (_StoredCurve, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_no_attribute, "builtins.getattr"),
    (_no_bytes, "builtins.bytes"),
    (_number_type, "numpy.dtype"),
    (np.ndarray, "numpy.ndarray"),
    *((_empty_array, f"numpy.{c}.multiarray._reconstruct") for c in ("core", "_core")),
    *((_scalar, f"numpy.{c}.multiarray.scalar") for c in ("core", "_core")),
    *(
        (type(np.dtype(n)), f"numpy.dtypes.{type(np.dtype(n)).__name__}")
        for n in NUMBERS
    ),
]
THEIR_LOAD_STATE_DICT = mmengine_checkpoint.load_state_dict
NAMES = frozenset(name for _, name in ALLOWED)


def load_tensors(path: str | Path, map_location: Any = "cpu") -> dict:
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
    return _read(path, map_location)


def use_safe_loading() -> None:
    """Make mmengine read every checkpoint through this module, wherever it lies.

    Its own loader tries a restricted load first, but then unpickles whatever the file
    contains with only a warning; what it downloads it unpickles at once; and on
    resuming it runs the config that old checkpoints carry.

    Raises:
        RuntimeError: if mmengine has no such functions to replace.
    """
    ours = dict(
        _safe_torch_load=_load_for_mmengine,
        load_url=_load_url,
        load_state_dict=_load_state_dict,
    )
    for name, function in ours.items():
        if not hasattr(mmengine_checkpoint, name):
            raise RuntimeError(
                f"mmengine.runner.checkpoint has no {name}, so its loading cannot be "
                "made safe; install the version of requirements/mminstall.txt"
            )
        setattr(mmengine_checkpoint, name, function)


def _load_for_mmengine(
    file: str | BinaryIO, map_location: Any = None, weights_only: bool | None = None
) -> dict:
    checkpoint = _read(file, map_location or "cpu")
    meta = checkpoint.get("meta")
    if isinstance(meta, dict) and meta.pop("config", None) is not None:
        print_log(f"{file}: the config inside is code and was left out", "current")
    return checkpoint


def _load_state_dict(module: nn.Module, state_dict: dict, *args, **kwargs) -> None:
    check_kinds(module, state_dict)
    THEIR_LOAD_STATE_DICT(module, state_dict, *args, **kwargs)


def check_kinds(module: nn.Module, tensors: Mapping, *, file: str | Path = "") -> None:
    """Refuse whole numbers where a module has fractions, and the other way round.

    torch would convert them without a word. Other precisions of one kind pass, and so
    does a single whole number, such as batch norm's count, however it is written.

    Args:
        module: what the tensors are for.
        tensors: by name; names that the module lacks are not looked at.
        file: where they come from.

    Raises:
        UnsafeCheckpointError: naming the first that does not fit.

    Example:
        >>> check_kinds(nn.Linear(1, 1), {"bias": torch.ones(1, dtype=torch.float16)})
    """
    for name, wanted in module.state_dict().items():
        given = tensors.get(name, wanted)
        if not _fits(given, wanted):
            what = getattr(given, "dtype", type(given).__name__)
            raise UnsafeCheckpointError(
                f"{file or 'the checkpoint'} was not loaded: its {name} is {what}, "
                f"expected {wanted.dtype} or another precision of it"
            )


def _fits(given: Any, wanted: torch.Tensor) -> bool:
    if not isinstance(given, torch.Tensor):
        return False
    if _kind(given) == _kind(wanted):
        return True
    # A count that was rounded together with the tensors around it.
    single = given.ndim == wanted.ndim == 0 and given.is_floating_point()
    return single and float(given).is_integer()


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _load_url(url, model_dir=None, map_location=None, progress=True) -> dict:
    folder = Path(model_dir or Path(torch.hub.get_dir()) / "checkpoints")
    file = download(url, folder / Path(urlparse(url).path).name)
    return _load_for_mmengine(file, map_location)


def _read(file: str | Path | BinaryIO, map_location: Any) -> dict:
    with _opened(file) as opened, _only_allowed():
        try:
            # One handle for both: what was checked is what is loaded.
            check_contents(opened, NAMES)
            opened.seek(0)
            content = torch.load(opened, map_location=map_location, weights_only=True)
            if not isinstance(content, dict):
                raise pickle.UnpicklingError(f"it holds a {type(content).__name__}")
        except Exception as error:  # damaged bytes raise anything
            raise UnsafeCheckpointError(
                f"{file} was not loaded: it is damaged, or holds more than tensors "
                f"({_reason(error)}). Use a checkpoint written by leuko_mm, or re-save "
                "its state_dict on a machine that you trust it with"
            ) from None
    return content


@contextmanager
def _opened(file: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    if isinstance(file, (str, Path)):
        with open(file, "rb") as opened:
            yield opened
    else:
        yield file


@contextmanager
def _only_allowed() -> Iterator[None]:
    """Let no other allowance count that the process has collected."""
    former = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(ALLOWED)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(former)


def _reason(error: Exception) -> str:
    """Return what is wrong, without torch's advice to load without restriction."""
    text = str(error)
    if wanted := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {wanted[1]}"
    said = re.search(r"WeightsUnpickler error:\s*(.+)", text)
    return said[1] if said else (text.splitlines() or [type(error).__name__])[0]
