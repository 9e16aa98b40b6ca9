"""Where a test cell is found, and what one tile of a segmented image holds."""

import numpy as np
import pytest

from leuko_mm.datasets.leukocyte_dataset import LeukocyteDataset
from leuko_mm.datasets.mosaic_dataset import MosaicDataset
from leuko_mm.workflows.predictions import PredictedImage, _rgb, locate_cells


def test_a_tile_is_cut_from_every_array():
    columns = np.tile(np.arange(8, dtype=np.uint8), (4, 1))
    image = np.repeat(columns[..., None], 3, axis=2)
    whole = PredictedImage(
        image, image + 10, columns, columns + 20, ((0, 0, 4, 4), (4, 1, 8, 4))
    )
    cell = whole.cell(1)
    for part, first in (
        (cell.image[..., 0], 4),
        (cell.enhanced[..., 0], 14),
        (cell.truth, 4),
        (cell.prediction, 24),
    ):
        assert part.shape == (3, 4)
        assert part[0, 0] == first
    assert cell.boxes == ((0, 0, 4, 3),)


class Named:
    """A dataset of images without stems, as MMSegmentation's own are."""

    def __init__(self, *paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, index):
        return dict(img_path=self.paths[index])


def test_names_come_from_files_and_may_repeat():
    dataset = Named("x/a.png", "x/b.png", "y/a.png")
    stems = ["a", "b", "a", "a", "gone"]
    assert locate_cells(dataset, stems) == [(0, 0), (1, 0), (2, 0), None, None]


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


def test_single_cells_are_found(tiny_dataset):
    cells = LeukocyteDataset(
        str(tiny_dataset), split="fold1", part="test", test_mode=True
    )
    stems = [cells.get_data_info(index)["stem"] for index in range(len(cells))]
    assert locate_cells(cells, stems[::-1]) == [
        (index, 0) for index in reversed(range(len(cells)))
    ]


def test_colours_are_turned_and_the_size_is_the_masks():
    torch = pytest.importorskip("torch")
    blue_first = torch.zeros(3, 4, 6, dtype=torch.uint8)
    blue_first[0] = 200
    image = _rgb(dict(inputs=[blue_first]), (4, 6))
    assert image[0, 0].tolist() == [0, 0, 200]
    assert _rgb(dict(inputs=[blue_first]), (8, 3)).shape == (8, 3, 3)
