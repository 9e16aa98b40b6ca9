"""Files that appear whole or not at all, their sha256, locks and printable names.

And where the configs are.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leuko_mm.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None

CHUNK = 1 << 20  # bytes
MOST_OF_A_NAME = 255  # bytes that usual file systems take
# Controls of the writing direction, which can hide a file's ending.
BIDI_CONTROLS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def config_home() -> Path:
    """Return the folder of the configs: in the wheel, or beside the package."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def real_path(path: Path) -> Path:
    """Return the absolute path behind all links; of a loop of links, the path itself.

    ``Path.resolve`` raises a RuntimeError there, before Python 3.13.
    """
    return Path(os.path.realpath(path))


def fitting_name(stem: str, suffix: str) -> str:
    """Return stem and suffix as a file's name, the stem cut if it would be too long.

    The sha256 tells names apart that are cut alike.
    """
    name, room = os.fsencode(stem), MOST_OF_A_NAME - len(os.fsencode(suffix))
    if len(name) > room:
        mark = "-" + hashlib.sha256(name).hexdigest()[:12]
        stem = name[: room - len(mark)].decode(errors="ignore") + mark
    return stem + suffix


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write, which replaces ``path`` once it is complete.

    Its name is always ``.<name>.part``, so that the next run replaces what a killed
    one left. Two processes that write one file at once need a lock.
    """
    path = Path(path)
    part = path.with_name(fitting_name(f".{path.name}", ".part"))
    try:
        yield part
        # Without it a power loss may keep the new name and not the content.
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one move; what is no text, as in names, is escaped."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_any_json(path: Path, *, encoding: str = "utf-8") -> Any:
    """Return the content of a JSON file from anywhere.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON, or nested without end.
    """
    try:
        return json.loads(Path(path).read_text(encoding=encoding))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Replace a CSV file in one move; what is no text, as in names, is escaped."""
    options = dict(newline="", encoding="utf-8", errors="backslashreplace")
    with replacing(path) as part, open(part, "w", **options) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def replace_folder(place: Path, building: Path) -> None:
    """Move a new folder to ``place``; the old one is removed only after that.

    Args:
        place: need not exist.
        building: the new folder, beside it, as ``tempfile.mkdtemp`` makes it with the
            prefix ``.<name>-``.
    """
    building.chmod(0o755)
    aside = building.with_name(f"{building.name}-old")
    if place.exists():
        os.replace(place, aside)
    try:
        os.replace(building, place)
    except BaseException:
        if aside.exists() and not place.exists():
            os.replace(aside, place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def replacing_folder(place: Path) -> Iterator[Path]:
    """Yield a folder to fill, which replaces ``place`` once it is complete."""
    place = real_path(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        yield building
        replace_folder(place, building)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def restore_folder(place: Path) -> None:
    """Put back the old folder where ``replace_folder`` was killed between two moves."""
    if not place.exists():
        # The eight characters of `tempfile.mkdtemp` are letters, digits and `_`.
        pattern = f".{glob.escape(place.name)}-{'[!-]' * 8}-old"
        for aside in sorted(place.parent.glob(pattern))[-1:]:
            os.replace(aside, place)


def refuse_others(out: Path, what: str, ours: Iterable[str], *, force: bool) -> None:
    """Refuse a folder of other things than ours, and ours without ``force``.

    Args:
        what: is in a folder of ours, such as "a check".
        ours: names that such a folder may have in it.

    Raises:
        UsageError: naming the folder.
    """
    if not out.exists():
        return
    there = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    if not out.is_dir() or there - set(ours):
        raise UsageError(
            f"{out} holds something else than {what}; choose another --out"
        )
    if there and not force:
        raise UsageError(
            f"{out} holds {what}; add --force to replace it, or choose another --out"
        )


def read_json(file: Path, *, schema: int, default: Any = None, advice: str = "") -> Any:
    """Return the content of a JSON file of ours.

    Args:
        schema: that it must have.
        default: returned where there is no file.
        advice: what to do, for the message.

    Raises:
        UsageError: if it is damaged or of another schema, or not there and has no
            default.
    """
    if default is not None and not file.is_file():
        return default
    try:
        content = read_any_json(file)
        if content["schema"] == schema:
            return content
        fault = f"schema {content['schema']!r}, this version reads {schema}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        fault = str(error)
    raise UsageError(f"{file} cannot be read ({fault}){advice}")


def sha256_of(content: bytes | str) -> str:
    """Return the sha256 of bytes, or of a text as UTF-8, in hexadecimal."""
    if isinstance(content, str):
        content = content.encode()
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock that ends with this process; yield False where another holds it.

    Where the system or the file system has no locks, it yields True.

    Args:
        path: a folder, or the lock's file, which is made and stays.
        wait: wait for the lock instead of giving up.
    """
    if fcntl is None:
        yield True
        return
    path = Path(path)
    if path.is_dir():
        descriptor = os.open(path, os.O_RDONLY)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            mine = True
        except BlockingIOError:
            mine = False
        except OSError:
            mine = True
        yield mine
    finally:
        os.close(descriptor)


def printable(text: str) -> str:
    r"""Return a file name with bytes that are no text and control characters replaced.

    Examples:
        >>> printable("a\x1b[2Jb\udcff.png")
        'a\ufffd[2Jb\ufffd.png'
    """
    return "".join("\ufffd" if _is_odd(c) else c for c in text)


def _is_odd(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or character in BIDI_CONTROLS
    )
