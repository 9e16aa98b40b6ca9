"""Files of the user's that a config names in ``custom_imports``, and their parts."""

from __future__ import annotations

import ast
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from leuko_mm.errors import UsageError
from leuko_mm.files import real_path, sha256_of_file
from leuko_mm.registry import PLUGINS, SCOPE

# In a config: {file: sha256} of what ``custom_imports`` brought. A name with _ is no
# key of a config; ``config_hash`` adds it.
IMPORTED = "_imported"
# Which file of another config's this process has in place of one of its own.
OTHER_FILE = "_other_file"
KEPT = (IMPORTED, OTHER_FILE)
INSTALLED = "site-packages"
ALLOW_FAILED = "allow_failed_imports"
_READ: set[str] = set()  # files of the configs of this process


def import_own(config: Config, path: Path) -> None:
    """Import what ``custom_imports`` names, and note the sha256 of its files.

    The modules are looked for beside the config and in the current folder, too.

    Raises:
        UsageError: if one of them cannot be imported, or is not the user's own file.
            What another config has brought is refused by ``check_imported``.
    """
    imports = config.get("custom_imports")
    if not imports:
        return
    names = _module_names(imports)
    # Ours first, so that no part of the user's takes the name of one.
    for node in PLUGINS.nodes:
        node.import_own_parts()
    folders = list(dict.fromkeys([real_path(path).parent, Path.cwd()]))
    # Last, so that no file of the user's hides a library.
    sys.path += [str(folder) for folder in folders if str(folder) not in sys.path]
    files = []
    for name in names:
        try:
            import_modules_from_strings([name], imports.get(ALLOW_FAILED, False))
        # It is a program of the user's: it may raise anything.
        except (Exception, SystemExit) as error:
            raise UsageError(_why(error, name, folders)) from error
        own = [file for file in _places(name, folders) if file.is_file()]
        # An installed one, whose own imports are no files of the user's.
        other = getattr(sys.modules.get(name), "__file__", None)
        if wrong := _other_module(name, folders):
            # leuko compare reads all configs, and each run has a process of its own.
            if other not in _READ:
                raise UsageError(wrong)
            config[OTHER_FILE] = wrong
        _READ.update([other] if other else [])
        files += own or [Path(file) for file in (other,) if file]
    config[IMPORTED] = {
        _shown(file, folders): sha256_of_file(file)
        for file in _with_own_imports(files, folders)
    }


def _module_names(imports: Any) -> list[str]:
    """Return the modules that a config's ``custom_imports`` names."""
    keyed = isinstance(imports, Mapping)
    names = imports.get("imports") if keyed else imports
    names = [names] if isinstance(names, str) else names
    listed = isinstance(names, (list, tuple)) and all(isinstance(n, str) for n in names)
    if not keyed or not listed or set(imports) - {"imports", ALLOW_FAILED}:
        given = dict(imports) if keyed else imports
        shown = list(names) if listed else ["my_loss"]
        raise UsageError(
            f"custom_imports is {given!r}; expected dict(imports={shown!r})"
        )
    for name in names:
        if name.startswith(".") or name.endswith(".py") or set(name) & set("/\\"):
            path = PureWindowsPath(name.removesuffix(".py"))
            inside = not path.anchor and not name.startswith("..")
            meant = ".".join(path.parts) if inside else path.name
            raise UsageError(
                f"custom_imports names {name!r}; write it as Python imports it from "
                f"the config's folder, or from the current one: {meant.strip('.')!r}"
            )
    return list(names)


def _why(error: BaseException, name: str, folders: Sequence[Path]) -> str:
    """Say why a module cannot be imported, and in which line of the user's."""
    if isinstance(error, ImportError):
        error = error.__context__ or error  # mmengine's own says less
    where = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        file, top = Path(frame.f_code.co_filename), frame.f_globals.get("__name__", "")
        own = INSTALLED not in file.parts and not set(folders).isdisjoint(file.parents)
        top = top.split(".")[0]
        if top != SCOPE and (own or top == name.split(".")[0]):
            where = f"{file}, line {line}"
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    if isinstance(error, SyntaxError):
        text, where = error.msg, f"{error.filename}, line {error.lineno}"
    elif where is None and isinstance(error, ImportError):
        places = ", ".join(map(str, folders))
        where = f"looked in {places} and among the installed packages"
    text = f"custom_imports {name!r}: {type(error).__name__}: {text}"
    text += f" ({where})" if where else ""
    if "is already registered" in text:
        text += (
            "; give your class another name. Two files of your own that have the same "
            "name for a class can be compared one at a time"
        )
    return text


def check_imported(config: Config) -> None:
    """Refuse to run with a file of another config that this process read before."""
    if config.get(OTHER_FILE):
        raise UsageError(config[OTHER_FILE])


def _other_module(name: str, folders: Sequence[Path]) -> str | None:
    """Say which module of that name is there in place of a file of the user's."""
    module = sys.modules.get(name)
    for folder in folders if module else ():
        *_, file, package = _places(name, [folder])
        own = [real_path(each) for each in (file, package) if each.is_file()]
        used = getattr(module, "__file__", None)
        if own and (used is None or real_path(Path(used)) not in own):
            return (
                f"custom_imports {name!r} is {used or 'a module of Python itself'}, "
                f"and not {own[0]}: rename your file"
            )
        if own:
            break
    return None


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
    for node in ast.walk(ast.parse(file.read_bytes(), str(file))):
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


def check_scopes(config: Config, *, known: Sequence[str] = ()) -> None:
    """Refuse a part of ours, or of the user's, that is named without ``leuko_mm.``.

    MMSegmentation looks such a name up among its own parts alone. The names in
    ``known`` are meant so, such as that of a setting's loss.

    Raises:
        UsageError: naming what to write.
    """
    names = set(_bare_types([*_outside_of_datasets(config)])) - set(known)
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
