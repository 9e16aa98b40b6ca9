"""The page about a run: every section, escaped names, dashes, and panels of a cell."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASSES
from leuko_mm.report.run_page import PANEL_SIDE, cell_panels, render_run_report

VOID = {"meta", "link", "img", "source", "rect"}


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


@pytest.fixture(scope="module")
def text(page):
    return render_run_report(page)


@pytest.fixture(scope="module")
def outline(text):
    return Outline(text)


def test_hostile_names_stay_text(page, hostile):
    first = replace(page.cells[0], stem=hostile, group=hostile)
    text = render_run_report(replace(page, cells=(first,), loss=None))
    outline = Outline(text)
    assert hostile not in text
    assert len(outline.all("script")) == 1  # the page's own
    assert outline.text.count(hostile) == 5  # title, heading, cell, group, fact
    alternatives = [image["alt"] for image in outline.all("img")]
    assert f"{hostile}, input" in alternatives


def test_the_page_fetches_nothing(outline):
    for tag in ("img", "source"):
        for attributes in outline.all(tag):
            assert attributes.get("src", attributes.get("srcset")).startswith("data:")
    assert [link["href"] for link in outline.all("link")] == ["data:,"]
    assert "http" not in re.sub(r'content="[^"]*"|data:[^"]*', "", outline.text)
    assert not outline.all("iframe")
    assert all("style" not in attributes for _, attributes in outline.elements)


def test_links_lead_to_sections_and_to_files_beside_the_page(outline):
    links = [a["href"] for a in outline.all("a")]
    files = [link for link in links if not link.startswith("#")]
    assert files == ["./overlays/01%20%232%3F.png"]
    names = {attributes.get("id") for _, attributes in outline.elements}
    assert {link[1:] for link in links if link not in files} <= names
    for attributes in outline.all("section"):
        assert attributes["aria-labelledby"] in names


def test_tables_and_landmarks_are_labelled(page, outline):
    assert all(th["scope"] in {"row", "col", "colgroup"} for th in outline.all("th"))
    tables = len(outline.all("table"))
    assert tables == len(outline.all("caption")) == 2 + len(page.cells)
    assert outline.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(outline.all(landmark)) == 1


def test_every_picture_has_words(page, outline):
    images = outline.all("img")
    assert len(images) == 4 * len(page.cells) + 1
    assert len({image["alt"] for image in images}) == len(images)
    assert images[-1]["alt"] == (
        "Training loss: 2.5 at iteration 10, 0.75 at iteration 30; encoder thawed at 15"
    )


def test_numbers_are_shown_and_gaps_are_dashes(text, outline):
    words = outline.text
    assert "mean IoU 81.50 %" in words
    assert "mean F1 \u2013 all classes" in words
    assert "91.23" in words
    assert "None" not in words
    assert "nan" not in words.split()
    assert "90\u202f000" in words
    # An empty class: five scores in its row, six shares in the confusion's row, one
    # recall elsewhere, and one headline.
    assert text.count("&ndash;") == 5 + 6 + 1 + 1


def test_cells_name_the_class_they_were_given(outline):
    words = outline.text
    assert words.count("right class") == 4
    assert "predicted as neutrophil" in words
    assert words.count("not found") == 1
    assert "rank 1 of 50" in words


def test_cells_may_have_no_pictures(page):
    missing = ("image", "enhanced", "true_labels", "predicted_labels")
    bare = replace(page.cells[0], **dict.fromkeys(missing), pixels=())
    plain = replace(page.cells[1], enhanced=None)
    shown = replace(page, cells=(bare, plain), loss=None)
    outline = Outline(render_run_report(shown))
    assert "no picture was kept of this cell" in outline.text
    assert len(outline.all("img")) == 3


@pytest.mark.parametrize(
    ("emptied", "gone"),
    [(dict(cells=()), "cells"), (dict(loss=None), "loss")],
)
def test_empty_sections_are_left_out_with_their_links(page, emptied, gone):
    outline = Outline(render_run_report(replace(page, **emptied)))
    sections = [section["id"] for section in outline.all("section")]
    assert gone not in sections
    assert f"#{gone}" not in [a["href"] for a in outline.all("a")]


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


def test_large_images_shrink(page):
    image = np.zeros((900, 700, 3), np.uint8)
    panels = panels_of(page, image, image[..., 0], image[..., 0])
    assert {p.shape for p in panels.values()} == {(PANEL_SIDE, 249, 3)}


def test_labels_must_be_integers(page):
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="expected"):
        panels_of(page, image, np.zeros((9, 9)), image[..., 0])
