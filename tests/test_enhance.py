from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leuko_mm import enhance
from leuko_mm.cli.main import main
from leuko_mm.transforms import RetinexParams, enhance_image


def picture(seed=0, side=24):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (side, side + 3, 3), dtype=np.uint8)


def save(path: Path, image=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture() if image is None else image).save(path)
    return path


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.jpg", "deep/c.tif", ".hidden.png", "._b.jpg"):
        save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".TIFF"])
def test_a_file_becomes_what_the_function_makes_of_it(tmp_path, ending, capsys):
    source = save(tmp_path / f"cell{ending}")
    assert main(["enhance", str(source), str(tmp_path / "out")]) == 0
    assert (read(tmp_path / "out/cell.png") == enhance_image(picture())).all()
    assert "1 of 1 enhanced (hsv, default)" in capsys.readouterr().out


def test_reading_and_preset_reach_the_function(tmp_path):
    source, target = save(tmp_path / "a.png"), tmp_path / "made.png"
    words = ["enhance", str(source), str(target), "--reading", "rgb"]
    assert main([*words, "--preset", "min_max"]) == 0
    params = RetinexParams.preset("min_max")
    expected = enhance_image(picture(), reading="rgb", params=params)
    assert (read(target) == expected).all()


def test_a_folder_and_its_folders(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["enhance", str(folder), str(out)]) == 0
    assert names(out) == ["a.png", "b.png", "deep/c.png"]
    assert "3 of 3" in capsys.readouterr().out


def test_out_within_the_folder_is_not_read_again(folder):
    words = ["enhance", str(folder), str(folder / "out")]
    assert main(words) == 0
    assert main([*words, "--force"]) == 0
    assert names(folder / "out") == ["a.png", "b.png", "deep/c.png"]


def test_one_bad_file_is_listed_and_the_rest_done(folder, tmp_path, capsys):
    (folder / "broken.jpg").write_bytes((folder / "b.jpg").read_bytes()[:200])
    (folder / "empty.png").touch()
    assert main(["enhance", str(folder), str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert names(tmp_path / "out") == ["a.png", "b.png", "deep/c.png"]
    assert said.err.count("not enhanced: ") == 2
    assert "broken.jpg" in said.err
    assert "empty.png" in said.err
    assert "3 of 5" in said.out


def test_nothing_is_overwritten_without_force(folder, tmp_path, capsys):
    out = tmp_path / "out"
    kept = save(out / "b.png", picture(5))
    assert main(["enhance", str(folder), str(out)]) == 2
    assert "b.png" in capsys.readouterr().err
    assert names(out) == ["b.png"]
    assert (read(kept) == picture(5)).all()
    assert main(["enhance", str(folder), str(out), "--force"]) == 0
    assert (read(kept) != picture(5)).any()


def test_originals_are_not_replaced_even_by_force(folder, capsys):
    assert main(["enhance", str(folder), str(folder), "--force"]) == 2
    assert "never replaced" in capsys.readouterr().err
    assert (read(folder / "a.png") == picture()).all()


def test_a_write_that_fails_leaves_no_piece(folder, tmp_path, monkeypatch, capsys):
    def full(self, file, format, **_):
        Path(file).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(enhance.Image.Image, "save", full)
    assert main(["enhance", str(folder), str(tmp_path / "out")]) == 1
    assert "no space left" in capsys.readouterr().err
    assert names(tmp_path / "out") == []


def test_what_is_left_out_is_named(folder, tmp_path, capsys, closed):
    save(folder / "run" / "images" / "a.png" / "overlay.png")
    (folder / "run" / "predict.json").write_text("{}")
    save(folder / "closed" / "d.png")
    words = ["enhance", str(folder), str(tmp_path / "out")]
    assert main(words) == 1
    assert names(tmp_path / "out") == ["a.png", "b.png", "deep/c.png"]
    said = capsys.readouterr()
    assert "closed: the folder cannot be opened" in said.err
    assert "1 folder of leuko's own results (run), 1 hidden image" in said.out


def test_a_loop_of_links_is_one_of_the_files(folder, tmp_path, capsys):
    (folder / "loop.png").symlink_to("loop.png")
    assert main(["enhance", str(folder), str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "loop.png" in said.err
    assert "3 of 4 enhanced" in said.out
