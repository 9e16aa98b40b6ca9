"""How one dataset takes the place of another: in one move, or not at all."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets import replacing
from leuko_mm.datasets.prepared import DatasetError, read_index
from leuko_mm.datasets.replacing import (
    content_hash,
    holds_all,
    move_into,
    refuse_foreign,
    restore_interrupted,
    write_table,
)


@pytest.fixture
def folders(tmp_path):
    """An old folder and a new one beside it."""
    for name in ("data", ".data-x1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
    return tmp_path / "data", tmp_path / ".data-x1"


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_folder_stands_in_place_of_the_old_one(folders):
    old, new = folders
    move_into(old, new)
    assert (old / "who").read_text() == ".data-x1"
    assert names(old.parent) == ["data"]
    assert old.stat().st_mode & 0o777 == 0o755


def test_a_failed_move_puts_the_old_one_back(folders, monkeypatch):
    old, new = folders
    move = os.replace

    def fails(source, target):
        if source == new:
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(replacing.os, "replace", fails)
    with pytest.raises(KeyboardInterrupt):
        move_into(old, new)
    assert (old / "who").read_text() == "data"


def test_what_a_kill_between_two_moves_set_aside_is_put_back(folders):
    old, _ = folders
    os.replace(old, old.with_name(".data-x1-old"))
    (old.parent / ".database-x1-old").mkdir()
    restore_interrupted(old)
    assert (old / "who").read_text() == "data"
    assert names(old.parent) == [".data-x1", ".database-x1-old", "data"]


def test_nothing_is_put_back_over_what_stands(folders):
    old, new = folders
    os.replace(new, old.with_name(".data-x1-old"))
    restore_interrupted(old)
    assert (old / "who").read_text() == "data"


def test_only_datasets_and_empty_folders_may_be_replaced(tmp_path, tiny_dataset):
    photos = tmp_path / "photos"
    refuse_foreign(photos, photos)
    photos.mkdir()
    refuse_foreign(photos, photos)
    refuse_foreign(tiny_dataset, tiny_dataset)
    (photos / "wedding.jpg").write_text("x")
    with pytest.raises(DatasetError, match=r"photos exists and is not .*another --out"):
        refuse_foreign(photos, photos)
    with pytest.raises(DatasetError, match="is not a prepared dataset"):
        refuse_foreign(photos / "wedding.jpg", photos / "wedding.jpg")


def test_a_dataset_without_its_description_may_still_be_replaced(copied_dataset):
    (copied_dataset / "dataset.json").unlink()
    refuse_foreign(copied_dataset, copied_dataset)
    assert not holds_all(copied_dataset, copied_dataset)


def test_a_copy_holds_all_until_a_pixel_changes(copied_dataset, tiny_dataset):
    assert holds_all(copied_dataset, tiny_dataset)
    path = copied_dataset / read_index(copied_dataset)[3].image
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert not holds_all(copied_dataset, tiny_dataset)


def test_a_png_counts_by_its_pixels_and_a_jpeg_by_its_bytes(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    image = Image.fromarray(pixels)
    for number, level in enumerate((0, 9)):
        image.save(tmp_path / f"{number}.png", compress_level=level)
        image.save(tmp_path / f"{number}.jpg", quality=50 + 40 * number)
    hashes = {p.name: content_hash(p, mask) for p in tmp_path.iterdir()}
    assert hashes["0.png"] == hashes["1.png"]
    assert hashes["0.jpg"] != hashes["1.jpg"]
    assert content_hash(tmp_path / "0.png", mask + 1) != hashes["0.png"]


def test_a_table_is_replaced_whole_or_not_at_all(tmp_path):
    def broken():
        yield ("a", "test")
        raise RuntimeError

    path = tmp_path / "fold1.csv"
    write_table(path, ("stem", "part"), [("a", "train"), ("b,c", "test")])
    assert path.read_text() == 'stem,part\na,train\n"b,c",test\n'
    with pytest.raises(RuntimeError):
        write_table(path, ("stem", "part"), broken())
    assert "train" in path.read_text()
    assert names(tmp_path) == ["fold1.csv"]
