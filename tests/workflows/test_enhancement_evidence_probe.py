import numpy as np
import pytest
import torch

from leuko_mm.datasets.prepared_cell import PreparedCell
from leuko_mm.datasets.prepared_writing import write_prepared
from leuko_mm.workflows import enhancement_evidence_probe as probing


@pytest.fixture
def smears(tmp_path):
    """Ten slides of two classes whose cells differ in brightness alone."""
    cell = np.zeros((32, 32), bool)
    cell[8:24, 8:24] = True
    cells, splits = [], {f"fold{k}": {} for k in range(1, 6)}
    for name, level in (("basophil", 60), ("monocyte", 180)):
        for slide in range(1, 11):
            stem = f"{name[:4]}_{slide}"
            image = np.where(cell, level, 220).astype(np.uint8)
            mask = np.where(cell, 1 if name == "basophil" else 4, 0)
            cells.append(
                PreparedCell(
                    stem=stem,
                    class_name=name,
                    group=f"{name}_{slide}",
                    image=np.repeat(image[..., None], 3, axis=2),
                    mask=mask.astype(np.uint8),
                )
            )
            for k in range(1, 6):
                part = "test" if (slide + 1) // 2 == k else "train"
                splits[f"fold{k}"][stem] = part
    root = tmp_path / "smears"
    about = dict(name="smears", source="made", licence="CC0-1.0", citation="none")
    write_prepared(root, cells, splits=splits, **about)
    return root


def pyramid(batch):
    return [torch.nn.functional.avg_pool2d(batch, size) for size in (4, 8, 16)]


def test_what_the_method_leaves_is_found_and_what_it_takes_away_is_not(
    smears, monkeypatch
):
    monkeypatch.setattr(probing, "SIDE", 32)
    monkeypatch.setattr(probing, "COPIES", 1)
    kept = probing.probe(smears, np.asarray, encoder=pyramid)
    lost = probing.probe(smears, lambda i: np.full_like(i, 128), encoder=pyramid)
    assert kept["cells"] == 16  # slides 9 and 10 are fold 5
    assert kept["accuracy"]["0.01"] == 100
    assert lost["accuracy"]["0.01"] <= 60
    again = probing.probe(smears, np.asarray, encoder=pyramid)
    assert again == kept
