import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from leuko_mm.evaluation import LeukocyteMetric, confusion_matrix, load_cells, scores
from leuko_mm.evaluation.boundary import boundary_counts

CLASSES = ("background", "a", "b")
SIDE = 12


def sample(index, *, tiles=None, prediction=None, **meta):
    random = np.random.default_rng(index)
    truth = random.integers(0, 3, (1, SIDE, SIDE))
    truth[0, 0, :3] = 255
    if prediction is None:
        prediction = random.integers(0, 3, (1, SIDE, SIDE))
    meta = {"img_path": f"images/cell_{index}.png", **meta}
    if tiles is not None:
        meta["tiles"] = tiles
    data = SegDataSample(metainfo=meta)
    data.gt_sem_seg = PixelData(data=torch.from_numpy(truth))
    data.pred_sem_seg = PixelData(data=torch.from_numpy(prediction))
    return data.to_dict()


def quarters(*stems):
    half = SIDE // 2
    corners = [(0, 0), (half, 0), (0, half), (half, half)]
    return [
        {"stem": stem, "group": f"g_{stem}", "box": (x, y, x + half, y + half)}
        for stem, (x, y) in zip(stems, corners, strict=False)
    ]


def metric(out_dir=None, **kwargs):
    built = LeukocyteMetric(out_dir, **kwargs)
    built.dataset_meta = {"classes": CLASSES}
    return built


def counts_of(data, rows=slice(None), columns=slice(None)):
    truth = data["gt_sem_seg"]["data"].numpy()[0, rows, columns]
    prediction = data["pred_sem_seg"]["data"].numpy()[0, rows, columns]
    return confusion_matrix(truth, prediction, 3)


def evaluate(built, samples):
    built.process(None, samples)
    return built.evaluate(len(samples))


def test_whole_images_are_cells(tmp_path):
    samples = [sample(0), sample(1, stem="named", group="slide")]
    returned = evaluate(metric(tmp_path), samples)
    cells = load_cells(tmp_path / "cells.npz")
    assert cells.stem.tolist() == ["cell_0", "named"]
    assert cells.group.tolist() == ["", "slide"]
    assert cells.confusion.dtype == np.int64
    expected = [counts_of(data) for data in samples]
    assert (cells.confusion == np.stack(expected)).all()
    result = scores(sum(expected), CLASSES)
    ious = {f"IoU.{name}": row["iou"] for name, row in result.per_class.items()}
    assert returned == pytest.approx({**result.metrics, **ious})


def test_tiles_are_cells_and_spare_tiles_are_not_scored(tmp_path):
    # Three tiles: the lower right corner of the mosaic is spare.
    data = sample(2, tiles=quarters("p", "q", "r"))
    returned = evaluate(metric(tmp_path), [data])
    cells = load_cells(tmp_path / "cells.npz")
    left, right = slice(0, SIDE // 2), slice(SIDE // 2, SIDE)
    expected = [
        counts_of(data, left, left),
        counts_of(data, left, right),
        counts_of(data, right, left),
    ]
    assert cells.stem.tolist() == ["p", "q", "r"]
    assert cells.group.tolist() == ["g_p", "g_q", "g_r"]
    assert (cells.confusion == np.stack(expected)).all()
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["confusion"] == cells.confusion.sum(axis=0).tolist()
    assert written["classes"] == list(CLASSES)
    pooled = scores(cells.confusion.sum(axis=0), CLASSES)
    assert written["metrics"] == pytest.approx(pooled.metrics)
    assert written["per_class"]["a"] == pytest.approx(pooled.per_class["a"])
    assert returned["mIoU"] == pytest.approx(pooled.metrics["mIoU"])


def test_a_stem_that_occurs_twice_keeps_two_rows(tmp_path):
    evaluate(metric(tmp_path), [sample(4, stem="same"), sample(5, stem="same")])
    assert load_cells(tmp_path / "cells.npz").stem.tolist() == ["same", "same"]


def test_one_result_a_sample():
    built = metric()
    built.process(None, [sample(0, tiles=quarters(*"pqrs")), sample(1)])
    assert [len(rows) for rows in built.results] == [4, 1]


def test_undefined_scores_are_nan_and_null(tmp_path):
    data = sample(0)
    data["gt_sem_seg"]["data"][:] = 0
    data["pred_sem_seg"]["data"][:] = 1
    returned = evaluate(metric(tmp_path), [data])
    assert np.isnan(returned["IoU.b"])
    assert all(isinstance(value, float) for value in returned.values())
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["per_class"]["b"]["iou"] is None


def test_an_interrupted_write_keeps_the_former_file(tmp_path, monkeypatch):
    evaluate(metric(tmp_path), [sample(0)])
    before = (tmp_path / "cells.npz").read_bytes()

    def broken(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", broken)
    with pytest.raises(KeyboardInterrupt):
        evaluate(metric(tmp_path), [sample(1)])
    assert (tmp_path / "cells.npz").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_prefix():
    assert "val/mIoU" in evaluate(metric(prefix="val"), [sample(0)])


def test_sizes_must_agree():
    data = sample(0, prediction=np.zeros((1, 6, 6), int))
    with pytest.raises(ValueError, match=r"cell_0.*\(6, 6\) and the mask \(12, 12\)"):
        metric().process(None, [data])


@pytest.mark.parametrize("box", [(0, 0, 13, 6), (6, 0, 6, 6), (-1, 0, 6, 6)])
def test_tiles_must_lie_inside(box):
    data = sample(0, tiles=[{"stem": "far", "group": "", "box": box}])
    with pytest.raises(ValueError, match="tile far has the box"):
        metric().process(None, [data])


def test_load_cells_refuses_pickles_and_other_files(tmp_path):
    path = tmp_path / "cells.npz"
    np.savez(path, stem=np.array([{}], dtype=object), group=[""], confusion=[[[1]]])
    with pytest.raises(ValueError, match="allow_pickle"):
        load_cells(path)
    np.savez(path, stem=["a"])
    with pytest.raises(ValueError, match=r"no cells\.npz"):
        load_cells(path)
    np.savez(path, stem=["a", "b"], group=["", ""], confusion=np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="2 stems"):
        load_cells(path)


def test_outlines_of_every_cell_are_stored(tmp_path):
    data = sample(2, tiles=quarters("p", "q"))
    evaluate(metric(tmp_path), [data, sample(3)])
    cells = load_cells(tmp_path / "cells.npz")
    truth, prediction = (
        data[key]["data"].numpy()[0, : SIDE // 2, SIDE // 2 :]
        for key in ("gt_sem_seg", "pred_sem_seg")
    )
    assert cells.boundary.shape == (3, 3, 2, 2)
    expected = boundary_counts(truth, prediction, 3)
    assert expected[..., 1].any()
    assert (cells.boundary[1] == expected).all()


def test_a_file_without_outlines_is_read(tmp_path):
    path = tmp_path / "cells.npz"
    older = {"stem": ["a"], "group": ["g"], "confusion": np.ones((1, 2, 2), int)}
    np.savez(path, **older)
    assert load_cells(path).boundary is None
    np.savez(path, **older, boundary=np.ones((1, 3, 2, 2), int))
    with pytest.raises(ValueError, match=r"boundary of \(1, 3, 2, 2\)"):
        load_cells(path)


def score_a_share(rank, rendezvous, out_dir):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    # As DistributedSampler deals five samples: the sixth is a repeat to drop.
    share = [(0, 2, 4), (1, 3, 0)][rank]
    built = metric(out_dir)
    built.process(None, [sample(i, tiles=quarters(*f"{i}xyz")) for i in share])
    returned = built.evaluate(5)
    Path(out_dir, f"returned_{rank}.json").write_text(json.dumps(returned))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    shared.mkdir()
    samples = [sample(i, tiles=quarters(*f"{i}xyz")) for i in range(5)]
    expected = evaluate(metric(alone), samples)
    torch.multiprocessing.spawn(
        score_a_share, (str(tmp_path / "rendezvous"), str(shared)), nprocs=2
    )
    for rank in range(2):
        returned = json.loads((shared / f"returned_{rank}.json").read_text())
        assert returned == pytest.approx(expected, abs=1e-12)
    names = ("stem", "group", "confusion", "boundary")
    one, two = (load_cells(folder / "cells.npz") for folder in (alone, shared))
    assert all((getattr(one, n) == getattr(two, n)).all() for n in names)
    assert json.loads((alone / "metrics.json").read_text()) == json.loads(
        (shared / "metrics.json").read_text()
    )
    assert sorted(os.listdir(shared)) == [
        "cells.npz",
        "metrics.json",
        "returned_0.json",
        "returned_1.json",
    ]
