"""Which files of a folder are read as images, and what is left out."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from leuko_mm.datasets.images import IMAGE_SUFFIXES
from leuko_mm.files import printable

# Files that only one folder of results holds together: of a prediction and of each of
# its images, a training, a check, contact sheets, drawn mosaics.
OWN_RESULTS = (
    ("predict.json",),
    ("record.json", "labels.png"),
    ("metrics.json", "cells.npz"),
    ("check.html", "check.json"),
    ("browse.html",),
    ("mosaics.json",),
)
PREPARED = ("dataset.json", "index.csv")
SHOWN = 3  # names of each kind in one line
LINKED, CLOSED, OURS, HIDDEN, OTHER = range(5)
WORDS = {
    LINKED: ("linked folder", "linked folders"),
    CLOSED: ("folder that cannot be opened", "folders that cannot be opened"),
    OURS: ("folder of leuko's own results", "folders of leuko's own results"),
    HIDDEN: ("hidden image", "hidden images"),
    OTHER: ("file of another kind", "files of other kinds"),
}


class ImageSearch:
    """Searches folders for images, and keeps what it leaves out.

    Args:
        suffixes: of the files that are read, in small letters.
        avoid: a folder that is not searched and not named, as that of the results.
        recursive: enter the folders of a folder.
        own_masks: masks of a dataset are no results, as where annotations are read.
    """

    def __init__(
        self,
        suffixes: Iterable[str] = IMAGE_SUFFIXES,
        *,
        avoid: Path | None = None,
        recursive: bool = True,
        own_masks: bool = False,
    ):
        self.suffixes, self.recursive = frozenset(suffixes), recursive
        self.avoided = Path(avoid).resolve() if avoid else None
        self.own_masks = own_masks
        self.left_out: dict[Path, int] = {}
        self._ours: dict[Path, bool] = {}

    def below(self, folder: Path) -> Iterator[Path]:
        """Yield the images of a folder; a folder of our own results has none."""
        if self.in_own_results(folder):
            return
        for place, folders, names in os.walk(folder, onerror=self._closed):
            here = Path(place)
            folders[:] = [name for name in folders if self._enters(here / name)]
            for name in names:
                if self._is_image(here / name):
                    yield here / name

    def in_own_results(self, path: Path) -> bool:
        """Return whether a folder, or one above the path, holds our own results."""
        path = _absolute(path)
        for folder in (path, *path.parents):
            if folder not in self._ours:
                self._ours[folder] = holds_own_results(folder) or (
                    not self.own_masks and _holds_own_masks(folder)
                )
            if self._ours[folder]:
                self.left_out[folder] = OURS
                return True
        return False

    def closed(self) -> list[Path]:
        """Return the folders that could not be opened."""
        return self._of_kind(CLOSED)

    def linked(self) -> list[Path]:
        """Return the links to folders, which were not entered."""
        return self._of_kind(LINKED)

    def _of_kind(self, kind: int) -> list[Path]:
        return sorted(path for path, found in self.left_out.items() if found == kind)

    def line(self, root: Path) -> str:
        """Return in one line what was left out, '' if nothing; names are below root."""
        clauses = []
        for kind, words in WORDS.items():
            if paths := self._of_kind(kind):
                names = [_name_below(root, path) for path in paths]
                if kind == OTHER:  # the most frequent suffixes first
                    counts = Counter(path.suffix for path in paths)
                    names = [name for name, _ in counts.most_common() if name] or names
                more = ", ..." if len(names) > SHOWN else ""
                shown = f" ({', '.join(names[:SHOWN])}{more})" if names else ""
                clauses.append(f"{len(paths)} {words[len(paths) > 1]}{shown}")
        return printable(f"left out: {', '.join(clauses)}") if clauses else ""

    def _closed(self, error: OSError) -> None:
        self.left_out[_absolute(Path(error.filename))] = CLOSED

    def _enters(self, folder: Path) -> bool:
        if not self.recursive or folder.name.startswith("."):
            return False
        if self.avoided and folder.resolve() == self.avoided:
            return False
        if folder.is_symlink():
            self.left_out[_absolute(folder)] = LINKED
            return False
        return not self.in_own_results(folder)

    def _is_image(self, path: Path) -> bool:
        wanted = path.suffix.lower() in self.suffixes
        if path.name.startswith("."):
            # The system's own files are no news; `._a.jpg` is a Mac's note on a.jpg.
            if wanted and not path.name.startswith("._"):
                self.left_out[_absolute(path)] = HIDDEN
            return False
        if not wanted or _is_special(path):
            self.left_out[_absolute(path)] = OTHER
            return False
        return True


def holds_own_results(folder: Path) -> bool:
    """Return whether ``leuko`` wrote its results into a folder."""
    return any(_has(folder, names) for names in OWN_RESULTS)


def _holds_own_masks(folder: Path) -> bool:
    """Return whether they are the masks of a prepared dataset."""
    return folder.name == "masks" and _has(folder.parent, PREPARED)


def _has(folder: Path, names: Iterable[str]) -> bool:
    return all(os.path.isfile(folder / name) for name in names)


def _absolute(path: Path) -> Path:
    # Links are not followed: a file has the name that the user gives it.
    return Path(os.path.abspath(path))


def _name_below(root: Path, path: Path) -> str:
    if path != root and path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return str(path)


def _is_special(path: Path) -> bool:
    """Return whether it is a pipe or a device, which could be read for ever."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # reading it will say why
        return False
