"""The checkpoints of the package: found, named, and as good as their card says."""

from __future__ import annotations

import json
import socket

import cv2
import numpy as np
import pytest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.cli.main import exit_code_of, main
from leuko_mm.inference import Predictor
from leuko_mm.inference import model as module
from leuko_mm.inference.model import (
    DEFAULT_MODEL,
    NotShippedError,
    shipped_checkpoint,
    shipped_names,
)


def test_a_missing_checkpoint_names_its_training(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "shipped_folder", lambda: tmp_path)
    with pytest.raises(NotShippedError, match="leuko train cbam_unet_compact") as found:
        shipped_checkpoint()
    assert exit_code_of(found.value) == 2
    with pytest.raises(ValueError, match="leuko train no_such_model"):
        Predictor.from_zoo("no_such_model")


def test_everything_shipped_has_a_sidecar_and_fits_the_wheel():
    files = sorted(module.shipped_folder().glob("*.pth"))
    assert [file.stem for file in files] == shipped_names()
    assert all(file.stat().st_size <= 8_000_000 for file in files)
    assert sum(file.stat().st_size for file in files) <= 16_000_000


@pytest.fixture
def _offline(monkeypatch):
    def refused(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.usefixtures("_offline")
def test_the_default_model_sees_no_cell_where_none_is():
    assert DEFAULT_MODEL in shipped_names()
    bare = np.full((200, 300, 3), 230, np.uint8)
    found = Predictor.from_zoo(scale=1.0).predict(bare)
    assert sum(found.counts.values()) == 0
    assert found.labels.shape == (200, 300)


@pytest.mark.usefixtures("_offline")
def test_it_names_and_outlines_cells_of_a_slide_that_it_never_saw(shared_folder):
    cells = shared_folder / "datasets" / "BCISC" / "sub-images"
    predictor = Predictor.from_zoo()
    for name in CLASS_NAMES[1:]:
        stem = f"{name[:4]}_9-3_0"
        found = predictor.predict(cells / "images" / f"{stem}.jpg")
        assert dict(found.counts) == {n: int(n == name) for n in found.answers}
        (path,) = (cells / "masks").glob(f"{stem}.*")
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127
        both = (truth & (found.labels > 0)).sum()
        assert both / (truth | (found.labels > 0)).sum() > 0.8


@pytest.mark.slow
def test_its_card_has_the_metrics_that_are_measured(
    shared_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    for name in ("BCISC", "BCCD"):
        source = shared_folder / "datasets" / name
        assert main(["prepare", name.lower(), str(source)]) == 0
    assert main(["zoo", "verify", DEFAULT_MODEL, "--accuracy"]) == 0
    sidecar = shipped_checkpoint().with_suffix(".json")
    miou = json.loads(sidecar.read_text())["metrics"]["mIoU"]
    card = sidecar.with_suffix(".md").read_text(encoding="utf-8")
    assert f"| {miou:.2f} |" in card
