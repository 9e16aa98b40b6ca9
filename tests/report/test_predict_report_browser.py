"""A browser opens the page about a prediction, corrects a class, and saves it.

The whole way: images and broken files of hostile names, `leuko predict` with a
stand-in for the network, the page, and `leuko prepare folders` of what it saved.
"""

from __future__ import annotations

import csv
import json
import os
import shlex

import numpy as np
import pytest
from PIL import Image
from predicted_fields import (
    HOSTILE_NAMES,
    ColourPredictor,
    predicted,
    write_broken,
    write_fields,
)

from leuko_mm.cli.main import main
from leuko_mm.datasets.prepared import read_index
from leuko_mm.inference.cells import wilson_interval
from leuko_mm.inference.folder_run import PredictRequest, predict_files


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Predict a folder with names that would break a careless page."""
    root = tmp_path_factory.mktemp("predict")
    (root / "smears").mkdir()
    (root / "net.pth").write_bytes(b"tensors")
    write_fields(root / "smears", HOSTILE_NAMES)
    write_broken(root / "smears", 4)
    request = PredictRequest(
        paths=[str(root / "smears")], out=root / "out", checkpoint=root / "net.pth"
    )
    predict_files(request, predictor_of=lambda *_: ColourPredictor())
    return root


@pytest.fixture
def tab(visit, place):
    """Open the page."""
    return visit(place / "out" / "report.html")


def card_of(tab, name, number=1):
    """Return the card of a cell, by its image and number."""
    cards = tab.locator(".cell").filter(has=tab.locator(f'[title="{name}"]'))
    return cards.filter(has_text=f"#{number}").first


def row_of(tab, name):
    """Return count, percent and interval as the table shows them."""
    cells = tab.locator(f'tr[data-answer="{name}"] td.number').all_inner_texts()
    count, share, ends = cells
    return (int(count), float(share), *map(float, ends.split("\u2013")))


def percent(ends):
    return [round(100 * end, 1) for end in ends]


def odds(low, high):
    return low / (1 - low), high / (1 - high)


def saved_by(tab, tmp_path):
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="save corrections").click()
    assert waiting.value.suggested_filename == "corrections.json"
    file = tmp_path / "corrections.json"
    waiting.value.save_as(file)
    return file


def test_hostile_names_are_shown_as_they_are(tab):
    tab.evaluate("for (const i of document.images) i.loading = 'eager'")
    tab.wait_for_function(
        "[...document.querySelectorAll('main section img')]"
        ".every((i) => i.naturalWidth > 0 || !i.getAttribute('src'))"
    )
    assert tab.locator(".cell").count() == 3 * len(HOSTILE_NAMES)
    assert tab.locator("#failed li").count() == 4
    shown = set(tab.locator(".fields a").all_inner_texts())
    assert {name for name in HOSTILE_NAMES if "\t" not in name} <= shown
    assert tab.locator("main script").count() == 0
    assert tab.locator("img[src=x]").count() == 0


def test_a_corrected_class_goes_all_the_way_back(tab, place, tmp_path, monkeypatch):
    named, basophils = "with space.png", row_of(tab, "basophil")[0]
    # With the mouse, in the list; and with the keyboard alone, in the field.
    card_of(tab, named).get_by_role("combobox").select_option("basophil")
    card_of(tab, "plain.png", 2).locator(".open").focus()
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog")
    assert dialog.get_by_role("heading").inner_text() == "plain.png #2"
    box = dialog.locator(".field-view rect").bounding_box()
    assert box["width"] > 50
    tab.keyboard.press("0")
    assert dialog.get_by_role("combobox").input_value() == "background"
    tab.keyboard.press("Escape")
    assert tab.get_by_role("status").inner_text() == "2 corrections"
    assert row_of(tab, "basophil")[0] == basophils + 1
    assert tab.locator(".by-hand:visible").count() == 2
    said = card_of(tab, named).locator(".cell-figures").inner_text()
    assert said.startswith("corrected")
    file = saved_by(tab, tmp_path)
    assert tab.get_by_role("status").inner_text() == "2 corrections, saved"
    coco = json.loads(file.read_text(encoding="utf-8"))
    assert coco["info"]["corrections"] == 2
    changed = [entry for entry in coco["annotations"] if entry["corrected"]]
    assert [entry["predicted"] for entry in changed] == ["neutrophil", "eosinophil"]

    # As the page says, but with the file where it was saved.
    words = shlex.split(tab.locator("#facts .lead code").inner_text())
    assert words[:2] == ["leuko", "prepare"]
    words[words.index("corrections.json")] = str(file)
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    assert main(words[1:]) == 0
    made = tmp_path / "data" / "corrected" / "masks"
    for name, number, label in ((named, 1, 1), ("plain.png", 2, 0)):
        stem = name.removesuffix(".png").replace(" ", "_")
        mask = np.array(Image.open(made / f"{stem}.png"))
        folder = place / "out" / "images" / name
        before = np.array(Image.open(folder / "labels.png"))
        record = json.loads((folder / "record.json").read_text())
        x0, y0, x1, y1 = record["cells"][number - 1]["box"]
        inside = np.zeros(mask.shape, bool)
        inside[y0:y1, x0:x1] = before[y0:y1, x0:x1] > 0
        assert (mask[inside] == label).all()
        assert (mask[~inside] == before[~inside]).all()


def test_saved_corrections_can_be_loaded_again(tab, tmp_path):
    card_of(tab, "plain.png").get_by_role("combobox").select_option("ignore")
    file = saved_by(tab, tmp_path)
    tab.reload()
    assert tab.get_by_role("status").inner_text() == "0 corrections"
    tab.locator(".load input").set_input_files(file)
    tab.wait_for_function(
        "document.querySelector('[role=status]').textContent.startsWith('1 ')"
    )
    chosen = card_of(tab, "plain.png").get_by_role("combobox")
    assert chosen.input_value() == "ignore"


def test_cells_without_a_class_come_first_and_get_one(visit, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    write_fields(tmp_path / "in", ["a.png", "b.png"], kinds=(1, 5, 5))
    predicted(tmp_path, predictor=ColourPredictor(accept=0.86, others=(1,)))
    tab = visit(tmp_path / "out" / "report.html")
    groups = [text.split()[0] for text in tab.locator("h3:visible").all_inner_texts()]
    assert groups == ["unsure", "other", "basophil", "neutrophil"]
    # An unsure cell of a.png is an eosinophil, and a neutrophil is other: by keys.
    card_of(tab, "a.png", 3).locator(".open").click()
    assert tab.locator(".field-figures").inner_text().startswith("unsure: neutrophil?")
    tab.keyboard.press("2")
    tab.evaluate(
        "() => { window.closing = new Promise(done => document.querySelector("
        "'dialog[open]').addEventListener('close', () => done())); }"
    )
    tab.keyboard.press("Escape")
    # When it has closed, the dialog moves the focus to the cell that opened it.
    tab.evaluate("() => window.closing")
    card_of(tab, "a.png", 2).locator(".open").focus()
    tab.keyboard.press("o")
    names = ("basophil", "eosinophil", "lymphocyte", "unsure", "other")
    counts = {name: row_of(tab, name) for name in names}
    assert counts == {
        "basophil": (1, 50.0, *percent(wilson_interval(1, 2))),
        "eosinophil": (1, 50.0, *percent(wilson_interval(1, 2))),
        "lymphocyte": (0, 0.0, *percent(wilson_interval(0, 2))),
        "unsure": (1, 33.3, *percent(wilson_interval(1, 3))),
        "other": (3, 100.0, *percent(odds(*wilson_interval(3, 6)))),
    }
    # One more of b.png, taken back by keys; and the table, as it is saved.
    card_of(tab, "b.png", 1).get_by_role("combobox").select_option("monocyte")
    assert row_of(tab, "monocyte")[0] == 1
    card_of(tab, "b.png", 1).locator(".open").focus()
    tab.keyboard.press("Control+z")
    assert row_of(tab, "monocyte")[0] == 0
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="save the count").click()
    waiting.value.save_as(tmp_path / "differential.csv")
    saved = list(csv.reader((tmp_path / "differential.csv").open()))
    assert saved[0] == ["class", "count", "percent", "low95", "high95"]
    rows = {name: tuple(map(float, values)) for name, *values in saved[1:]}
    assert {name: rows[name] for name in names} == counts
    file = saved_by(tab, tmp_path)
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    words = ["prepare", "folders", str(tmp_path / "in"), str(file), "--crop", "24"]
    assert main([*words, "--name", "mine", "--yes"]) == 0
    rows = read_index(tmp_path / "data" / "mine")
    classes = sorted(row.class_name for row in rows if row.kind == "cell")
    # The unsure cell of b.png is ignored, as a person's "unsure" is.
    assert classes == ["basophil", "eosinophil", "other", "other", "other"]


def test_a_page_of_classes_alone_counts_what_a_person_calls_otherwise(tab, tmp_path):
    caption = tab.locator(".differential caption")
    assert "of all cells found" in caption.inner_text()
    assert tab.locator("tr[data-answer]:visible").count() == 5
    cards = tab.locator(".cell .open")
    cards.first.focus()
    for key in ("u", "u", "Control+Shift+Z"):
        tab.keyboard.press(key)
    assert row_of(tab, "unsure")[:2] == (1, 2.8)
    assert "whose class counts" in caption.inner_text()
    tab.keyboard.press("Control+z")
    assert tab.get_by_role("status").inner_text() == "0 corrections"
    assert tab.locator("tr[data-answer]:visible").count() == 5
    assert "of all cells found" in caption.inner_text()
    for number in range(cards.count()):
        cards.nth(number).focus()
        tab.keyboard.press("o")
    row = tab.locator("tr[data-answer=other] td.number")
    assert row.all_inner_texts() == ["36", "-", "-\u2013-"]
    with tab.expect_download() as waiting:
        tab.get_by_role("button", name="save the count").click()
    waiting.value.save_as(tmp_path / "differential.csv")
    assert "other,36,,,\n" in (tmp_path / "differential.csv").read_text()


def test_loading_what_is_chosen_already_leaves_nothing_to_undo(tab, tmp_path):
    file = saved_by(tab, tmp_path)
    tab.locator(".load input").set_input_files(file)
    tab.wait_for_function(
        "document.querySelector('[role=status]').textContent === '0 corrections'"
    )
    assert tab.get_by_role("button", name="undo").is_disabled()


def test_a_cell_of_an_image_whose_name_is_no_text_is_opened(visit, tmp_path):
    write_fields(tmp_path / "in", [os.fsdecode(b"Gr\xf6sse.png")])
    predicted(tmp_path)
    tab = visit(tmp_path / "out" / "report.html")
    tab.locator(".cell .open").first.click()
    link = tab.get_by_role("dialog").get_by_role("link", name="the whole overlay")
    link.wait_for()
    overlay = "./images/Gr%F6sse.png/overlay.png"
    assert link.get_attribute("href") == overlay


def test_arrow_keys_stay_within_the_class(tab):
    tab.get_by_role("button", name="eosinophil", exact=True).click()
    assert tab.locator(".cell-group:visible").count() == 1
    first = tab.locator(".cell:visible .open").first
    first.click()
    for _ in range(tab.locator(".cell:visible").count()):
        tab.keyboard.press("ArrowRight")
        said = tab.locator(".field-figures").inner_text()
        assert said.startswith("eosinophil")
    tab.get_by_role("button", name="close").click()
    assert first.evaluate("(link) => link === document.activeElement")


@pytest.mark.slow
def test_two_hundred_files_of_which_twenty_are_broken(visit, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "net.pth").write_bytes(b"tensors")
    names = [f"{i} {HOSTILE_NAMES[i % len(HOSTILE_NAMES)]}" for i in range(168)]
    write_fields(tmp_path / "in", [*HOSTILE_NAMES, *names])
    broken = write_broken(tmp_path / "in", 20)
    request = PredictRequest(
        paths=[str(tmp_path / "in")],
        out=tmp_path / "out",
        checkpoint=tmp_path / "net.pth",
    )
    outcome = predict_files(request, predictor_of=lambda *_: ColourPredictor())
    assert len(outcome.records) == 180
    assert sorted(outcome.failed) == broken
    assert all(outcome.failed.values())
    file = tmp_path / "out" / "report.html"
    assert file.stat().st_size < 8e6
    tab = visit(file)
    assert tab.locator(".cell").count() == 540
    assert tab.locator(".fields > li").count() == 180
    assert tab.locator(".fields img").count() == 60
    assert tab.locator("#failed li").count() == 20
    notes = tab.locator(".left-out").all_inner_texts()
    assert any(note.startswith("The fields of 60") for note in notes)
    assert tab.locator("script").count() == 2
    assert tab.locator("img[onerror], img[src=x]").count() == 0
