"""Where the configs are, in a clone and in an installed package."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import leuko_mm
from leuko_mm.errors import UsageError
from leuko_mm.nearest import did_you_mean


def config_home() -> Path:
    """Return the folder of the configs: in the wheel, or beside the package."""
    package = Path(leuko_mm.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find_config(name: str) -> Path:
    """Return a config's file, given a path or a name such as ``cbam_unet``.

    Raises:
        UsageError: if there is none; the message lists the names.
    """
    given = Path(name)
    if given.is_file():
        return given
    home = config_home()
    named = home / given.with_suffix(".py")
    # A clone's path also works where only the wheel is installed.
    inside = (
        home.joinpath(*given.parts[1:]) if given.parts[:1] == ("configs",) else None
    )
    for path in (named, inside):
        if path is not None and path.is_file():
            return path
    known = config_names()
    methods = [one for one in known if "/" not in one]
    raise UsageError(
        f"no config {name!r}{_meant(given, known)}; there are: {', '.join(methods)}, "
        "and more in folders: leuko list configs"
    )


def _meant(given: Path, known: Iterable[str]) -> str:
    """Guess by the name alone where the folder does not help."""
    stem = given.with_suffix("").as_posix().removeprefix("configs/")
    return did_you_mean(stem, known) or did_you_mean(given.stem, known)


def config_names() -> dict[str, Path]:
    """Return the configs that ``leuko train`` takes by name, with their files."""
    home = config_home()
    files = [path.relative_to(home) for path in sorted(home.rglob("*.py"))]
    return {
        file.with_suffix("").as_posix(): home / file
        for file in files
        if file.parts[0] != "_base_" and file.name != "__init__.py"
    }


def protocol_names() -> list[str]:
    """Return the protocols that ``--protocol`` accepts."""
    return sorted(path.stem for path in protocol_folder().glob("*.py"))


def protocol_folder() -> Path:
    """Return the folder of the protocols' files."""
    return config_home() / "_base_" / "protocols"
