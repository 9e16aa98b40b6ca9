"""`leuko predict`: its words, its exit codes, and what it refuses."""

from __future__ import annotations

import hashlib
import json

import pytest
from predicted_fields import (
    ColourPredictor,
    content_of,
    write_broken,
    write_fields,
)

from leuko_mm.cli.main import main
from leuko_mm.inference import folder_run as predict
from leuko_mm.inference import model as shipped

NET = ["--checkpoint", "net.pth"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "make_predictor", lambda *_: ColourPredictor())
    (tmp_path / "net.pth").write_bytes(b"tensors")
    (tmp_path / "in").mkdir()
    write_fields(tmp_path / "in", ["a.png", "b.png"])
    return tmp_path


def leuko_predict(*words):
    return main(["predict", *map(str, words)])


def test_counts_and_page_are_told(place, capsys):
    assert leuko_predict("in", "--out", "out", "--checkpoint", "net.pth") == 0
    printed = capsys.readouterr().out
    assert "2 of 2 images done" in printed
    assert "neutrophil" in printed
    assert "33.3 %" in printed
    assert "look at out/report.html" in printed


def test_unsure_and_other_cells_are_counted_apart(place, monkeypatch, capsys):
    predictor = ColourPredictor(accept=0.86, others=(1,))
    monkeypatch.setattr(predict, "make_predictor", lambda *_: predictor)
    more = ("--checkpoint", "net.pth", "--accept", "0.86")
    assert leuko_predict("in", "--out", "out", *more) == 0
    printed = capsys.readouterr().out
    assert "unsure          2   50.0 % of all leukocytes  (" in printed
    assert "other           2   50.0 per 100 leukocytes  (" in printed
    assert '"accept": 0.86' in (place / "out" / "predict.json").read_text()


def test_a_model_of_the_zoo_is_taken_by_its_name(place, monkeypatch, capsys):
    monkeypatch.setenv("LEUKO_MM_DATA", str(place / "data"))
    asked = ["in", "--out", "out", "--checkpoint", "segnet"]
    assert leuko_predict(*asked) == 3
    assert "leuko train segnet" in capsys.readouterr().err
    fetched = place / "data" / "zoo"
    fetched.mkdir(parents=True)
    for suffix in (".pth", ".json"):
        (fetched / f"segnet{suffix}").write_text("{}")
    assert leuko_predict(*asked) == 0
    state = json.loads((place / "out" / "predict.json").read_text())
    assert state["checkpoint"] == "segnet.pth"


def test_a_class_network_is_named_found_and_part_of_the_settings(place, capsys):
    (place / "net.json").write_text(json.dumps(dict(classifier="names.pth")))
    asked = ["in", "--out", "out", "--checkpoint", "net.pth"]
    assert leuko_predict(*asked) == 2
    assert "class network net" not in (said := capsys.readouterr().err)
    assert "names.pth does not exist" in said
    (place / "names.pth").write_bytes(b"names")
    (place / "names.json").write_text(json.dumps(dict(accept=0.7)))
    assert leuko_predict(*asked) == 0
    settings = json.loads((place / "out" / "predict.json").read_text())["settings"]
    assert settings["classifier_sha256"] == hashlib.sha256(b"names").hexdigest()
    assert settings["accept"] == 0.7
    (place / "names.json").write_text(json.dumps(dict(accept=0.8)))
    assert leuko_predict(*asked, "--resume") == 2
    assert "accept 0.7, now 0.8" in capsys.readouterr().err
    assert leuko_predict(*asked, "--resume", "--classifier", "none") == 2
    assert "classifier_sha256" in capsys.readouterr().err
    assert leuko_predict(*asked[:2], "other", *asked[3:], "--classifier", "none") == 0
    assert "threshold" not in capsys.readouterr().out
    assert leuko_predict(*asked[:2], "third", *asked[3:], "--classifier", "") == 2
    assert "--classifier is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.onnx", "missing.onnx does not exist"),
        ("in/", "class network in is no file"),
        ("missing", "no model 'missing' in the zoo"),
    ],
)
def test_only_a_bare_word_is_the_name_of_a_class_network(place, capsys, name, said):
    words = ["in", "--out", "out", *NET, "--classifier", name]
    assert leuko_predict(*words) == 2
    assert said in capsys.readouterr().err


def test_a_class_network_without_a_threshold_is_named(place, capsys):
    (place / "names.pth").write_bytes(b"names")
    (place / "names.json").write_text("{}")
    asked = ["in", "--checkpoint", "net.pth", "--classifier", "names.pth", "--out"]
    assert leuko_predict(*asked, "out") == 0
    said = capsys.readouterr().out
    assert "no cell is unsure; --accept 0.87, as the shipped one has it" in said
    assert "no cell is unsure" in (place / "out" / "report.html").read_text()
    assert leuko_predict(*asked, "given", "--accept", "0") == 0
    assert "threshold" not in capsys.readouterr().out


@pytest.mark.parametrize(("dataset", "warned"), [("synthetic", True), ("bcisc", False)])
def test_a_network_that_knows_drawn_cells_alone_says_so(place, capsys, dataset, warned):
    sidecar = json.dumps(dict(training=dict(dataset=dataset)))
    (place / "net.json").write_text(sidecar)
    assert leuko_predict("in", "--out", "out", "--checkpoint", "net.pth") == 0
    assert ("trained on drawn cells alone" in capsys.readouterr().err) is warned


def test_bad_files_are_named_and_the_code_is_one(place, capsys):
    write_broken(place / "in", 2)
    (place / "in" / "e\x1b[2J.png").write_bytes(b"")
    assert leuko_predict("in", "--out", "out", "--checkpoint", "net.pth") == 1
    printed = capsys.readouterr()
    assert "2 of 5 images done" in printed.out
    assert "not read: broken 00.png: empty, 0 bytes" in printed.err
    assert "\x1b" not in printed.err


def test_two_workers_find_what_one_process_finds(place, capsys):
    pytest.importorskip("distributed")
    asked = ["in", "--checkpoint", "net.pth"]
    assert leuko_predict(*asked, "--out", "one") == 0
    printed = capsys.readouterr().out.replace("one/", "two/")
    assert leuko_predict(*asked, "--out", "two", "--dask", "local:2") == 0
    assert capsys.readouterr().out == printed
    assert content_of(place / "one") == content_of(place / "two")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["in", "--out", "out", *NET, "--dask", "local:0"],
            "local:<number of workers>",
        ),
        (["in", "--out", "out", *NET, "--dask", "tcp:1"], "tcp:1: no dask scheduler"),
        (["nowhere", "--out", "out"], "nowhere does not exist"),
        (["in", "--out", "in"], "something else than a prediction"),
        (["in", "--out", "out", "--checkpoint", "x.pth"], "x.pth does not exist"),
        (
            ["in", "--out", "out", "--checkpoint", "cbam_unet_compct"],
            "Did you mean cbam_unet_compact",
        ),
    ],
)
def test_wrong_use_is_one_message(place, capsys, words, reason):
    assert leuko_predict(*words) == 2
    message = capsys.readouterr().err
    assert reason in message
    assert "Traceback" not in message
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    "words", [["--scale", "nan"], ["--min-area", "-3"], ["--resume", "--force"]]
)
def test_numbers_that_mean_nothing_are_refused(place, words):
    with pytest.raises(SystemExit) as refused:
        leuko_predict("in", "--out", "out", *words)
    assert refused.value.code == 2


def test_without_a_model_the_training_is_named(place, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path / "none")
    assert leuko_predict("in", "--out", "out") == 2
    assert "leuko train cbam_unet" in capsys.readouterr().err
    assert not (place / "out").exists()


def test_a_class_network_that_is_no_name_is_refused(place, capsys):
    (place / "net.json").write_text(json.dumps(dict(classifier=5)))
    assert leuko_predict("in", "--out", "out", "--checkpoint", "net.pth") == 2
    assert "classifier is 5" in capsys.readouterr().err
