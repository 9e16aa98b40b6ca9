"""``leuko browse``: its sheets show the data that the network gets, and are whole."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image
from tiny_run import write_config

from leuko_mm import browse as browse_files
from leuko_mm.browse import (
    KINDS,
    BrowseRequest,
    browse,
    choose_spread,
    displayed,
    first_batches,
)
from leuko_mm.cli.main import main
from leuko_mm.datasets.prepared import DatasetError
from leuko_mm.errors import UsageError
from leuko_mm.registry import MODELS
from leuko_mm.training.building import build_runner
from leuko_mm.training.config import resolve_config
from leuko_mm.training.run import TrainRequest, prepare_config


@pytest.fixture
def look(tmp_path):
    """Return a function that browses into a folder and returns its files by name."""

    def run(target, **more):
        out = tmp_path / "sheets"
        page = browse(BrowseRequest(target=str(target), out=str(out), **more))
        assert page == out / "browse.html"
        assert [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []
        return {path.name: path for path in out.iterdir()}

    return run


def test_a_config_shows_all_four(look, tiny_data, tiny_config):
    files = look(tiny_config, command=["leuko browse", "x y"])
    assert set(files) == {"browse.html", *(f"{kind}.png" for kind in KINDS)}
    page = files["browse.html"].read_text(encoding="utf-8")
    assert page.count("<figure>") == 20 + 20 + 4 + 8  # 20 cells, 4 mosaics an epoch
    assert "20 cells of synthetic" in page
    assert "leuko browse &#39;x y&#39;" in page


def test_a_sheet_of_batches_holds_the_pixels_of_the_batches(
    look, tiny_data, tiny_config
):
    files = look(tiny_config, what=["batches"], seed=5, count=3)
    assert set(files) == {"browse.html", "batches.png"}
    sheet = np.array(Image.open(files["batches.png"]))
    batches = first_batches(resolve_config(str(tiny_config), seed=5), "train", 4)
    shown = [pair for batch in batches for pair in batch]
    assert len(shown) == 4
    for number, (image, labels) in enumerate(shown):
        # Two figures a row, each an image of 64 px and its labels; gaps of 6 px, and
        # captions of 18.
        top, left = 6 + number // 2 * (64 + 18 + 6), 6 + number % 2 * 2 * (64 + 6)
        plain = sheet[top : top + 64, left : left + 64]
        outlined = sheet[top : top + 64, left + 70 : left + 134]
        assert (plain == image).all()
        assert (outlined[labels == 0] == image[labels == 0]).all()
        assert (outlined != plain).any()


def test_a_dataset_shows_cells_and_masks(look, tiny_dataset):
    files = look(tiny_dataset, count=5)
    assert set(files) == {"browse.html", "cells.png", "masks.png"}
    page = files["browse.html"].read_text(encoding="utf-8")
    for name in ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"):
        assert page.count(f'figure-note">{name}_') == 2
    assert "5 of 40 cells" in page


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (dict(target="nothing"), "no config 'nothing'.*holds: synthetic"),
        (dict(target="synthetic", what=["batches"]), "--data synthetic --what batches"),
        (dict(target="synthetic", part="test"), "add --split"),
        (dict(target="synthetic", protocol="half"), "--protocol would change nothing"),
        (dict(target="synthetic", options=dict(a=1)), "--cfg-options would change"),
        (dict(target="synthetic", split="fold9"), "no split 'fold9'"),
        (dict(target="/absent/data"), "/absent/data does not exist"),
    ],
)
def test_wrong_use_is_named(look, tiny_data, tmp_path, request_, message):
    with pytest.raises((UsageError, DatasetError), match=f"(?s){message}"):
        look(**request_)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("enhance=dict(type='RGB2Gray')", "enhance: RGB2Gray returns img float64"),
        (
            "tile_pipeline=[dict(type='LoadImageFromFile')]",
            r"tile_pipeline \(LoadImageFromFile\) gives img uint8 .*NoneType",
        ),
    ],
)
def test_a_step_that_spoils_cells_is_named(look, tiny_data, tmp_path, steps, said):
    config = write_config(tmp_path, more=f"train_dataloader['dataset'].update({steps})")
    with pytest.raises(UsageError, match=said):
        look(config)


def test_sheets_are_replaced_by_force_alone(look, tiny_dataset, tmp_path):
    first = look(tiny_dataset, count=3)["cells.png"].read_bytes()
    with pytest.raises(UsageError, match="--force"):
        look(tiny_dataset, count=4)
    assert (tmp_path / "sheets" / "cells.png").read_bytes() == first
    files = look(tiny_dataset, count=4, what=["cells"], force=True)
    assert files["cells.png"].read_bytes() != first
    assert "masks.png" not in files


def test_other_files_are_never_replaced(look, tiny_dataset, tmp_path):
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="something else"):
        look(tiny_dataset, force=True)
    assert [p.name for p in (tmp_path / "sheets").iterdir()] == ["thesis.tex"]


def test_a_failure_leaves_the_earlier_sheets(look, tiny_dataset, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    before = look(tiny_dataset, count=2)["browse.html"].read_bytes()
    monkeypatch.setattr(browse_files, "write_sheet", full)
    with pytest.raises(UsageError, match="No space left"):
        look(tiny_dataset, count=3, force=True)
    assert (tmp_path / "sheets" / "browse.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sheets"]


def test_classes_come_evenly_and_a_seed_chooses():
    classes = ["a"] * 20 + ["b"] * 3 + ["c"] * 20
    chosen = choose_spread(classes, 15, seed=0)
    assert [classes[n] for n in chosen] == ["a"] * 6 + ["b"] * 3 + ["c"] * 6
    assert len(set(chosen)) == 15
    assert chosen == choose_spread(classes, 15, seed=0)
    assert chosen != choose_spread(classes, 15, seed=1)
    assert sorted(choose_spread(classes, 99, seed=0)) == list(range(43))


def test_the_command_prints_where_everything_is(tiny_dataset, tmp_path, capsys):
    out = tmp_path / "sheets"
    words = ["browse", str(tiny_dataset), "--out", str(out), "--count", "2"]
    assert main(words) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["page:", str(out / "browse.html")],
        ["sheet:", str(out / "cells.png")],
        ["sheet:", str(out / "masks.png")],
    ]
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


# As the text of the tiny config states them.
MEAN = np.array([123.675, 116.28, 103.53])[:, None, None]
STD = np.array([58.395, 57.12, 57.375])[:, None, None]
ENHANCE = "dict(type='leuko_mm.AHERetinex')"


class FirstInputs(Hook):
    """Keep what the model's own preprocessor makes of the loop's batches."""

    priority = "VERY_HIGH"

    def __init__(self):
        self.inputs, self.labels = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        data = runner.model.data_preprocessor(copy.deepcopy(data_batch), True)
        self.inputs += list(data["inputs"])
        self.labels += [s.gt_sem_seg.data[0].numpy() for s in data["data_samples"]]


@pytest.fixture(scope="module")
def trained(tiny_home, tmp_path_factory):
    """Run two iterations; return the config and what the loop gave to the model."""
    folder = tmp_path_factory.mktemp("config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKO_MM_DATA", str(tiny_home))
        config = prepare_config(
            TrainRequest(
                config=str(write_config(folder, enhance=ENHANCE)),
                seed=3,
                work_dir=str(folder / "run"),
            )
        )
        kept = copy.deepcopy(config)
        runner, seen = build_runner(config), FirstInputs()
        runner.register_hook(seen, priority="VERY_HIGH")
        runner.train()
    return kept, seen


def test_the_first_batches_are_those_of_the_training_loop(trained, tiny_data):
    config, seen = trained
    batches = first_batches(config, "train", 4)
    assert [len(batch) for batch in batches] == [2, 2]
    shown = [pair for batch in batches for pair in batch]
    for (image, truth), inputs, labels in zip(
        shown, seen.inputs, seen.labels, strict=True
    ):
        # By hand: RGB, since the preprocessor turns BGR round.
        values = inputs.numpy().astype(np.float64) * STD + MEAN
        assert np.abs(values - np.rint(values)).max() < 1e-3
        assert (image.transpose(2, 0, 1) == np.rint(values)).all()
        assert (truth == labels).all()
        assert set(np.unique(labels)) - {0}
    assert any((shown[0][0] != other).any() for other, _ in shown[1:])


@pytest.mark.parametrize("bgr_to_rgb", [True, False])
@pytest.mark.parametrize("normal", [True, False])
def test_every_preprocessor_is_taken_back(bgr_to_rgb, normal):
    stated = dict(mean=[10.0, 20, 30], std=[2.0, 3, 4]) if normal else {}
    recipe = dict(type="mmseg.SegDataPreProcessor", bgr_to_rgb=bgr_to_rgb, **stated)
    preprocessor = MODELS.build(recipe)
    bgr = torch.arange(2 * 3 * 16).reshape(2, 3, 4, 4).to(torch.uint8)
    got = preprocessor(dict(inputs=list(bgr)), False)["inputs"]
    rgb = bgr.flip(1).permute(0, 2, 3, 1).numpy()
    for image, expected in zip(displayed(got, preprocessor), rgb, strict=True):
        assert (image == expected).all()
