"""The pages: well-formed, escaped, complete, and without any other file."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, CLASSES
from leuko_mm.report.predict_page import doubtful_first, render_predict_report
from leuko_mm.report.run_page import PANEL_SIDE, cell_panels, render_run_report

NAMES = ("run", "check", "browse", "predict")
VOID = {"meta", "link", "img", "input", "source", "rect"}


class Outline(HTMLParser):
    """Reads a page as browsers do, and refuses elements that do not close."""

    def __init__(self, page):
        super().__init__()
        self.path, self.elements, self.words = [], [], []
        self.feed(page)
        assert not self.path

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.path.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.path.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.path):
            self.words.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(word for word in self.words if word)


def test_other_is_a_class_of_a_network_that_names_cells(page):
    other = replace(page.classes[0], name="other", short="other")
    cells = [
        replace(page.cells[0], truth=truth, majority=majority)
        for truth, majority in ((0, 2), (2, 0), (0, 0))
    ]
    classes = (other, *page.classes[1:])
    shown = replace(page, whole=True, classes=classes, cells=tuple(cells))
    text = " ".join(Outline(render_run_report(shown)).text.split())
    assert "no cell" not in text
    assert "not found" not in text
    assert text.count("✓ right class") == 1
    assert re.search("✗ predicted as (other )+", text)


@pytest.fixture(scope="module")
def outlines(pages):
    return {name: Outline(text) for name, text in pages.items()}


@pytest.fixture
def run(outlines):
    return outlines["run"]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_stay_text(pages, outlines, hostile, name):
    assert hostile not in pages[name]
    assert "alert('x')</script>" not in pages[name]
    assert outlines[name].text.count(hostile) >= 2
    # The page's own script, and the data of it.
    expected = {
        "run": [{}],
        "predict": [dict(type="application/json", id="content"), {}],
    }
    assert outlines[name].all("script") == expected.get(name, [])


@pytest.mark.parametrize("name", NAMES)
def test_a_page_loads_nothing(outlines, name):
    outline = outlines[name]
    for tag in ("img", "source"):
        for attributes in outline.all(tag):
            source = attributes.get("src", attributes.get("srcset", "data:"))
            assert source.startswith("data:")
    assert [link["href"] for link in outline.all("link")] == ["data:,"]
    assert not outline.all("iframe")
    assert all("style" not in attributes for _, attributes in outline.elements)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_sections_and_to_files_beside_the_page(outlines, name):
    links = [a["href"] for a in outlines[name].all("a")]
    files = [link for link in links if not link.startswith("#")]
    assert all(re.fullmatch(r"\./[\w./%-]+", link) for link in files)
    names = {attributes.get("id") for _, attributes in outlines[name].elements}
    # "#" is filled in by the script of the page.
    assert {link[1:] for link in links if link not in files} <= {"", *names}
    for attributes in outlines[name].all("section"):
        assert attributes["aria-labelledby"] in names


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_landmarks_are_labelled(outlines, name):
    outline = outlines[name]
    scopes = {"row", "col", "colgroup"}
    assert all(th["scope"] in scopes for th in outline.all("th"))
    assert outline.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "h1"):
        assert len(outline.all(landmark)) == 1


def test_every_picture_of_a_run_has_words(page, run):
    images = run.all("img")
    assert len(images) == 4 * len(page.cells) + 1
    assert len({image["alt"] for image in images}) == len(images)
    assert images[-1]["alt"] == (
        "Training loss: 2.5 at iteration 10, 0.75 at iteration 30; encoder thawed at 15"
    )


def test_numbers_of_a_run_are_shown_and_gaps_are_dashes(pages, run):
    words = run.text
    assert "mean IoU 81.50 %" in words
    assert "mean F1 \u2013 all classes" in words
    assert "91.23" in words
    assert "None" not in words
    assert "nan" not in words.split()
    assert "90\u202f000" in words
    # An empty class: five scores in its row, six shares in the confusion's row, one
    # recall elsewhere, and one headline.
    assert pages["run"].count("&ndash;") == 5 + 6 + 1 + 1
    assert words.count("right class") == 4
    assert "predicted as neutrophil" in words
    assert words.count("not found") == 1
    assert "rank 1 of 50" in words


LEGEND = {c.name: c.colour for c in CLASSES}


def panels_of(page, image, truth, prediction, enhanced=None):
    """Return the panels by caption, decoded."""
    given = dict(image=image, true_labels=truth, predicted_labels=prediction)
    cell = replace(page.cells[0], **given, enhanced=enhanced)
    decoded = {}
    for panel in cell_panels(cell, LEGEND):
        content = base64.b64decode(panel["uri"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(content))).astype(int)
        assert pixels.shape == (panel["height"], panel["width"], 3)
        decoded[panel["caption"]] = pixels
    return decoded


def test_each_panel_shows_its_own(page):
    image = np.full((30, 60, 3), 200, np.uint8)
    labels = np.zeros((30, 60), np.int64)
    labels[:, 30:] = 1
    panels = panels_of(page, image, labels, 0 * labels, enhanced=image // 2)
    assert list(panels) == ["input", "enhanced", "truth", "prediction"]
    assert {p.shape for p in panels.values()} == {(PANEL_SIDE // 2, PANEL_SIDE, 3)}
    middle = {caption: pixels[80] for caption, pixels in panels.items()}
    assert abs(middle["input"] - 200).max() < 4
    assert abs(middle["enhanced"] - 100).max() < 4
    assert abs(middle["prediction"] - 200).max() < 4
    # Red over the right half only: its left edge is at the middle.
    assert abs(middle["truth"][:150] - 200).max() < 8
    assert middle["truth"][200][0] > middle["truth"][200][1] + 30


def test_findings_and_counts_are_on_the_page(pages):
    page = pages["check"]
    assert page.count('<article class="finding">') == 3
    assert "\N{BALLOT X} error" in page
    assert "further_1.png" in page
    assert page.count("data:image/jpeg;base64,") == 4
    assert page.count('<tr><th scope="row">') == 3


def test_the_script_gets_every_cell(pages, hostile):
    data = re.search(r'id="content">(.*?)</script>', pages["predict"], re.DOTALL)[1]
    content = json.loads(data)
    assert content["images"][0]["file_name"] == f"{hostile}.png"
    assert [c["id"] for c in content["images"][0]["cells"]] == [1, 2, 3]
    assert content["classes"] == list(CLASS_NAMES)


def test_the_most_doubtful_come_first_and_hidden_ones_are_counted(pages):
    page = pages["predict"]
    order = re.findall(r'<li class="cell" data-field="0" data-cell="(\d)">', page)
    assert order == ["2", "1"]
    assert "1, 0 shown" in page


def test_hundreds_of_cells_stay_a_few_megabytes(predict_data):
    field = predict_data.fields[0]
    # Noise is the worst that a thumbnail can show.
    noise = np.random.default_rng(0).integers(0, 255, (600, 96, 96, 3), dtype=np.uint8)
    cells = tuple(
        replace(field.cells[0], id=i, class_id=1 + i % 5, thumbnail=thumbnail)
        for i, thumbnail in enumerate(noise)
    )
    many = replace(predict_data, fields=(replace(field, cells=cells),))
    assert len(render_predict_report(many)) < 12e6


def test_a_rare_class_is_shown_among_many():
    chosen = doubtful_first([(0.1, 5)] * 100 + [(0.99, 1)] * 3, 10)
    assert len(chosen) == 10
    assert {100, 101, 102} <= chosen
