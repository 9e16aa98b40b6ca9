"""Cells that a network of its own names, at one scale, from all sides."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from painted_network import WHITE, write_checkpoint
from torch import nn

from leuko_mm.classes import CLASS_COLOURS, IGNORE_LABEL, OTHER
from leuko_mm.inference import Predictor, classify
from leuko_mm.inference.classify import CellClassifier
from leuko_mm.inference.model import CheckpointError
from leuko_mm.registry import MODELS

# What the class network takes a colour for: the next class; the last one for other.
TAKEN_FOR = {1: 2, 2: 3, 3: 4, 4: 5, 5: 0}


@MODELS.register_module(force=True)
class PaintedClassNetwork(nn.Module):
    """Take a square for the class after the one whose colour its middle has."""

    def __init__(self, decode_head: dict, data_preprocessor: dict):
        super().__init__()
        colours = torch.tensor((WHITE, *CLASS_COLOURS[1:]), dtype=torch.float32)
        order = [0] + [kind for kind, _ in sorted(TAKEN_FOR.items())]
        named = torch.zeros(6, 3)
        for kind in order[1:]:
            named[TAKEN_FOR[kind]] = colours[kind] / 255
        named[1] = 9.0  # nothing is a basophil
        self.colours = nn.Parameter(named)

    def encode_decode(self, inputs, batch_img_metas):
        """Return logits (B, C, H, W), the same everywhere."""
        height, width = inputs.shape[2:]
        middle = inputs[:, :, height // 2, width // 2]
        apart = (middle[:, None] - self.colours[None]).pow(2).sum(dim=2)
        return (-8 * apart)[:, :, None, None].expand(-1, -1, height, width)


@pytest.fixture
def painted_classes(tmp_path):
    """Return a checkpoint that names squares of 32 pixels with red cells of 10."""
    folder = tmp_path / "classes"
    folder.mkdir()
    recipe = dict(
        type="PaintedClassNetwork",
        decode_head=dict(type="leuko_mm.CellClassHead", num_classes=6),
        data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=True),
    )
    network = PaintedClassNetwork(recipe["decode_head"], recipe["data_preprocessor"])
    scale = dict(px_per_um=None, rbc_px=10.0, cell_px=32)
    tensors = network.state_dict()
    return write_checkpoint(folder, recipe, tensors, scale=scale)


def field(kinds=(1, 2, 5)) -> np.ndarray:
    """Draw a disc of every class' colour, 40 pixels wide."""
    image = np.full((96, 70 * len(kinds), 3), WHITE, np.uint8)
    for i, kind in enumerate(kinds):
        cv2.circle(image, (35 + 70 * i, 48), 20, CLASS_COLOURS[kind], -1)
    return image


def change(path, **keys):
    place = path.with_suffix(".json")
    place.write_text(json.dumps({**json.loads(place.read_text()), **keys}))


def test_cells_get_the_classes_of_the_class_network(painted, painted_classes):
    plain = Predictor(painted, scale=1.0).predict(field())
    named = Predictor(painted, scale=1.0, classifier=painted_classes).predict(field())
    assert [cell.class_id for cell in plain.cells] == [1, 2, 5]
    assert not plain.names_other
    assert named.names_other
    assert [named.answer(cell) for cell in named.cells] == [
        named.classes[2],
        named.classes[3],
        OTHER,
    ]
    np.testing.assert_array_equal(named.instances, plain.instances)
    for cell, label in zip(named.cells, (2, 3, IGNORE_LABEL), strict=True):
        assert set(named.labels[named.instances == cell.id]) == {label}
        assert sum(cell.probabilities) == pytest.approx(1)
        assert cell.probabilities[0] == 0
        assert cell.confidence <= 1 - cell.other + 1e-9
    assert named.counts == dict(
        basophil=0, eosinophil=1, lymphocyte=1, monocyte=0, neutrophil=0, other=1
    )


def test_the_cells_are_cut_out_at_the_scale_of_the_class_network(
    painted, painted_classes, monkeypatch
):
    seen = []
    real = CellClassifier.probabilities

    def look(self, squares):
        seen.extend(squares)
        return real(self, squares)

    # They have tried their networks when they are made.
    predictors = [
        Predictor(painted, scale=scale, classifier=painted_classes)
        for scale in (0.5, 1.0)
    ]
    monkeypatch.setattr(CellClassifier, "probabilities", look)
    image = np.full((300, 300, 3), WHITE, np.uint8)
    cv2.circle(image, (150, 150), 20, CLASS_COLOURS[3], -1)
    # A red cell has 20 pixels in the first network, 10 in the second.
    for predictor in predictors:
        predictor.predict(image)
    areas = [int((square[..., 2] < 100).sum()) for square in seen]
    disc = int((image[..., 2] < 100).sum())
    assert areas == pytest.approx([disc / 16, disc / 4], rel=0.1)
    assert all(square.shape == (32, 32, 3) for square in seen)


def test_a_checkpoint_names_its_class_network(painted, painted_classes):
    for file in (painted_classes, painted_classes.with_suffix(".json")):
        (painted.parent / f"names{file.suffix}").write_bytes(file.read_bytes())
    change(painted, classifier="names.pth")
    assert Predictor(painted, scale=1.0).predict(field()).names_other
    without = Predictor(painted, scale=1.0, classifier="").predict(field())
    assert not without.names_other
    assert [cell.class_id for cell in without.cells] == [1, 2, 5]


def test_the_exponents_weigh_both_networks(painted, painted_classes, monkeypatch):
    def named(own, segmentation=0):
        monkeypatch.setattr(classify, "OWN", own)
        monkeypatch.setattr(classify, "SEGMENTATION", segmentation)
        predictor = Predictor(painted, scale=1.0, classifier=painted_classes)
        return predictor.predict(field((1,))).cells[0]

    one, other = named(1), named(1, 4)
    assert (one.class_id, other.class_id) == (2, 1)
    flat, sharp = named(0.5), named(2)
    assert flat.confidence < one.confidence < sharp.confidence
    network = Predictor(painted, scale=1.0).predict(field((1,))).cells[0]
    reader = CellClassifier(painted_classes)
    square = np.full((32, 32, 3), CLASS_COLOURS[1], np.uint8)
    own = np.maximum(reader.probabilities([square])[0], 1e-3)
    wanted = own[1:] * np.maximum(network.probabilities[1:], 1e-3) ** 4
    assert other.probabilities[1:] == pytest.approx(wanted / wanted.sum(), rel=1e-3)


def test_views_are_averaged(painted_classes):
    rng = np.random.default_rng(0)
    squares = [rng.integers(0, 256, (32, 32, 3)).astype(np.uint8) for _ in range(3)]
    plain, every = (
        CellClassifier(painted_classes),
        CellClassifier(painted_classes, tta=True),
    )
    for reader in (plain, every):
        found = reader.probabilities(squares)
        assert found.shape == (3, 6)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    turned = [np.rot90(square) for square in squares]
    np.testing.assert_allclose(
        plain.probabilities(turned), plain.probabilities(squares), atol=1e-6
    )
    mirrored = [square[:, ::-1] for square in squares]
    np.testing.assert_allclose(
        every.probabilities(mirrored), every.probabilities(squares), atol=1e-6
    )


def test_networks_in_each_others_place_are_refused(painted, painted_classes):
    with pytest.raises(CheckpointError, match="segments images"):
        Predictor(painted, classifier=painted)
    with pytest.raises(CheckpointError, match="finds none"):
        Predictor(painted_classes)
    names = json.loads(painted_classes.with_suffix(".json").read_text())["classes"]
    config = json.loads(painted_classes.with_suffix(".json").read_text())["config"]
    others = [*names[:5], "blast"]
    change(painted_classes, classes=others, config=config | dict(classes=others))
    with pytest.raises(
        CheckpointError, match=r"names .* blast, but .* has the classes"
    ):
        Predictor(painted, classifier=painted_classes)
    change(painted_classes, classes=names, config=config)
    change(painted_classes, scale=dict(px_per_um=None, rbc_px=None, cell_px=32))
    with pytest.raises(CheckpointError, match="rbc_px"):
        Predictor(painted, classifier=painted_classes)
