"""Checkpoints that nobody should load, made from a good one."""

from __future__ import annotations

import functools
import io
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from leuko_mm.engine.checkpoints import load_tensors


class Call:
    """Is unpickled by calling something, then by setting a state."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) + ((state,) if state else ())

    def __reduce__(self):
        return self.reduced


def records(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archived(content: dict[str, bytes], path: Path, *, packed: bool = False) -> None:
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def by_reduce(good: Path, bad: Path, mark: Path) -> None:
    torch.save({**load_tensors(good), "x": Call(os.system, f"touch {mark}")}, bad)


def by_build(good: Path, bad: Path, mark: Path) -> None:
    """Set the state of a function object, whose call is then the command."""
    partial = Call(
        functools.partial, print, state=(os.system, (f"touch {mark}",), {}, {})
    )
    torch.save({**load_tensors(good), "x": partial}, bad)


def by_global(good: Path, bad: Path, mark: Path) -> None:
    """Only name a module, whose import would already run code."""
    (bad.parent / "planted_module.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\nx = 1\n"
    )
    content = records(good)
    (data,) = (name for name in content if name.endswith("data.pkl"))
    # Put behind the protocol, then dropped from the stack.
    content[data] = content[data][:2] + b"cplanted_module\nx\n0" + content[data][2:]
    archived(content, bad)


def by_legacy(good: Path, bad: Path, mark: Path) -> None:
    content = {**load_tensors(good), "x": Call(os.system, f"touch {mark}")}
    torch.save(content, bad, _use_new_zipfile_serialization=False)


def by_bare_pickle(good: Path, bad: Path, mark: Path) -> None:
    bad.write_bytes(pickle.dumps({"x": Call(os.system, f"touch {mark}")}, protocol=2))


def of_lying_length(good: Path, bad: Path, mark: Path) -> None:
    """Say that a tensor of few numbers has a million, beyond its record."""
    torch.save({"state_dict": OrderedDict(a=torch.ones(1_000_000))}, bad)
    content = records(bad)
    (name,) = (name for name in content if name.endswith("/data/0"))
    content[name] = content[name][:64]
    archived(content, bad)


def of_stretched_shape(good: Path, bad: Path, mark: Path) -> None:
    """One number seen as a thousand million of them."""
    torch.save({**load_tensors(good), "x": torch.ones(1).expand(1000, 1000, 1000)}, bad)


def of_named_memory(good: Path, bad: Path, mark: Path) -> None:
    torch.save({**load_tensors(good), "x": Call(bytearray, 60_000_000_000)}, bad)


def of_lying_legacy_length(good: Path, bad: Path, mark: Path) -> None:
    """The same of the old kind, where torch takes the memory before it reads."""
    content = {"state_dict": OrderedDict(a=torch.ones(1_000_000))}
    torch.save(content, bad, _use_new_zipfile_serialization=False)
    bad.write_bytes(bad.read_bytes()[:2000])


def truncated(good: Path, bad: Path, mark: Path) -> None:
    content = good.read_bytes()
    bad.write_bytes(content[: len(content) * 2 // 3])


def compressed(good: Path, bad: Path, mark: Path) -> None:
    torch.save({"state_dict": OrderedDict(a=torch.zeros(4_000_000))}, bad)
    archived(records(bad), bad, packed=True)


def nested(good: Path, bad: Path, mark: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"x": Call(os.system, f"touch {mark}")}, buffer)
    archived({"archive/data.pkl": buffer.getvalue(), "archive/version": b"3\n"}, bad)


def doubled_record(good: Path, bad: Path, mark: Path) -> None:
    """Two pickles of one name: readers may differ in which one they take."""
    torch.save({"x": Call(os.system, f"touch {mark}")}, bad)
    content, harm = records(good), records(bad)
    (data,) = (name for name in content if name.endswith("data.pkl"))
    (other,) = (name for name in harm if name.endswith("data.pkl"))
    archived(content, bad)
    with zipfile.ZipFile(bad, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the name that is there already
        archive.writestr(data, harm[other])


def of_objects(good: Path, bad: Path, mark: Path) -> None:
    """Wrong type: an array of Python objects instead of numbers."""
    torch.save({**load_tensors(good), "x": np.array([{}], dtype=object)}, bad)


def of_wrong_kind(good: Path, bad: Path, mark: Path) -> None:
    """Whole numbers where the network has fractions: torch would convert them."""
    content = load_tensors(good)
    weights = content.get("state_dict", content)
    weights.update({key: value.long() for key, value in weights.items()})
    torch.save(content, bad)


FILES: dict[str, Callable[[Path, Path, Path], None]] = {
    function.__name__: function
    for function in (
        by_reduce,
        by_build,
        by_global,
        by_legacy,
        by_bare_pickle,
        of_lying_length,
        of_stretched_shape,
        of_named_memory,
        of_lying_legacy_length,
        truncated,
        compressed,
        nested,
        doubled_record,
        of_objects,
        of_wrong_kind,
    )
}
