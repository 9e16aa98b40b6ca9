"""The loss curve joins the logs of a run, resumptions included."""

import json

from leuko_mm.workflows.pictures import read_losses


def log(work_dir, started, losses):
    folder = work_dir / started / "vis_data"
    folder.mkdir(parents=True)
    lines = [json.dumps(dict(step=step, loss=loss)) for step, loss in losses.items()]
    lines.append(json.dumps(dict(step=9, mIoU=1.0)))
    (folder / "scalars.json").write_text("\n".join(lines) + "\n")


def test_no_log_gives_no_losses(tmp_path):
    assert read_losses(tmp_path) == {}


def test_logs_are_joined_and_the_later_counts(tmp_path):
    log(tmp_path, "20260102_000000", {20: 0.5, 30: 0.4})
    log(tmp_path, "20260101_000000", {10: 0.9, 20: 0.7})
    losses = read_losses(tmp_path)
    assert losses == {10: 0.9, 20: 0.5, 30: 0.4}
    assert list(losses) == [10, 20, 30]


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    """As a full disk or a lost machine leaves it, before the training goes on."""
    log(tmp_path, "20260101_000000", {10: 0.9, 20: 0.7})
    path = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    with path.open("a") as file:
        file.write('{"step": 30, "lo')
    assert read_losses(tmp_path) == {10: 0.9, 20: 0.7}
    path.write_bytes(path.read_bytes() + b"\xff\0\0\n[1]\n3\n")
    assert read_losses(tmp_path) == {10: 0.9, 20: 0.7}
