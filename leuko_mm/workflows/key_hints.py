"""Which key of a config a misspelt one was meant to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.registry import (
    LOOPS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    VISBACKENDS,
    VISUALIZERS,
)

from leuko_mm.errors import UsageError
from leuko_mm.nearest import did_you_mean, nearest
from leuko_mm.workflows.part_details import arguments_of
from leuko_mm.workflows.parts_list import REGISTRIES

# Beside those that have parts of ours, and whatever is above these.
FURTHER = (OPTIMIZERS, PARAM_SCHEDULERS, LOOPS, VISUALIZERS, VISBACKENDS)
# Keys that are this alike are taken for one; further apart, both may be meant.
ALIKE = 0.8
REFUSED_ARGUMENT = re.compile(r"got an unexpected keyword argument '(\w+)'")
ABSENT_PART = re.compile(r"(\w+) is not in the \S+ registry")


def check_option_keys(config: Mapping, options: Mapping[str, Any]) -> None:
    """Refuse options that would change nothing, or a key beside the one that is meant.

    A key that a config does not have yet may be an argument that nobody has given, so
    it is refused only where it is all but the same as one that is there or that the
    part takes.

    Args:
        config: resolved, before the options.
        options: dotted key -> value, as ``--cfg-options`` gives them.

    Raises:
        UsageError: naming the key that is meant.

    Example:
        >>> check_option_keys(dict(train_cfg=dict(max_iters=9)), {"train_cfg.by": 1})
    """
    for option in options:
        if option.startswith("_"):
            length = "give --iterations N" if option == "_iterations" else ""
            raise UsageError(
                f"--cfg-options {option}: a name that begins with _ is the config "
                "file's own, and what is made of it is made already; "
                + (
                    length
                    or "name the key that it becomes, or change a copy of the file"
                )
            )
        _check_way(config, option)


def _check_way(config: Mapping, option: str) -> None:
    place: Any = config
    way: list[str] = []
    for key in option.split("."):
        if isinstance(place, Sequence) and not isinstance(place, str):
            if not key.isdecimal() or int(key) >= len(place):
                return  # mmengine says what is wrong with it
            place = place[int(key)]
        elif isinstance(place, Mapping):
            # Top-level keys are checked whether they come from a file or from here.
            if way and key not in place:
                _refuse_near(place, key, ".".join(way), option)
                return
            place = place.get(key)
        else:
            return
        way.append(key)


def _refuse_near(place: Mapping, key: str, where: str, option: str) -> None:
    taken = _arguments(place.get("type"))
    if key in taken:
        return
    meant = nearest(key, [*place, *taken], alike=ALIKE)
    if meant:
        raise UsageError(
            f"--cfg-options {option}: {where} has no {key!r} (did you mean "
            f"{meant[0]!r}?)"
        )


def hint_on(message: str, config: Mapping) -> str:
    """Return what a library's error message is to be ended with, '' if nothing.

    Args:
        message: that says which argument a part does not take, or which part is not
            there.
        config: what was built when it failed.

    Example:
        >>> config = dict(model=dict(type="leuko_mm.VGG", dept=16))
        >>> hint_on("VGG() got an unexpected keyword argument 'dept'", config)
        " (did you mean 'depth'?)"
    """
    refused = REFUSED_ARGUMENT.search(message)
    if refused:
        # The message may name a base of the part; the config has the part itself.
        places = [place for place in _dicts(config) if refused[1] in place]
        known = [name for p in places for name in _arguments(p.get("type"))]
        return did_you_mean(refused[1], [name for name in known if name != refused[1]])
    absent = ABSENT_PART.search(message)
    return did_you_mean(absent[1], _part_names()) if absent else ""


def _dicts(value: Any) -> Iterator[Mapping]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _dicts(inner)


def _arguments(name: object) -> list[str]:
    """Return the arguments of a part, [] where no part is of that name."""
    target = _part(name) if isinstance(name, str) else name
    if not callable(target):
        return []
    return [argument.name for argument in arguments_of(target)]


def _part(name: str) -> Callable | None:
    for registry in (*REGISTRIES.values(), *FURTHER):
        try:
            part = registry.get(name)
        except KeyError:
            continue
        if part is not None:
            return part
    return None


def _part_names() -> list[str]:
    names: dict[str, None] = {}
    for registry in (*REGISTRIES.values(), *FURTHER):
        while registry is not None:
            names.update(dict.fromkeys(registry.module_dict))
            registry = registry.parent
    return list(names)
