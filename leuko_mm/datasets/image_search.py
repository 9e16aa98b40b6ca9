"""Which files of a folder are read as images, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from leuko_mm.datasets.images import IMAGE_SUFFIXES
from leuko_mm.files import printable

# Files that only one folder of results holds together: of a prediction and of each of
# its images, a training, a check, contact sheets, drawn mosaics.
OWN_RESULTS = (
    *(("predict.json",), ("record.json", "labels.png"), ("metrics.json", "cells.npz")),
    *(("check.html", "check.json"), ("browse.html",), ("mosaics.json",)),
)
PREPARED = ("dataset.json", "index.csv")
SHOWN = 3  # names of each kind in one line
# What is left out, one and many.
LINKED = ("linked folder", "linked folders")
CLOSED = ("folder that cannot be opened", "folders that cannot be opened")
OURS = ("folder of leuko's own results", "folders of leuko's own results")
HIDDEN = ("hidden image", "hidden images")
OTHER = ("file of another kind", "files of other kinds")
Kind = tuple[str, str]


class ImageSearch:
    """Searches folders for images, and keeps what it leaves out.

    Args:
        suffixes: of the files that are read, in small letters.
        avoid: a folder that is not searched and not named, as that of the results.
        recursive: enter the folders of a folder.
        own_results: they are read too, as where they are annotations.
    """

    def __init__(
        self,
        suffixes: Iterable[str] = IMAGE_SUFFIXES,
        *,
        avoid: Path | None = None,
        recursive: bool = True,
        own_results: bool = False,
    ):
        self.suffixes, self.recursive = frozenset(suffixes), recursive
        self.own_results = own_results
        self.avoided = Path(avoid).resolve() if avoid else None
        self._left_out: dict[Path, Kind] = {}
        self._ours: dict[Path, bool] = {}

    def below(self, folder: Path) -> Iterator[Path]:
        """Yield the images of a folder; a folder of our own results has none."""
        if self.in_own_results(folder):
            return
        for place, folders, names in os.walk(folder, onerror=self._closed):
            here = Path(place)
            folders[:] = [name for name in folders if self._enters(here / name)]
            yield from (here / name for name in names if self._is_image(here / name))

    def in_own_results(self, path: Path) -> bool:
        """Return whether a folder, or one above the path, holds our own results."""
        path = Path(os.path.abspath(path))
        for folder in reversed((path, *path.parents)):
            if folder not in self._ours:
                self._ours[folder] = self._is_ours(folder)
            if self._ours[folder]:
                self._leave(folder, OURS)
                return True
        return False

    def left_out(self, kind: Kind) -> list[Path]:
        """Return what was left out of one kind, as ``CLOSED``."""
        return sorted(path for path, found in self._left_out.items() if found == kind)

    def line(self, root: Path) -> str:
        """Return in one line what was left out, '' if nothing; names are below root."""
        clauses = []
        for kind in (LINKED, CLOSED, OURS, HIDDEN, OTHER):
            if paths := self.left_out(kind):
                names = [str(p).removeprefix(f"{root}{os.sep}") for p in paths]
                if kind == OTHER:  # the most frequent suffixes first
                    counts = Counter(path.suffix for path in paths)
                    names = [name for name, _ in counts.most_common() if name] or names
                shown = ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
                clauses.append(f"{len(paths)} {kind[len(paths) > 1]} ({shown})")
        return printable(f"left out: {', '.join(clauses)}") if clauses else ""

    def _leave(self, path: Path, kind: Kind) -> None:
        self._left_out[Path(os.path.abspath(path))] = kind

    def _closed(self, error: OSError) -> None:
        self._leave(error.filename, CLOSED)

    def _is_ours(self, folder: Path) -> bool:
        def has(place: Path, names: Iterable[str]) -> bool:
            return all(os.path.isfile(place / name) for name in names)

        if self.own_results:
            return False
        masks = folder.name == "masks" and has(folder.parent, PREPARED)
        return masks or any(has(folder, names) for names in OWN_RESULTS)

    def _enters(self, folder: Path) -> bool:
        seen = self.recursive and not folder.name.startswith(".")
        if not seen or (self.avoided and folder.resolve() == self.avoided):
            return False
        if folder.is_symlink():
            self._leave(folder, LINKED)
            return False
        return not self.in_own_results(folder)

    def _is_image(self, path: Path) -> bool:
        wanted = path.suffix.lower() in self.suffixes
        # A pipe could be read for ever.
        special = os.path.exists(path) and not os.path.isfile(path)
        if path.name.startswith("."):
            # The system's own files are no news; `._a.jpg` is a Mac's note on a.jpg.
            if wanted and not path.name.startswith("._"):
                self._leave(path, HIDDEN)
        elif special or not wanted:
            self._leave(path, OTHER)
        else:
            return True
        return False
