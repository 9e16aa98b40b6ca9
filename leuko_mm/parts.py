"""List what a config can name: parts, configs and protocols."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from leuko_mm.errors import UsageError, nearest
from leuko_mm.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    PLUGINS,
    TRANSFORMS,
    WEIGHT_INITIALIZERS,
    PartRegistry,
)
from leuko_mm.training.config import config_names

REGISTRIES = {
    "datasets": DATASETS,
    "samplers": DATA_SAMPLERS,
    "transforms": TRANSFORMS,
    "models": MODELS,
    "hooks": HOOKS,
    "optim_wrappers": OPTIM_WRAPPERS,
    "optim_constructors": OPTIM_WRAPPER_CONSTRUCTORS,
    "metrics": METRICS,
    "weight_initialisers": WEIGHT_INITIALIZERS,
}
MODEL_KINDS = ("segmentors", "backbones", "necks", "heads", "losses", "other_models")
KINDS = tuple(
    kind
    for name in REGISTRIES
    for kind in (MODEL_KINDS if name == "models" else (name,))
)
OPENMMLAB = ("mmseg", "mmengine", "mmcv")


@dataclass(frozen=True)
class Part:
    """One registered part.

    Args:
        name: as a config writes it after ``type=``.
        kind: one of ``KINDS``.
        package: that brings it; for a plug-in, the name of its distribution.
        summary: first sentence of its docstring; empty if it has none.
        target: the class or function.
    """

    name: str
    kind: str
    package: str
    summary: str
    target: Callable


def list_parts(kind: str | None = None, *, everything: bool = False) -> list[Part]:
    """Return our parts and the plug-ins', sorted by kind and name.

    Args:
        kind: one of ``KINDS``, or ``models`` for all kinds of models; None: all.
        everything: add MMSegmentation's parts, and those of the libraries below it.
    """
    wanted = {None: KINDS, "models": MODEL_KINDS}.get(kind, (kind,))
    parts = []
    for name, registry in REGISTRIES.items():
        found = [*_ours(name, registry)]
        if everything:
            found += _inherited(name, registry)
        parts += [part for part in found if part.kind in wanted]
    return sorted(
        parts, key=lambda p: (KINDS.index(p.kind), p.package in OPENMMLAB, p.name)
    )


def _ours(kind: str, registry: PartRegistry) -> Iterator[Part]:
    registry.import_from_location()
    for name, target in registry.module_dict.items():
        package = PLUGINS.owner(registry.name, name) or registry.scope
        yield _part(f"{registry.scope}.{name}", kind, package, target)


def _inherited(kind: str, registry: PartRegistry) -> Iterator[Part]:
    seen: set[str] = set()
    above = registry.parent
    while above is not None:
        above.import_from_location()
        for name, target in above.module_dict.items():
            if name not in seen:
                library = target.__module__.split(".")[0]
                package = library if library in OPENMMLAB else above.scope
                yield _part(name, kind, package, target)
        # A config means the nearest of two parts that share a name.
        seen |= set(above.module_dict)
        above = above.parent


def _part(name: str, kind: str, package: str, target: Callable) -> Part:
    if kind == "models":
        kind = model_kind(target)
    return Part(name, kind, package, summary_of(target), target)


def model_kind(target: Callable) -> str:
    """Return which of ``MODEL_KINDS`` a part of the registry of models is."""
    name = getattr(target, "__name__", "")
    rooms = target.__module__.split(".")
    # By name: a part that derives from mmseg's base has imported it already.
    bases = {base.__name__ for base in getattr(target, "__mro__", ())}
    if "BaseSegmentor" in bases:
        return "segmentors"
    if "BaseDecodeHead" in bases or name.endswith("Head"):
        return "heads"
    # mmseg's heads read `loss_name` of a loss, so every loss has one.
    if hasattr(target, "loss_name") or name.endswith("Loss") or "losses" in rooms:
        return "losses"
    if name.endswith("Neck") or "necks" in rooms:
        return "necks"
    # Ours and the plug-ins' networks that are nothing of the above are encoders.
    ours = rooms[0] not in OPENMMLAB and "BaseModule" in bases
    return "backbones" if ours or "backbones" in rooms else "other_models"


def summary_of(target: Callable) -> str:
    """Return the first sentence of a docstring in one line."""
    # Not inspect.getdoc: a class without a docstring would show that of its base.
    text = inspect.cleandoc(getattr(target, "__doc__", None) or "")
    return first_sentence(text.split("\n\n")[0])


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop, in one line."""
    sentence, stop, _ = " ".join(text.split()).partition(". ")
    return sentence + stop.strip()


def signatures(target: Callable) -> Iterator[tuple[str, inspect.Signature]]:
    """Yield a part's name with its arguments, then each base's that it hands them to.

    A base follows as long as ``**kwargs`` leads there.
    """
    kinds = inspect.getmro(target) if inspect.isclass(target) else ()
    takers = [k for k in kinds if "__init__" in vars(k) and k is not object]
    for taker in takers if kinds else [target]:
        takes = inspect.signature(taker)
        yield taker.__name__, takes
        if all(p.kind is not p.VAR_KEYWORD for p in takes.parameters.values()):
            return


def find_parts(name: str) -> list[Part]:
    """Return the parts of a name, ours first, with or without the scope.

    Raises:
        UsageError: if there is none; the message names the nearest names.
    """
    parts = list_parts(everything=True)
    wanted = name.removeprefix("mmseg.")
    found = [p for p in parts if wanted in (p.name, p.name.rpartition(".")[2])]
    if found:
        return [p for p in found if p.package not in OPENMMLAB] or found
    names = [p.name for p in parts] + [p.name.rpartition(".")[2] for p in parts]
    near = nearest(name, [*names, *config_names()], count=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    broken = "".join(
        f"\nThe plug-in {p.title} was left out: {p.error}" for p in PLUGINS.broken()
    )
    raise UsageError(
        f"no part, kind or config {name!r}.{hint} Kinds: {', '.join(KINDS)}, models, "
        f"configs, protocols{broken}"
    )


def config_summary(config: Path) -> str:
    """Return the first sentence of the comment at the top of a config."""
    comment = []
    for line in config.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    return first_sentence(" ".join(comment))
