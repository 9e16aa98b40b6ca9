"""One part in detail: its arguments, and a config snippet ready to paste."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from leuko_mm.workflows.find_config import config_home
from leuko_mm.workflows.parts_list import Part, config_names

LINE = 80


@dataclass(frozen=True)
class Argument:
    """One argument of a part.

    Args:
        name: as a config writes it.
        default: its default, as Python writes it; None if it must be given.
        taken_by: the class that takes it: the part itself, or a base.
    """

    name: str
    default: str | None
    taken_by: str

    @property
    def required(self) -> bool:
        """Whether a config must give it."""
        return self.default is None


def arguments_of(target: Callable) -> list[Argument]:
    """Return the arguments of a class or function, also those it hands to bases.

    A base's arguments are added as long as ``**kwargs`` leads there.

    Example:
        >>> from leuko_mm.losses import FocalDiceLoss
        >>> arguments_of(FocalDiceLoss)[0]
        Argument(name='gamma', default='2.0', taken_by='FocalDiceLoss')
    """
    found: dict[str, Argument] = {}
    for owner, takes in _signatures(target):
        leads_on = False
        for parameter in takes.parameters.values():
            leads_on |= parameter.kind is parameter.VAR_KEYWORD
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            given = parameter.default is not parameter.empty
            default = repr(parameter.default) if given else None
            argument = Argument(parameter.name, default, owner)
            found.setdefault(parameter.name, argument)
        if not leads_on:
            break
    found.pop("self", None)
    return list(found.values())


def _signatures(target: Callable) -> Iterator[tuple[str, inspect.Signature]]:
    if not inspect.isclass(target):
        yield target.__name__, inspect.signature(target)
        return
    for owner in inspect.getmro(target):
        if "__init__" in vars(owner) and owner is not object:
            yield owner.__name__, inspect.signature(owner.__init__)


def snippet_of(part: Part) -> str:
    """Return the part as a config names it, with every argument that must be given.

    The values are those of the first shipped config that uses the part; where none
    does, ``...`` stands for each.
    """
    # mmengine names and feeds a constructor in a way of its own.
    if part.kind == "optim_constructors":
        key, wanted = "constructor", ["paramwise_cfg"]
    else:
        key = "type"
        wanted = [a.name for a in arguments_of(part.target) if a.required]
    used = shipped_use(part.name, key=key)
    if used is None:
        given = dict.fromkeys(wanted, ...)
    else:
        # What a shipped config does not give is given by what builds the part.
        given = {name: used[name] for name in wanted if name in used}
    return as_config({key: part.name, **given})


def shipped_use(name: str, *, key: str = "type") -> Mapping | None:
    """Return the first dict of a shipped config that names a part under a key."""
    protocols = sorted((config_home() / "_base_" / "protocols").glob("*.py"))
    for path in [*config_names().values(), *protocols]:
        for found in _dicts(_content(path)):
            if found.get(key) == name:
                return found
    return None


@functools.cache
def _content(path: Path) -> dict:
    return Config.fromfile(str(path)).to_dict()


def _dicts(value: Any) -> Iterator[Mapping]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _dicts(inner)


def as_config(value: Any, indent: int = 0) -> str:
    """Write a value the way configs are written, broken where a line gets long.

    Example:
        >>> as_config({"type": "UNet", "depth": [1, 2], "rest": ...})
        "dict(type='UNet', depth=[1, 2], rest=...)"
    """
    if value is ...:
        return "..."
    if isinstance(value, Mapping) and all(str(k).isidentifier() for k in value):
        opening, closing = "dict(", ")"
        inner = [f"{k}={as_config(v, indent + 4)}" for k, v in value.items()]
    elif isinstance(value, list):
        opening, closing = "[", "]"
        inner = [as_config(v, indent + 4) for v in value]
    else:
        return repr(value)
    line = opening + ", ".join(inner) + closing
    if indent + len(line) <= LINE and "\n" not in line:
        return line
    space = " " * (indent + 4)
    return (
        opening
        + "".join(f"\n{space}{i}," for i in inner)
        + f"\n{' ' * indent}"
        + closing
    )
