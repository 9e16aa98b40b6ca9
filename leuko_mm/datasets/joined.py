"""The prepared datasets that a run reads, one or several joined, and their parts.

``without_<name>`` is a split of joined datasets that no file holds: all cells of the
dataset of that name are tested, and all cells of the others are trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from leuko_mm.classes import IGNORE_LABEL
from leuko_mm.datasets.images import read_image, read_mask_file
from leuko_mm.datasets.prepared import (
    BY_MODEL,
    DatasetError,
    IndexRow,
    cell_rows,
    dataset_root,
    read_about,
    read_split,
)
from leuko_mm.errors import did_you_mean
from leuko_mm.files import sha256_of
from leuko_mm.transforms.red_cells import LEUKOCYTE, measure_red_cells

WITHOUT = "without_"
# Red cells are measured on this many images, evenly over the cells.
MOST_IMAGES = 30
FEWEST_CELLS = 20
# In the notes of a dataset whose images of one slide are not known to be.
NO_GROUPS = ("groups are not known", "no slide is known")


@dataclass(frozen=True)
class Source:
    """A prepared dataset of a run, with the cells that the run may show."""

    root: Path
    about: Mapping  # content of dataset.json
    rows: Sequence[IndexRow]
    parts: Mapping[str, str] | None  # by stem; None: without a split
    joined: bool  # one of several, whose stems and groups may coincide

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.about["name"]

    def of(self, part: str) -> list[IndexRow]:
        """Return the cells of a part; without a split all cells."""
        parts = self.parts
        return [r for r in self.rows if parts is None or parts.get(r.stem) == part]

    @property
    def split_sha256(self) -> str | None:
        """The sha256 of which cell is in which part, whatever the order of the file."""
        return None if self.parts is None else digest_of_parts(self.parts)

    def recorded(self, word: str) -> str:
        """Return a stem or group as results and samples name it."""
        return f"{self.name}/{word}" if self.joined else word


def dataset_names(cells: Mapping) -> list[str]:
    """Return the datasets that the config of a ``LeukocyteDataset`` names."""
    name, names = cells.get("name"), cells.get("names")
    if (name is None) == (not names) or isinstance(names, str):
        raise DatasetError(
            f"the cells have name={name!r} and names={names!r}; give the name of one "
            "prepared dataset, or names=[...] of several"
        )
    return list(names) if name is None else [name]


def read_sources(cells: Mapping) -> list[Source]:
    """Return the datasets that the config of a ``LeukocyteDataset`` reads.

    Raises:
        DatasetError: if one is not prepared or lacks the split, if two have one name,
            or if ``without_<name>`` names none of them.
    """
    roots, split = list(map(dataset_root, dataset_names(cells))), cells.get("split")
    abouts = {about["name"]: about for about in map(read_about, roots)}
    if len(abouts) < len(roots):
        raise DatasetError(
            f"{', '.join(map(str, roots))}: two of the joined datasets have one name; "
            'name each once, or give one another "name" in its dataset.json'
        )
    joined, known = len(roots) > 1, [WITHOUT + name for name in abouts]
    if is_virtual(split, joined=joined) and split not in known:
        raise DatasetError(
            f"the split {split!r} leaves out none of the joined datasets"
            f"{did_you_mean(split, known)}; there are: {', '.join(known)}"
        )
    sources = []
    for root, (name, about) in zip(roots, abouts.items(), strict=True):
        own = name if joined else None
        parts = read_parts(root, split, joined_as=own) if split else None
        rows = cell_rows(root, other=cells.get("other", False))
        if cells.get("drawn_only"):
            tested = {stem for stem, part in (parts or {}).items() if part == "test"}
            rows = [r for r in rows if r.outline != BY_MODEL or r.stem in tested]
        sources.append(Source(root, about, rows, parts, joined))
    return sources


def is_virtual(split: str | None, *, joined: bool) -> bool:
    """Tell whether no file holds a split of one dataset, or of several joined."""
    return joined and split is not None and split.startswith(WITHOUT)


def read_parts(root: Path, split: str, *, joined_as: str | None) -> dict[str, str]:
    """Return {stem: part} of a split; ``joined_as``: its name where it is joined."""
    if not is_virtual(split, joined=joined_as is not None):
        return read_split(root, split)
    part = "test" if split == f"{WITHOUT}{joined_as}" else "train"
    return {row.stem: part for row in cell_rows(root, other=True)}


def digest_of_parts(parts: Mapping[str, str]) -> str:
    """Return the sha256 of {stem: part}."""
    return sha256_of("\n".join(f"{stem} {parts[stem]}" for stem in sorted(parts)))


def data_record(sources: Sequence[Source]) -> dict:
    """Return what results and sidecar say of the data.

    ``dataset``, ``sha256`` and ``split_sha256`` of joined datasets are made of those
    in ``datasets``.
    """
    each = [dict(name=s.name, sha256=s.about["sha256"]) for s in sources]
    for one, source in zip(each, sources, strict=True):
        if source.parts is not None:
            one["split_sha256"] = source.split_sha256
    if len(each) == 1:
        return dict(dataset=each[0].pop("name"), **each[0])
    record = dict(dataset="+".join(one["name"] for one in each))
    for key in list(each[0])[1:]:
        record[key] = sha256_of(" ".join(one[key] for one in each))
    return dict(**record, datasets=each)


def unknown_groups(
    sources: Sequence[Source], train_groups: Sequence[str] | None
) -> str | None:
    """Say where a test may show slides that were trained on; None where it cannot.

    ``train_groups``: of these datasets, that were trained on; None: not known.
    """
    names = [
        source.name
        for source in sources
        if source.of("train")
        and source.of("test")
        and any(words in note for note in source.about["notes"] for words in NO_GROUPS)
    ]
    if not names or train_groups == []:
        return None
    return (
        f"The slides of {' and '.join(names)} are not known: training and test may "
        "share some, and the scores may be too high."
    )


def measured_red_cell(
    root: Path, rows: Sequence[IndexRow], *, cell_px: float | None
) -> float | None:
    """Return the diameter in pixels of a red cell when the network sees it.

    None where fewer than 20 red cells are seen in all images together.

    Args:
        root: the prepared dataset.
        rows: cells of it.
        cell_px: the side that an image of a cell is resized to; None leaves it.
    """
    if len(rows) > MOST_IMAGES:
        places = np.linspace(0, len(rows) - 1, MOST_IMAGES)
        rows = [rows[round(place)] for place in places]
    diameters, counts = [], []
    for row in rows:
        measured = measure_red_cells(read_image(root / row.image))
        if measured:
            to_network = cell_px / row.width if cell_px else 1.0
            diameters.append(measured.diameter * to_network)
            counts.append(measured.count)
    if sum(counts) < FEWEST_CELLS:
        return None
    return round(float(np.median(np.repeat(diameters, counts))), 2)


def prepared_red_cell(source: Source, given: Mapping[str, float]) -> float:
    """Return the diameter of a red cell in a dataset's cells, given or measured.

    Cells of every part are looked at. Where too few red cells are seen, the size of the
    outlined leukocytes tells it.
    """
    number = given.get(source.name)
    if number is None:
        number = _measured(source.root.absolute(), source.about["sha256"])
    if not isinstance(number, (int, float)) or not number > 0:
        option = f"dataset.red_cell_px.{source.name}"
        raise DatasetError(
            f"{source.root}: a red cell is {number} pixels wide, expected a number "
            "above 0 (None: too few are seen in its cells); measure one and add "
            f"--cfg-options train_dataloader.{option}=PIXELS "
            f"test_dataloader.{option}=PIXELS"
        )
    return float(number)


def common_red_cell(first: Source, given: Mapping, *, cell_px: float) -> float:
    """Return the diameter of a red cell where the first's cells fill tiles."""
    width = float(np.median([row.width for row in cell_rows(first.root, other=True)]))
    return prepared_red_cell(first, given) * cell_px / width


@cache
def _measured(root: Path, digest: str) -> float | None:
    rows = cell_rows(root)
    return measured_red_cell(root, rows, cell_px=None) or _by_outlines(root, rows)


def _by_outlines(root: Path, rows: Sequence[IndexRow]) -> float | None:
    """Return the diameter that a red cell has next to leukocytes of this size."""
    diameters = []
    for row in rows[:: max(1, len(rows) // MOST_IMAGES)]:
        labels = read_mask_file(root / row.mask).values
        if area := int(((labels > 0) & (labels < IGNORE_LABEL)).sum()):
            diameters.append(2 * np.sqrt(area / np.pi))
    return float(np.median(diameters)) / LEUKOCYTE if diameters else None
