"""A session of `leuko app` on disk: images, what was found in them, and corrections.

A session is a folder:

``smears/``           the images, under names that are made here
``found/``            what ``leuko predict smears --out found`` writes
``session.json``      the name of the session, and those under which images came
``corrections.json``  what a person said of cells, in order; replaced as a whole
"""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
import statistics
import tempfile
import threading
import time
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from leuko_mm.classes import BACKGROUND, CLASS_NAMES, IGNORE_LABEL, OTHER, UNSURE
from leuko_mm.datasets.images import IMAGE_SUFFIXES
from leuko_mm.errors import LeukoError, UsageError
from leuko_mm.files import (
    printable,
    read_any_json,
    read_json,
    sha256_of,
    write_table,
    write_text,
)
from leuko_mm.inference.cells import DifferentialRow
from leuko_mm.inference.exchange import inside_box, write_coco, write_geojson
from leuko_mm.inference.folder_run import COCO, GEOJSON, STATE, STATE_SCHEMA
from leuko_mm.inference.outputs import (
    CELLS,
    DIFFERENTIAL,
    DIGITS,
    IMAGE_TABLE,
    OVERLAY,
    PREDICTED,
    RECORD,
    answer_of,
    count_table,
    cutout_path,
    folder_of,
    harmless,
    predict_report,
    write_tables,
)
from leuko_mm.report.html import number
from leuko_mm.report.overlay import save_palette_png
from leuko_mm.report.predict_page import (
    THUMBNAIL_SIDE,
    LinkedPicture,
    PredictReport,
    render_session_page,
    render_summary,
)

SESSION, CORRECTIONS = "session.json", "corrections.json"
SMEARS, FOUND, PART = "smears", "found", ".upload"
SCHEMA = 1
# Letters of names that came from outside: of a file here and on the page, and of a
# session.
MOST_LETTERS, MOST_SHOWN, MOST_OF_A_TITLE = 40, 200, 80
# What a person can say of a cell besides the classes, as in saved corrections.
NO_CELL, IGNORE = CLASS_NAMES[BACKGROUND], "ignore"
MASKS, SUMMARY, NAMES, TRAINING = "masks", "summary.html", "names.csv", "training.json"
TABLES = (CELLS, DIFFERENTIAL, IMAGE_TABLE)
ALL = "all.zip"
EXPORTS = (*TABLES, NAMES, COCO, f"{GEOJSON}.zip", f"{MASKS}.zip", SUMMARY, ALL)
CROP = 2.0  # side of what is cut out for a training, in cells
# What a file raises that is JSON, but not of ours.
MISFITS = (AttributeError, IndexError, KeyError, TypeError, ValueError)
RUNS_KEPT = 16  # hexadecimal digits of the hash of an outline


class Session:
    """One folder of images, their cells, and what a person said of them.

    Its methods may be called from several threads.

    Args:
        folder: of the session; ``create`` makes one.
    """

    def __init__(self, folder: Path):
        self.folder, self.id = Path(folder), Path(folder).name
        self.smears, self.found = self.folder / SMEARS, self.folder / FOUND
        self.lock = threading.RLock()
        about = read_json(self.folder / SESSION, schema=SCHEMA)
        self.name, self.created = about["name"], about["created"]
        self._shown: dict[str, str] = about["images"]
        self.refused: dict[str, str] = about["refused"]
        corrections = read_json(
            self.folder / CORRECTIONS, schema=SCHEMA, default={"corrections": []}
        )
        self._said: list[dict] = corrections["corrections"]
        self._records: dict[str, tuple[tuple, dict]] = {}
        for left in self.folder.glob(f"{PART}*"):  # of a killed process
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    @classmethod
    def create(cls, root: Path, name: str) -> Session:
        """Make a session in the folder of all sessions."""
        folder = Path(root) / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        (folder / SMEARS).mkdir(parents=True)
        about = dict(name=_title(name) or folder.name, images={}, refused={})
        created = time.strftime("%Y-%m-%d %H:%M")
        _write(folder / SESSION, {**about, "created": created})
        return cls(folder)

    def rename(self, name: str) -> None:
        """Give the session another name; its folder keeps its own.

        Raises:
            UsageError: if the name is empty.
        """
        shown = _title(name)
        if not shown:
            raise UsageError("expected a name of the session, got an empty one")
        with self.lock:
            self.name = shown
            self._save_about()

    # Images

    @property
    def images(self) -> dict[str, str]:
        """The names under which images came, by the names of their files."""
        # Somebody may remove the folder meanwhile; the other sessions go on.
        there = self.smears.iterdir() if self.smears.is_dir() else ()
        # Systems put hidden files of their own into folders.
        files = sorted(path.name for path in there if path.name[0] != ".")
        return {file: self._shown.get(file, file) for file in files}

    def part_file(self) -> Path:
        """Return a file that does not exist yet, for an image that is received."""
        return self.folder / f"{PART}-{secrets.token_hex(8)}"

    def add_image(self, part: Path, name: str) -> str:
        """Take a received file in, under a name that is made here; return that."""
        shown = clean(name)
        suffix = Path(shown).suffix.lower()
        stem = "".join(c if c.isalnum() or c == "-" else "_" for c in Path(shown).stem)
        with self.lock:
            numbers = (file.partition("-")[0] for file in self.images)
            count = max((int(n) for n in numbers if n.isdecimal()), default=0) + 1
            file = f"{count:04}-{stem[:MOST_LETTERS].strip('_') or 'image'}{suffix}"
            part.replace(self.smears / file)
            self._shown[file] = shown
            self._save_about()
            return file

    def refuse(self, name: str, reason: str) -> None:
        """Keep the name of a file that was not taken, and why."""
        with self.lock:
            shown, count = clean(name), 1
            while shown in self.refused:  # another of this name
                count += 1
                shown = f"{clean(name)} ({count})"
            self.refused[shown] = reason
            self._save_about()

    def _save_about(self) -> None:
        about = dict(name=self.name, created=self.created)
        about |= dict(images=self._shown, refused=self.refused)
        _write(self.folder / SESSION, about)

    # What was found

    def state(self) -> dict:
        """Return that of the prediction; empty before the first."""
        return read_json(self.found / STATE, schema=STATE_SCHEMA, default={})

    def records(self) -> list[dict]:
        """Return those of the images that are done, in order."""
        with self.lock:
            found = {}
            for file in self.images:
                path = folder_of(self.found, file) / RECORD
                try:
                    facts = path.stat()
                    stamp = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
                    known = self._records.get(file)
                    if not known or known[0] != stamp:
                        record = read_any_json(path)
                        known = (stamp, record)
                    found[file] = known
                except (OSError, ValueError):
                    continue  # not done yet
            self._records = found
            return [record for _, record in found.values()]

    def failed(self) -> dict[str, str]:
        """Return the names of files that cannot be used, as they came, and why."""
        shown = self.images
        failed = self.state().get("failed", {})
        named = {
            shown[file]: why.replace(file, shown[file])
            for file, why in failed.items()
            if file in shown
        }
        return {**named, **self.refused}

    def waiting(self) -> list[str]:
        """Return the images that are neither done nor known to be unusable."""
        done = {record["image"] for record in self.records()}
        done |= set(self.state().get("failed", {}))
        return [file for file in self.images if file not in done]

    def picture(self, image: str, what: str) -> Path | None:
        """Return the file of an overlay or a cut-out; None if there is none."""
        for record in self.records():
            if record["image"] == image:
                folder = folder_of(self.found, image)
                if what == OVERLAY:
                    return folder / OVERLAY
                for cell in record["cells"]:
                    if what == str(cell["id"]):
                        return folder / cutout_path(cell)
        return None

    # What a person says

    def correct(self, image: str, cell: int, answer: str) -> None:
        """Keep what a person says of a cell, on disk before this returns.

        Raises:
            UsageError: if there is no such cell or answer.
        """
        with self.lock:
            known = {record["image"]: record for record in self.records()}
            cells = {c["id"]: c for c in known.get(image, {}).get("cells", ())}
            if cell not in cells:
                raise UsageError(f"no cell {cell!r} in {image!r}")
            answers = (*known[image]["classes"], OTHER, IGNORE)
            if answer not in answers:
                raise UsageError(
                    f"{answer!r} is no answer; expected one of {', '.join(answers)}"
                )
            outline = _outline(cells[cell])
            said = None if answer == predicted(cells[cell]) else answer
            if said == self.corrections().get(image, {}).get(cell):
                return  # an undo would change nothing
            entry = dict(image=image, cell=cell, outline=outline, answer=said)
            self._say([*self._said, entry])

    def undo(self) -> dict | None:
        """Take the last correction back; return image, cell and what counts now."""
        with self.lock:
            if not self._said:
                return None
            last = self._said[-1]
            self._say(self._said[:-1])
            image, cell = last["image"], last["cell"]
            answer = self.corrections().get(image, {}).get(cell)
            for record in self.records():
                for known in record["cells"]:
                    if (record["image"], known["id"]) == (image, cell):
                        answer = answer or predicted(known)
            return dict(image=image, cell=cell, answer=answer)

    def _say(self, said: list[dict]) -> None:
        _write(self.folder / CORRECTIONS, {"corrections": said})
        self._said = said

    @property
    def undoable(self) -> int:
        """How many corrections can be taken back."""
        return len(self._said)

    def corrections(self) -> dict[str, dict[int, str]]:
        """Return what a person says of cells, by image and number of the cell."""
        with self.lock:
            outlines = {
                (record["image"], cell["id"]): _outline(cell)
                for record in self.records()
                for cell in record["cells"]
            }
            last: dict[tuple[str, int], str | None] = {}
            for entry in self._said:
                key = entry["image"], entry["cell"]
                # Of a cell that another prediction outlined, it says nothing.
                if outlines.get(key) == entry["outline"]:
                    last[key] = entry["answer"]
            found: dict[str, dict[int, str]] = {}
            for (image, cell), answer in last.items():
                if answer is not None:
                    found.setdefault(image, {})[cell] = answer
            return found

    def corrected(self) -> list[dict]:
        """Return the records as a person corrected them."""
        with self.lock:
            said = self.corrections()
            return [
                corrected_record(record, said.get(record["image"], {}))
                for record in self.records()
            ]

    def count(self) -> tuple[DifferentialRow, ...]:
        """Return the differential count of the corrected cells."""
        return count_table(self.corrected(), self.classes())

    def classes(self) -> Sequence[str]:
        """Return the names of classes by id."""
        return self.state().get("classes", CLASS_NAMES)

    # Pages and files

    def report(self) -> PredictReport:
        """Return what the page about the session shows."""
        shown = self.images

        def link(record: Mapping, cell: Mapping | None) -> LinkedPicture:
            place = f"pictures/{record['image']}"
            if cell is None:
                size = record["width"], record["height"]
                return LinkedPicture(f"{place}/{OVERLAY}", *size)
            x0, y0, x1, y1 = cell["box"]
            factor = THUMBNAIL_SIDE / max(x1 - x0, y1 - y0)
            size = (max(1, round(side * factor)) for side in (x1 - x0, y1 - y0))
            return LinkedPicture(f"{place}/{cell['id']}", *size)

        state = self.state() or {
            **dict(images=[], classes=CLASS_NAMES, checkpoint="none yet"),
            **dict(root=str(self.smears), settings={"checkpoint_sha256": ""}),
        }
        report = predict_report(
            self.found,
            self.records(),
            self.failed(),
            state,
            counted=self.corrected(),
            link=link,
        )
        fields = tuple(
            replace(field, name=printable(shown.get(field.file_name, field.file_name)))
            for field in report.fields
        )
        return replace(report, name=printable(self.name), fields=fields)

    def page(self, more: Mapping) -> str:
        """Return the page of the session."""
        said = [
            dict(image=image, cell=cell, answer=answer)
            for image, cells in self.corrections().items()
            for cell, answer in cells.items()
        ]
        content = dict(id=self.id, corrections=said, undoable=self.undoable, **more)
        return render_session_page(self.report(), content)

    def summary(self) -> str:
        """Return the page to print."""
        report, said = self.report(), self.corrections()
        records = self.corrected()
        facts = (
            ("images", f"{len(records)} of {len(self.images) + len(self.refused)}"),
            ("cells", str(sum(len(record["cells"]) for record in records))),
            ("corrected by hand", str(sum(map(len, said.values())))),
            ("begun", self.created),
            ("printed", time.strftime("%Y-%m-%d %H:%M")),
            *(fact for fact in report.facts if fact[0] != "images"),
        )
        return render_summary(report, facts)

    def export(self, name: str) -> bytes:
        """Return the content of one of ``EXPORTS``, as corrected.

        Raises:
            UsageError: if there is no such file, or no image is done.
        """
        if name not in EXPORTS:
            raise UsageError(
                f"no export {name!r}; expected one of {', '.join(EXPORTS)}"
            )
        with (
            self.lock,
            tempfile.TemporaryDirectory(prefix=f"{PART}-", dir=self.folder) as made,
        ):
            into = Path(made)
            self._write_exports(into, EXPORTS if name == ALL else (name,))
            if not name.endswith(".zip"):
                return (into / name).read_bytes()
            packed = into / ALL
            folder = into if name == ALL else into / name.removesuffix(".zip")
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
                for path in sorted(folder.rglob("*")):
                    if path.is_file() and path != packed:
                        file.write(path, path.relative_to(folder).as_posix())
            return packed.read_bytes()

    def _write_exports(self, into: Path, wanted: Sequence[str]) -> None:
        records, classes = self.corrected(), self.classes()
        if not records:
            raise UsageError("no image is done yet; wait for the first")
        shown = self.images
        if NAMES in wanted:
            rows = ((harmless(file), harmless(name)) for file, name in shown.items())
            write_table(into / NAMES, ("image", "came as"), rows)
        if set(wanted) & set(TABLES):
            failed = self.state().get("failed", {})
            write_tables(into, records, {**failed, **self.refused}, classes)
        if COCO in wanted:
            write_coco(into / COCO, records, classes)
        if f"{GEOJSON}.zip" in wanted:
            write_geojson(into / GEOJSON, records)
        if f"{MASKS}.zip" in wanted:
            (into / MASKS).mkdir()
            for record in records:
                file = into / MASKS / f"{Path(record['image']).stem}.png"
                colours = tuple(tuple(colour) for colour in record["colours"])
                save_palette_png(file, mask_of(record), colours)
        if SUMMARY in wanted:
            write_text(into / SUMMARY, self.summary())

    def write_training_file(self) -> list[str]:
        """Write the corrected cells for a training; return the words of the command.

        Raises:
            UsageError: if no image is done.
        """
        with self.lock:
            records = self.corrected()
            if not records:
                raise UsageError("no image is done yet; wait for the first")
            file = self.folder / TRAINING
            write_coco(file, records, self.classes(), ignore_unsure=True)
        words = ["leuko", "prepare", "folders", str(self.smears), str(file)]
        words += ["--name", dataset_name(self.id), "--yes", "--force"]
        sides = [
            max(x1 - x0, y1 - y0)
            for record in records
            for x0, y0, x1, y1 in (cell["box"] for cell in record["cells"])
        ]
        if sides:
            # The class network looks around a cell.
            words += ["--crop", str(max(8, round(CROP * statistics.median(sides))))]
        return words + ["--skip-unpaired"] * (len(records) < len(self.images))

    def remove(self) -> None:
        """Remove the session from the disk."""
        with self.lock:
            shutil.rmtree(self.folder)


def sessions_below(root: Path, say: Callable[[str], object]) -> Iterator[Session]:
    """Yield the sessions of a folder, the last one first; others are left alone.

    Args:
        say: is called with a line on each session that cannot be opened.
    """
    for file in sorted(Path(root).glob(f"*/{SESSION}"), reverse=True):
        try:
            session = Session(file.parent)
            session.waiting()  # which reads the files of the prediction, too
        except (LeukoError, OSError, *MISFITS) as error:
            why = str(error) if isinstance(error, LeukoError) else repr(error)
            say(f"a session is left out, the others are there: {file.parent}: {why}")
            continue
        yield session


def clean(name: str) -> str:
    """Return a name that came from outside, without folders and odd characters."""
    bare = name.replace("\\", "/").rpartition("/")[2]
    shown = printable(unicodedata.normalize("NFC", bare)).strip()
    suffix = Path(shown).suffix[:20]  # which says that it is an image
    return shown if len(shown) <= MOST_SHOWN else shown[: MOST_SHOWN - 20] + suffix


def refused_name(name: str) -> str:
    """Return why a file cannot be an image by its name; empty if it can."""
    if Path(clean(name)).suffix.lower() in IMAGE_SUFFIXES:
        return ""
    return (
        f"no image by its name; expected one that ends in {', '.join(IMAGE_SUFFIXES)}"
    )


def predicted(cell: Mapping) -> str:
    """Return what the model says of a cell, in the words of a person's answers."""
    answer = answer_of(cell)
    return IGNORE if answer == UNSURE else answer


def corrected_record(record: Mapping, said: Mapping[int, str]) -> dict:
    """Return a record with what a person says of its cells.

    Cells that are none are left out. The confidence of a corrected cell is what the
    model gave to its new class. Every record has the answers ``unsure`` and ``other``,
    whatever the model tells.

    Args:
        record: of an image.
        said: answers by number of the cell.
    """
    classes = record["classes"]
    cells = []
    for cell in record["cells"]:
        answer = said.get(cell["id"])
        before = answer_of(cell)
        cell = {**cell, "answer": before, "other": cell.get("other", 0.0)}
        if answer == NO_CELL:
            continue
        if answer is not None:
            cell[PREDICTED] = before
            cell["answer"] = UNSURE if answer == IGNORE else answer
        if answer in classes:
            cell["class"], cell["class_id"] = answer, classes.index(answer)
            share = cell["probabilities"][cell["class_id"]]
            cell["confidence"] = round(share * (1 - cell["other"]), DIGITS)
        cells.append(cell)
    answers = [*classes[BACKGROUND + 1 :], UNSURE, OTHER]
    return {**record, "answers": answers, "cells": cells}


def mask_of(record: Mapping) -> np.ndarray:
    """Return the class ids of an image, as in ``labels.png``.

    Shape:
        (H, W) uint8; 255 in a cell of none of the classes.
    """
    mask = np.zeros((record["height"], record["width"]), np.uint8)
    for cell in record["cells"]:
        x0, y0, x1, y1 = cell["box"]
        value = IGNORE_LABEL if cell["answer"] == OTHER else cell["class_id"]
        mask[y0:y1, x0:x1][inside_box(cell, record["height"])] = value
    return mask


def dataset_name(session: str) -> str:
    """Return the name of the dataset that a session becomes."""
    return f"corrected-{session}"


def train_command(session: str) -> str:
    """Return the command that trains on the dataset of a session."""
    words = ["leuko", "train", "cell_classes", "--data", dataset_name(session)]
    words += ["--split", "fold1", "--load-from", "cell_classes"]
    return shlex.join([*words, "--iterations", "60"])


def shown_row(row: DifferentialRow) -> dict:
    """Return a row of the count as the page shows it."""
    parts = (row.percent, row.low, row.high)
    keys = ("percent", "low", "high")
    return {
        **dict(name=row.name, count=row.count),
        **{key: number(value) for key, value in zip(keys, parts, strict=True)},
    }


def _title(name: str) -> str:
    return printable(name).strip()[:MOST_OF_A_TITLE]


def _outline(cell: Mapping) -> str:
    return sha256_of(cell["runs"])[:RUNS_KEPT]


def _write(file: Path, content: Mapping) -> None:
    text = json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False, indent=1)
    write_text(file, text + "\n")
