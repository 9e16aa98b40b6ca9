"""Checkpoints: read without running code, written atomically.

mmengine unpickles whatever a restricted load refuses, and torch allocates what a file
names before it reads on. Here the pickle is checked first: every name that it calls,
every length and every shape. ``use_safe_loading`` makes mmengine load this way too.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn
from torch._weights_only_unpickler import Unpickler

from leuko_mm.engine.download import download
from leuko_mm.engine.runner import unwrapped
from leuko_mm.errors import LeukoError
from leuko_mm.files import read_any_json, replacing, sha256_of_file, write_text

SCHEMA = 1
# mmengine's name of the states that a training can resume from.
STATE_FILES = "iter_*.pth"
LOGGER = logging.getLogger("leuko_mm")

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_RECORDS = ("magic number", "version", "system", "content", "keys")
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# What torch itself writes for tensors. Its own restricted load lets more pass, such as
# an array of bytes whose length the file names.
TENSOR_NAMES = {
    "_codecs.encode",
    "collections.OrderedDict",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
}
NUMBERS = ("b1", "u1", "i4", "i8", "f2", "f4", "f8")
# What mmengine stores behind every curve, as calls of ``getattr``.
STATISTICS = {"min", "max", "current", "mean"}
MMENGINE_LOAD_STATE_DICT = mmengine_checkpoint.load_state_dict


class UnsafeCheckpointError(LeukoError, ValueError):
    """The file is damaged or asks for more than tensors; it was not loaded."""


def load_tensors(path: str | Path) -> dict:
    """Read a checkpoint onto the CPU, restricted to tensors and mmengine's records.

    Raises:
        FileNotFoundError: if there is no such file.
        UnsafeCheckpointError: if the file is damaged or would run code when unpickled.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    return _read(path, "cpu")


def use_safe_loading() -> None:
    """Make mmengine read every checkpoint through this module.

    Its own falls back to unpickling anything, and runs the config in old files.

    Raises:
        RuntimeError: if mmengine has no such functions to replace.
    """
    for name, function in (
        ("_safe_torch_load", _load_for_mmengine),
        ("load_url", _load_url),
        ("load_state_dict", _load_state_dict),
    ):
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
    if isinstance(file, str) and meta is None and "state_dict" not in checkpoint:
        return _with_meta(checkpoint, Path(file).with_suffix(".json"))
    return checkpoint


def _with_meta(tensors: dict, sidecar: Path) -> dict:
    """Return tensors with what mmseg's ``init_model`` asks for, where it is known."""
    try:
        about = read_any_json(sidecar)
        known = dict(classes=about["classes"], palette=about["colours"])
    except (OSError, ValueError, KeyError, TypeError):
        return tensors
    return dict(state_dict=tensors, meta=dict(dataset_meta=known))


def _load_url(url, model_dir=None, map_location=None, progress=True) -> dict:
    folder = Path(model_dir or Path(torch.hub.get_dir()) / "checkpoints")
    file = download(url, folder / Path(urlparse(url).path).name)
    return _load_for_mmengine(file, map_location)


def _load_state_dict(module: nn.Module, state_dict: dict, *args, **kwargs) -> None:
    check_kinds(module, state_dict)
    MMENGINE_LOAD_STATE_DICT(module, state_dict, *args, **kwargs)


def check_kinds(module: nn.Module, tensors: Mapping, *, file: str | Path = "") -> None:
    """Refuse integers where a module has floating-point numbers, and the reverse.

    torch would convert them silently. Other precisions of one kind pass, and so does
    a single integer, such as batch norm's count, that was stored as a float. Names
    that the module lacks are ignored.

    Raises:
        UnsafeCheckpointError: naming the first that does not fit, and the file.
    """
    for name, wanted in module.state_dict().items():
        given = tensors.get(name, wanted)
        if not _same_kind(given, wanted):
            what = getattr(given, "dtype", type(given).__name__)
            raise UnsafeCheckpointError(
                f"{file or 'the checkpoint'} was not loaded: its {name} is {what}, "
                f"expected {wanted.dtype} or another precision of it"
            )


def _same_kind(given: Any, wanted: torch.Tensor) -> bool:
    if not isinstance(given, torch.Tensor):
        return False
    kinds = [(t.is_floating_point(), t.is_complex()) for t in (given, wanted)]
    if kinds[0] == kinds[1]:
        return True
    # A count that was rounded together with the tensors around it.
    single = given.ndim == wanted.ndim == 0 and given.is_floating_point()
    return single and float(given).is_integer()


def _read(file: str | Path | BinaryIO, map_location: Any) -> dict:
    by_name = isinstance(file, (str, Path))
    with open(file, "rb") if by_name else nullcontext(file) as opened, _only_allowed():
        try:
            # One handle for both: what was checked is what is loaded.
            _check_contents(opened, {name for _, name in ALLOWED})
            opened.seek(0)
            content = torch.load(opened, map_location=map_location, weights_only=True)
            if not isinstance(content, dict):
                raise pickle.UnpicklingError(f"it holds a {type(content).__name__}")
        except Exception as error:  # damaged bytes raise anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UnsafeCheckpointError(
                f"{file} was not loaded: it is damaged, or holds more than tensors "
                f"({reason}). Use a checkpoint written by leuko_mm, or re-save its "
                "state_dict on a machine that you trust it with"
            ) from None
    return content


@contextmanager
def _only_allowed() -> Iterator[None]:
    """Suspend everything else that the process has allowed torch to load."""
    former = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(ALLOWED)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(former)


def _check_contents(file: BinaryIO, allowed: Collection[str]) -> None:
    """Refuse a file that calls other names, or asks for more memory than it fills."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    zipped = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    file.seek(0)
    if zipped:
        _check_archive(file, size, allowed)
        return
    for record in LEGACY_RECORDS:
        start = file.tell()
        _check_names(file, allowed)
        file.seek(start)
        # No table gives their lengths; all of them together fit into the file.
        content = _read_pickle(file, lambda key: size, size)
        if record == "magic number" and content != torch.serialization.MAGIC_NUMBER:
            raise pickle.UnpicklingError("it is no checkpoint of torch")


def _check_archive(file: BinaryIO, size: int, allowed: Collection[str]) -> None:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        sizes = {record.filename: record.file_size for record in records}
        pickles = [name for name in sizes if name.endswith("/data.pkl")]
        if len(sizes) < len(records) or len(pickles) != 1:
            raise pickle.UnpicklingError("its archive has a record twice, or no pickle")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise pickle.UnpicklingError("its archive is compressed; torch stores")
        if sum(record.file_size for record in records) > size:
            raise pickle.UnpicklingError("its archive promises more than it holds")
        content = archive.read(pickles[0])
    folder = pickles[0].removesuffix("data.pkl")
    _check_names(io.BytesIO(content), allowed)
    _read_pickle(
        io.BytesIO(content), lambda key: sizes.get(f"{folder}data/{key}", -1), size
    )


def _check_names(file: BinaryIO, allowed: Collection[str]) -> None:
    """Refuse a pickle that calls a name beside the allowed ones."""
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            raise pickle.UnpicklingError(f"it uses {operation.name}")
        if operation.name != "GLOBAL":
            continue
        module, _, name = argument.partition(" ")
        called = f"{PYTHON_2.get(module, module)}.{name}"
        known = called in TENSOR_NAMES or called in allowed
        if not known and not _is_number_type(called):
            raise pickle.UnpicklingError(f"it asks for {called}")


def _is_number_type(called: str) -> bool:
    """Tell whether a name is torch's of a type of numbers, or of their storage."""
    name = called.removeprefix("torch.")
    if name == called or not name.isidentifier():
        return False
    kind = getattr(torch, name, None)
    if isinstance(kind, type):
        return issubclass(kind, (torch.TypedStorage, torch.UntypedStorage))
    return isinstance(kind, torch.dtype)


def _read_pickle(file: BinaryIO, length: Callable[[str], int], size: int) -> object:
    """Return the content of a pickle, its tensors without memory; check their sizes.

    ``length`` gives the bytes of a record, -1 if there is none; all tensors together
    may have ``size`` bytes.
    """
    taken: dict[str, int] = {}

    def without_memory(words) -> torch.storage.TypedStorage:
        _, kind, key, _, count, *view = words
        if isinstance(key, bytes):
            key = key.decode()
        if any(view):
            raise pickle.UnpicklingError("it holds views of storages, as of torch 0.1")
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        taken[key] = count * dtype.itemsize
        if not 0 <= taken[key] <= length(key) or sum(taken.values()) > size:
            raise pickle.UnpicklingError(
                f"tensor {key} is to have {taken[key]} bytes, which are not in the file"
            )
        storage = torch.UntypedStorage(taken[key], device="meta")
        return torch.storage.TypedStorage(
            wrap_storage=storage, dtype=dtype, _internal=True
        )

    reader = Unpickler(file, encoding="utf-8")
    reader.persistent_load = without_memory
    content = reader.load()
    _check_shapes(content, set())
    return content


def _check_shapes(node: object, seen: set[int]) -> None:
    """Refuse tensors that are larger than the memory behind them."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, torch.Tensor):
        behind = node.untyped_storage().nbytes()
        if node.numel() * node.element_size() > behind:
            raise pickle.UnpicklingError(
                f"a tensor of {tuple(node.shape)} has only {behind} bytes behind it"
            )
    elif isinstance(node, (dict, list, tuple)):
        for value in node.values() if isinstance(node, dict) else node:
            _check_shapes(value, seen)


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


# (what is called, what the file calls it): all that a file may ask for beyond what
# torch itself allows. numpy has moved its core once; files know both places.
ALLOWED = [
    (_StoredCurve, "mmengine.logging.history_buffer.HistoryBuffer"),
    (_no_attribute, "builtins.getattr"),
    (lambda: b"", "builtins.bytes"),  # for an empty array
    (_number_type, "numpy.dtype"),
    (np.ndarray, "numpy.ndarray"),
    *((type(d), f"numpy.dtypes.{type(d).__name__}") for d in map(np.dtype, NUMBERS)),
]
for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
    # An array is filled by the state that follows.
    ALLOWED.append((lambda *_: np.empty(0), f"{core}._reconstruct"))
    ALLOWED.append((lambda dtype, raw: np.frombuffer(raw, dtype)[0], f"{core}.scalar"))


def write_checkpoint(path: Path, model: nn.Module, sidecar: Mapping) -> dict:
    """Write ``<name>.pth`` (tensors only) and ``<name>.json``, each atomically.

    Args:
        path: the ``.pth`` file.
        model: its ``state_dict`` is stored contiguous, on the CPU, without the prefix
            of a data-parallel wrapper.
        sidecar: what the tensors are.

    Returns:
        The sidecar as written, with ``schema`` and ``sha256``.
    """
    path = Path(path)
    state = unwrapped(model).state_dict()
    tensors = {key: value.cpu().contiguous() for key, value in state.items()}
    content = {"schema": SCHEMA, **sidecar}
    with replacing(path) as part:
        torch.save(tensors, part)
        content["sha256"] = sha256_of_file(part)
        text = json.dumps(content, indent=2) + "\n"
    write_text(path.with_suffix(".json"), text)
    return content


def training_states(work_dir: Path) -> list[Path]:
    """Return the training states of a run, the newest first."""
    numbered = {}
    for path in Path(work_dir).glob(STATE_FILES):
        number = path.stem.rsplit("_", 1)[1]
        if number.isdigit():
            numbered[path] = int(number)
    return sorted(numbered, key=numbered.get, reverse=True)


def newest_state(work_dir: Path) -> Path | None:
    """Return the newest training state that can be read, None if there is none.

    A killed process or a full disk may have damaged the newest ones; each is warned of.
    """
    for path in training_states(work_dir):
        try:
            load_tensors(path)
        except (UnsafeCheckpointError, OSError) as error:
            LOGGER.warning("%s; going on from the state before it", error)
            continue
        return path
    return None


def save_states_atomically(runner: Runner) -> None:
    """Make the runner's training states appear whole, or not at all."""
    save = runner.save_checkpoint

    def save_atomically(out_dir: str, filename: str, *args, **kwargs) -> None:
        # Processes beside the main one write nothing, and states may go elsewhere.
        if not is_main_process() or "://" in str(out_dir):
            save(out_dir, filename, *args, **kwargs)
            return
        with replacing(Path(out_dir) / filename) as part:
            save(out_dir, part.name, *args, **kwargs)

    for leftover in Path(runner.work_dir).glob(".*.pth.part"):
        leftover.unlink(missing_ok=True)
    runner.save_checkpoint = save_atomically


def save_state(runner: Runner, done: int) -> None:
    """Write the state after ``done`` iterations; the oldest beyond the limit go."""
    if not is_main_process():
        return
    folder, name = Path(runner.work_dir), f"iter_{done}.pth"
    runner.save_checkpoint(str(folder), name, meta=dict(iter=done), by_epoch=False)
    write_text(folder / "last_checkpoint", str(folder / name))
    kept = max((getattr(h, "max_keep_ckpts", -1) for h in runner.hooks), default=-1)
    if kept > 0:
        for state in training_states(folder)[kept:]:
            state.unlink()
