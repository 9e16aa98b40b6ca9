"""Files of the user's that a config names in ``custom_imports``, and their parts."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from leuko_mm.errors import UsageError
from leuko_mm.files import real_path, sha256_of_file
from leuko_mm.registry import PLUGINS, SCOPE

# In a config: {file: sha256} of what ``custom_imports`` brought. A name with _ is no
# key of a config; ``config_hash`` adds it.
IMPORTED = "_imported"
INSTALLED = "site-packages"


def import_own(config: Config, path: Path) -> None:
    """Import what ``custom_imports`` names, and note the sha256 of its files.

    The modules are looked for beside the config and in the current folder, too.

    Raises:
        ImportError: if one of them cannot be imported.
    """
    imports = config.get("custom_imports")
    if not imports:
        return
    # Ours first, so that no part of the user's takes the name of one.
    for node in PLUGINS.nodes:
        node.import_own_parts()
    folders = list(dict.fromkeys([real_path(path).parent, Path.cwd()]))
    # Last, so that no file of the user's hides a library.
    sys.path += [str(folder) for folder in folders if str(folder) not in sys.path]
    try:
        import_modules_from_strings(**imports)
    except ImportError as error:
        places = ", ".join(map(str, folders))
        raise ImportError(
            f"{error}: {error.__context__} (looked in {places} and among the "
            "installed packages)"
        ) from error
    names = imports["imports"]
    files = []
    for name in [names] if isinstance(names, str) else names:
        own = [file for file in _places(name, folders) if file.is_file()]
        # An installed one, whose own imports are no files of the user's.
        other = getattr(sys.modules.get(name), "__file__", None)
        files += own or [Path(file) for file in (other,) if file]
    config[IMPORTED] = {
        _shown(file, folders): sha256_of_file(file)
        for file in _with_own_imports(files, folders)
    }


def _places(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield where the files that the import of a dotted name runs may be."""
    parts = name.split(".")
    for folder in folders:
        for count in range(len(parts)):
            place = folder.joinpath(*parts[: count + 1])
            yield from (place.with_suffix(".py"), place / "__init__.py")


def _shown(file: Path, folders: Sequence[Path]) -> str:
    # The same wherever the environment is, also below one of the folders.
    if INSTALLED in file.parts:
        parts = file.parts
        return "/".join(parts[len(parts) - parts[::-1].index(INSTALLED) :])
    above = [folder for folder in folders if folder in file.parents]
    return file.relative_to(above[0]).as_posix() if above else file.name


def _with_own_imports(files: Sequence[Path], folders: Sequence[Path]) -> list[Path]:
    """Return files, and those that they import from folders of the user's."""
    found, waiting = [], list(files)
    while waiting:
        file = waiting.pop(0)
        if file in found or not file.is_file():
            continue
        found.append(file)
        own = any(folder in file.parents for folder in folders)
        if own and INSTALLED not in file.parts:
            waiting += _imports_of(file, folders)
    return found


def _imports_of(file: Path, folders: Sequence[Path]) -> Iterator[Path]:
    for node in ast.walk(ast.parse(file.read_bytes())):
        places, names = folders, []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            places = [file.parents[node.level - 1]] if node.level else folders
            base = f"{node.module}." if node.module else ""
            names = [base + alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] != SCOPE:
                yield from _places(name, places)


def check_scopes(config: Config) -> None:
    """Refuse a part of ours, or of the user's, that is named without ``leuko_mm.``.

    MMSegmentation looks such a name up among its own parts alone.

    Raises:
        UsageError: naming what to write.
    """
    names = set(_bare_types([*_outside_of_datasets(config)]))
    for node in PLUGINS.nodes:
        node.import_from_location()
        for name in sorted(names & set(node.module_dict)):
            above = node.parent
            while above is not None and name not in above.module_dict:
                above = above.parent
            ours = f"type={f'{SCOPE}.{name}'!r}"
            if above is None:
                raise UsageError(
                    f"the config says type={name!r}; a part of leuko_mm or of your own "
                    f"is named with its prefix: {ours}"
                )
            # Without an import it is the other one that the config means.
            if config.get(IMPORTED):
                raise UsageError(
                    f"the config says type={name!r}, which is {above.scope}'s part and "
                    f"not the one that custom_imports brought: write {ours} for that, "
                    f"or type={f'{above.scope}.{name}'!r}"
                )


def _outside_of_datasets(config: Config) -> Iterator[Any]:
    """Yield a config's values; of a dataset, whose inner parts are ours, its type."""
    for value in config.to_dict().values():
        dataset = value.get("dataset") if isinstance(value, Mapping) else None
        if isinstance(dataset, Mapping):
            value = {**value, "dataset": dict(type=dataset.get("type"))}
        yield value


def _bare_types(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        name = value.get("type")
        if isinstance(name, str) and "." not in name and "_scope_" not in value:
            yield name
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return
    for inner in value:
        yield from _bare_types(inner)
