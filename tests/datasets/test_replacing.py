"""How one dataset takes the place of another: in one move, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leuko_mm.datasets.prepared import DatasetError, read_index
from leuko_mm.datasets.replacing import content_hash, holds_all, refuse_foreign


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
