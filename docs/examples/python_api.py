"""Count the cells of images and train a network, from Python.

    python docs/examples/python_api.py IMAGE [IMAGE ...]

prints two tables of the images, then trains for two iterations on drawn cells, in
`data/` and `work_dirs/` of the current folder. Counting needs the base installation,
training the extra `train`, and the tables are data frames where pandas is installed.
"""

import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from leuko_mm.inference import Predictor, differential


def table(rows: list[dict]):
    """Return rows as a data frame, or as they are without pandas."""
    if find_spec("pandas") is None:
        return rows
    import pandas

    return pandas.DataFrame(rows)


def count(images: list[Path]):
    """Return a row a cell, and the differential count of all images."""
    predictor = Predictor.from_zoo()
    # One scale for images that were taken alike; None measures each by itself.
    scale = predictor.common_scale(images)
    cells, predictions = [], []
    for found in predictor.predict(images, scale=scale):
        predictions.append(found)
        for cell in found.cells:
            # The answer is a class, "unsure" or "other".
            row = dict(image=found.source.name, answer=found.answer(cell))
            x, y = cell.centroid
            cells.append({**row, "x": x, "y": y, "area": cell.area})
    counts = [asdict(row) for row in differential(predictions)]
    return table(cells), table(counts)


def train_on_drawn_cells() -> Path:
    """Train the quickstart's network for two iterations; return the run's folder."""
    from leuko_mm.datasets.converters.synthetic.dataset import prepare_synthetic
    from leuko_mm.datasets.prepared import dataset_root
    from leuko_mm.training.run import TrainRequest, train

    if not dataset_root("drawn").exists():
        prepare_synthetic(dataset_root("drawn"), slides=5, cells_per_class=1, size=64)
    # As `leuko train quickstart --protocol smoke --data drawn --force` does it.
    request = TrainRequest("quickstart", protocol="smoke", data="drawn", force=True)
    # request.options takes what --cfg-options does: {"randomness.seed": 3}.
    return train(request)


if __name__ == "__main__":
    for found in count([Path(name) for name in sys.argv[1:]]):
        print(found)
    run = train_on_drawn_cells()
    print((run / "table.md").read_text(encoding="utf-8"))
