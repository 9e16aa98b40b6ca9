"""Find a part of a model, and tell whether it starts from trained weights."""

from __future__ import annotations

from torch import nn


def find_part(model: nn.Module, name: str) -> nn.Module:
    """Return the submodule of that name.

    Args:
        model: not wrapped for data-parallel training.
        name: attribute of the model, dots for nesting.

    Raises:
        ValueError: if there is none; the message lists what there is.
    """
    try:
        return model.get_submodule(name)
    except AttributeError:
        children = ", ".join(name for name, _ in model.named_children())
        raise ValueError(
            f"the model has no part {name!r}; its parts are: {children}"
        ) from None


def is_pretrained(model: nn.Module, name: str) -> bool:
    """Whether a part is initialised from a file, by its own recipe or one above it.

    A recipe is an ``init_cfg``, or a list of them; one that names a ``checkpoint``
    reads a file.

    Args:
        model: not wrapped for data-parallel training.
        name: as for ``find_part``.

    Raises:
        ValueError: if there is no such part.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2))
        >>> is_pretrained(model, "0")
        False
        >>> model[0].init_cfg = dict(type="Pretrained", checkpoint="encoder.pth")
        >>> is_pretrained(model, "0")
        True
    """
    find_part(model, name)
    names = name.split(".")
    above = [".".join(names[:end]) for end in range(len(names) + 1)]
    return any(_reads_file(model.get_submodule(path)) for path in above)


def _reads_file(module: nn.Module) -> bool:
    recipe = getattr(module, "init_cfg", None) or {}
    recipes = recipe if isinstance(recipe, (list, tuple)) else [recipe]
    return any(r.get("checkpoint") for r in recipes)
