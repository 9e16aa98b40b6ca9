"""Which parts a config of unknown origin may ask for: registered ones, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# A registered part by its bare name, or one of these two rooms. mmengine would import
# and call anything that a name with dots leads to, ``os.system`` included.
PART_NAME = re.compile(r"(?:leuko_mm\.|mmseg\.)?[A-Za-z]\w*")


def foreign_parts(recipe: Any) -> list:
    """Return every ``type`` of a config that is not the name of a registered part.

    Example:
        >>> foreign_parts(dict(type="leuko_mm.VGG", norm=[dict(type="os.system")]))
        ['os.system']
    """
    if isinstance(recipe, Mapping):
        own = [recipe["type"]] if "type" in recipe else []
        own = [n for n in own if not isinstance(n, str) or not PART_NAME.fullmatch(n)]
        return own + [n for value in recipe.values() for n in foreign_parts(value)]
    if isinstance(recipe, (list, tuple)):
        return [name for value in recipe for name in foreign_parts(value)]
    return []
