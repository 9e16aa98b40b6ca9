"""The losses of a run's logs, where a test cell is found, and one tile of an image."""

from __future__ import annotations

import json

import pytest

from leuko_mm.datasets.mosaic import MosaicDataset
from leuko_mm.report.run_page import LossHistory
from leuko_mm.training.run_report import locate_cells, loss_history, read_losses


def log(work_dir, started, losses):
    folder = work_dir / started / "vis_data"
    folder.mkdir(parents=True)
    lines = [json.dumps(dict(step=step, loss=loss)) for step, loss in losses.items()]
    lines.append(json.dumps(dict(step=9, mIoU=1.0)))
    (folder / "scalars.json").write_text("\n".join(lines) + "\n")
    return folder / "scalars.json"


class Runner:
    hooks = ()


def test_logs_are_joined_and_the_later_counts(tmp_path):
    log(tmp_path, "20260102_000000", {20: 0.5, 30: 0.4})
    log(tmp_path, "20260101_000000", {10: 0.9, 20: 0.7})
    history = LossHistory((10, 20, 30), (0.9, 0.5, 0.4), {})
    assert loss_history(Runner, tmp_path) == history


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    """As a full disk or a lost machine leaves it, before the training goes on."""
    path = log(tmp_path, "20260101_000000", {10: 0.9, 20: 0.7})
    with path.open("a") as file:
        file.write('{"step": 30, "lo')
    assert read_losses(tmp_path) == {10: 0.9, 20: 0.7}
    path.write_bytes(path.read_bytes() + b"\xff\0\0\n[1]\n3\n")
    assert read_losses(tmp_path) == {10: 0.9, 20: 0.7}


def test_names_come_from_files_and_may_repeat():
    class Named(list):
        """A dataset of images without stems, as MMSegmentation's own are."""

        def get_data_info(self, index):
            return dict(img_path=self[index])

    stems = ["a", "b", "a", "a", "gone"]
    places = locate_cells(Named(["x/a.png", "x/b.png", "y/a.png"]), stems)
    assert places == [(0, 0), (1, 0), (2, 0), None, None]


@pytest.mark.parametrize("n", [2, 3])
def test_every_cell_of_the_mosaics_is_found_where_it_is(tiny_dataset, n):
    mosaics = MosaicDataset(
        dict(name=str(tiny_dataset), split="fold1", part="test"),
        n=n,
        size=60,
        mode="every",
        tile_pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        test_mode=True,
    )
    composed = [mosaics.compose(index) for index in range(len(mosaics))]
    stems = [tile["stem"] for sample in composed for tile in sample["tiles"]]
    for stem, (index, number) in zip(stems, locate_cells(mosaics, stems), strict=True):
        assert composed[index]["tiles"][number]["stem"] == stem
