"""Checkpoints: loaded without running code, and saved atomically.

torch takes the memory that a file names and then reads, believes a tensor's length
where the record behind it is shorter, and unpacks what is compressed. Here the recipe
alone is read: every name it calls, every length, every shape. Nothing of the size of
the tensors is taken.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
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

from leuko_mm.engine.data_parallel import unwrapped
from leuko_mm.engine.download import download
from leuko_mm.errors import LeukoError
from leuko_mm.files import replacing, sha256_of_file, write_text

# A registered part by its bare name, or one of these two rooms. mmengine would import
# and call anything that a name with dots leads to, ``os.system`` included.
PART_NAME = re.compile(r"(?:leuko_mm\.|mmseg\.)?[A-Za-z]\w*")


def unregistered_types(recipe: Any) -> list:
    """Return every ``type`` of a config that is not the name of a registered part.

    Example:
        >>> unregistered_types(dict(type="leuko_mm.VGG", norm=[dict(type="os.system")]))
        ['os.system']
    """
    if isinstance(recipe, Mapping):
        own = [recipe["type"]] if "type" in recipe else []
        own = [n for n in own if not isinstance(n, str) or not PART_NAME.fullmatch(n)]
        return own + [n for value in recipe.values() for n in unregistered_types(value)]
    if isinstance(recipe, (list, tuple)):
        return [name for value in recipe for name in unregistered_types(value)]
    return []


ZIP_BEGINS = b"PK\x03\x04"
LEGACY_BEGINS = 0x1950A86A20F9469CFC6C
LEGACY_RECORDS = ("the magic number", "version", "system", "content", "keys")
# What torch itself writes for tensors. It would let more pass, such as an array of
# bytes whose length the file names.
TENSORS = frozenset(
    [
        "_codecs.encode",
        "collections.OrderedDict",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
    ]
)
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def check_contents(file: BinaryIO, allowed: Collection[str]) -> None:
    """Refuse a checkpoint that calls for more than it holds.

    Args:
        file: open at its beginning; it is left anywhere.
        allowed: names that its recipe may call beside those of tensors.

    Raises:
        UnpicklingError: with what is wrong.
        Exception: anything else, of a damaged file.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    zipped = file.read(len(ZIP_BEGINS)) == ZIP_BEGINS
    file.seek(0)
    if zipped:
        _check_archive(file, size, allowed)
    else:
        _check_legacy(file, size, allowed)


def _check_archive(file: BinaryIO, size: int, allowed: Collection[str]) -> None:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        recipes = [name for name in names if name.endswith("/data.pkl")]
        if len(set(names)) < len(names) or len(recipes) != 1:
            raise pickle.UnpicklingError("its archive has a record twice, or no recipe")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise pickle.UnpicklingError("its archive is compressed; torch stores")
        if sum(record.file_size for record in records) > size:
            raise pickle.UnpicklingError("its archive promises more than it holds")
        held = {record.filename: record.file_size for record in records}
        recipe = archive.read(recipes[0])
    folder = recipes[0].removesuffix("data.pkl")

    def length(key: str) -> int:
        return held.get(f"{folder}data/{key}", -1)

    _check_names(io.BytesIO(recipe), allowed)
    _read_recipe(io.BytesIO(recipe), length, size)


def _check_legacy(file: BinaryIO, size: int, allowed: Collection[str]) -> None:
    for record in LEGACY_RECORDS:
        start = file.tell()
        _check_names(file, allowed)
        file.seek(start)
        # No table tells its records apart; all of them together fit into the file.
        content = _read_recipe(file, lambda key: size, size)
        if record == LEGACY_RECORDS[0] and content != LEGACY_BEGINS:
            raise pickle.UnpicklingError("it is no checkpoint of torch")


def _check_names(recipe: BinaryIO, allowed: Collection[str]) -> None:
    """Refuse a recipe that calls a name beside the allowed ones."""
    for operation, argument, _ in pickletools.genops(recipe):
        if operation.name in ("INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            raise pickle.UnpicklingError(f"it uses {operation.name}")
        if operation.name != "GLOBAL":
            continue
        module, _, name = argument.partition(" ")
        called = f"{PYTHON_2.get(module, module)}.{name}"
        if called not in TENSORS and called not in allowed and not _is_kind(called):
            raise pickle.UnpicklingError(f"it asks for {called}")


def _is_kind(called: str) -> bool:
    """Tell whether a name is torch's of a type of numbers, or of their storage."""
    name = called.removeprefix("torch.")
    if name == called or not name.isidentifier():
        return False
    return name.endswith("Storage") or isinstance(
        getattr(torch, name, None), torch.dtype
    )


def _read_recipe(recipe: BinaryIO, length: Callable[[str], int], size: int) -> object:
    """Return what a recipe makes, its tensors without memory, and check their sizes.

    Args:
        recipe: a pickle.
        length: bytes of the record of that name, -1 if there is none.
        size: bytes that all tensors together may have.
    """
    taken: dict[str, int] = {}

    def without_memory(words) -> torch.storage.TypedStorage:
        _, kind, key, _, count, *view = words
        if isinstance(key, bytes):
            key = key.decode()
        if any(view):
            raise pickle.UnpicklingError("it holds views of storages, as of torch 0.1")
        raw = kind is torch.UntypedStorage
        dtype = torch.uint8 if raw else kind.dtype
        taken[key] = count * dtype.itemsize
        if not 0 <= taken[key] <= length(key) or sum(taken.values()) > size:
            raise pickle.UnpicklingError(
                f"tensor {key} is to have {taken[key]} bytes, which are not in the file"
            )
        storage = torch.UntypedStorage(taken[key], device="meta")
        return torch.storage.TypedStorage(
            wrap_storage=storage, dtype=dtype, _internal=True
        )

    reader = Unpickler(recipe, encoding="utf-8")
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
    elif isinstance(node, dict):
        for value in node.values():
            _check_shapes(value, seen)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _check_shapes(value, seen)


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


SCHEMA = 1
# Not mmengine's, which exists once a runner does.
LOGGER = logging.getLogger("leuko_mm")
# What mmengine calls the states that a training can go on from.
STATES = ("iter_*.pth", "epoch_*.pth")


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
    with replacing(path) as part:
        torch.save(tensors, part)
        content["sha256"] = sha256_of_file(part)
        text = json.dumps(content, indent=2) + "\n"
    write_text(path.with_suffix(".json"), text)
    return content


def training_states(work_dir: Path) -> list[Path]:
    """Return the training states of a run, the newest first.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> for name in ("iter_90.pth", "iter_100.pth", "best.pth"):
        ...     (folder / name).touch()
        >>> [path.name for path in training_states(folder)]
        ['iter_100.pth', 'iter_90.pth']
    """
    found = [path for mark in STATES for path in Path(work_dir).glob(mark)]
    numbered = [path for path in found if path.stem.rsplit("_", 1)[1].isdigit()]
    return sorted(
        numbered, key=lambda path: int(path.stem.rsplit("_", 1)[1]), reverse=True
    )


def newest_state(work_dir: Path) -> Path | None:
    """Return the newest training state that can be read, None if there is none.

    Each newer one that is damaged is warned of.

    A process that was killed, or a full disk, may have left the newest one damaged,
    and mmengine's own mark of it missing or behind.
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
    """Let the runner's training states appear whole, or not at all.

    mmengine writes into the final file, so that whatever ends the process meanwhile
    leaves a newest state that cannot be read.
    """
    save = runner.save_checkpoint

    def save_whole(out_dir: str, filename: str, *args, **kwargs) -> None:
        # Processes beside the main one write nothing, and states may go elsewhere.
        if not is_main_process() or "://" in str(out_dir):
            save(out_dir, filename, *args, **kwargs)
            return
        with replacing(Path(out_dir) / filename) as part:
            save(out_dir, part.name, *args, **kwargs)

    for leftover in Path(runner.work_dir).glob(".*.pth.part"):
        leftover.unlink(missing_ok=True)
    runner.save_checkpoint = save_whole


def save_state(runner: Runner, done: int) -> None:
    """Write the state after ``done`` iterations, between two that are due.

    Of those that the runner keeps, the newest stay; else a training that is stopped
    many times would fill the disk.
    """
    if not is_main_process():
        return
    folder, name = Path(runner.work_dir), f"iter_{done}.pth"
    runner.save_checkpoint(str(folder), name, meta=dict(iter=done), by_epoch=False)
    write_text(folder / "last_checkpoint", str(folder / name))
    kept = [getattr(hook, "max_keep_ckpts", -1) for hook in runner.hooks]
    if max(kept, default=-1) > 0:
        for state in training_states(folder)[max(kept) :]:
            state.unlink()
