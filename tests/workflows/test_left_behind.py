"""A command that fails before it has begun leaves nothing behind."""

import pytest

from leuko_mm.workflows.left_behind import nothing_left_behind


def build(work_dir):
    """Leave what mmengine's runner does when it is built."""
    (work_dir / "20260101_120000" / "vis_data").mkdir(parents=True)
    (work_dir / "20260101_120000" / "20260101_120000.log").write_text("words")
    (work_dir / "tiny.py").write_text("model = dict()")


def fail(work_dir, **options):
    def command():
        with nothing_left_behind(work_dir, **options):
            build(work_dir)
            raise ValueError("no such part")

    with pytest.raises(ValueError, match="no such part"):
        command()


def test_no_folder_is_left(tmp_path):
    fail(tmp_path / "work_dirs" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_runs_stays(tmp_path):
    (tmp_path / "work_dirs" / "other").mkdir(parents=True)
    fail(tmp_path / "work_dirs" / "run")
    assert [p.name for p in (tmp_path / "work_dirs").iterdir()] == ["other"]


def test_of_a_former_run_nothing_is_lost(tmp_path):
    work_dir = tmp_path / "run"
    (work_dir / "20250101_120000").mkdir(parents=True)
    for name in ("results.json", "iter_2.pth", "tiny.py", "notes.txt"):
        (work_dir / name).write_text("former")
    former = sorted(work_dir.rglob("*"))
    fail(work_dir)
    assert sorted(work_dir.rglob("*")) == former


def test_what_others_wrote_meanwhile_stays(tmp_path):
    work_dir = tmp_path / "run"

    def command():
        with nothing_left_behind(work_dir):
            build(work_dir)
            (work_dir / "iter_100.pth").write_text("another process")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command()
    assert [p.name for p in work_dir.iterdir()] == ["iter_100.pth"]


def test_what_has_begun_is_kept(tmp_path):
    fail(tmp_path / "run", begun=lambda: True)
    assert (tmp_path / "run" / "tiny.py").exists()


def test_what_ends_well_is_kept(tmp_path):
    with nothing_left_behind(tmp_path / "run"):
        build(tmp_path / "run")
    assert (tmp_path / "run" / "tiny.py").exists()
