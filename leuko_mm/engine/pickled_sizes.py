"""Compare what a checkpoint asks for with what its file holds, before it is loaded.

torch takes the memory that a file names and then reads, believes a tensor's length
where the record behind it is shorter, and unpacks what is compressed. Here the recipe
alone is read: every name it calls, every length, every shape. Nothing of the size of
the tensors is taken.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Collection
from typing import BinaryIO

import torch
from torch._weights_only_unpickler import Unpickler

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
