"""Pages: escaped, complete, self-contained; figures and pictures as text."""

import base64
import io

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from leuko_mm.report import html


def test_every_value_is_escaped():
    page = html.render("page.html", {"title": "<b>&\"'", "script": ""})
    assert "<title>&lt;b&gt;&amp;&#34;&#39;</title>" in page


def test_a_missing_name_is_an_error():
    with pytest.raises(UndefinedError, match="script"):
        html.render("page.html", {"title": "x"})


def test_escaping_does_not_depend_on_the_name_of_a_template():
    template = html.environment().from_string("{{ name }}")
    assert template.render(name="<i>") == "&lt;i&gt;"


def test_the_policy_names_the_very_style_and_script_of_the_page():
    page = html.render("page.html", {"title": "x", "script": "cells.js"})
    policy = page.partition('Content-Security-Policy" content="')[2].partition('"')[0]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for element in ("style", "script"):
        content = page.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
        assert content.strip()
        assert f"{element}-src {html.source_hash(content)}" in policy


def test_a_page_without_a_script_forbids_all_scripts():
    page = html.render("page.html", {"title": "x", "script": ""})
    assert "script-src 'none'" in page
    assert "<script" not in page


def test_an_asset_cannot_end_its_element(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "TEMPLATES", tmp_path)
    (tmp_path / "bad.js").write_text("'</script>'")
    with pytest.raises(ValueError, match=r"bad\.js holds '</'"):
        html.asset("bad.js")


def decoded(uri, kind):
    head, _, content = uri.partition(",")
    assert head == f"data:image/{kind};base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_a_png_uri_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(html.image_uri(image), "png"), image)


def test_a_jpeg_uri_is_smaller_and_near():
    ramp = np.mgrid[:64, :64].sum(axis=0).astype(np.uint8)
    image = cv2.merge([ramp, 255 - ramp, ramp // 2])
    uri = html.image_uri(image, quality=90)
    error = decoded(uri, "jpeg").astype(int) - image
    assert np.abs(error).mean() < 2
    assert len(uri) < len(html.image_uri(np.random.default_rng(0).permuted(image)))


def test_a_picture_of_noise_becomes_a_jpeg_too():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert html.image_uri(noise, quality=88).startswith("data:image/jpeg;base64,")


def test_a_file_is_taken_as_it_is(tmp_path):
    path = tmp_path / "a.SVG"
    path.write_bytes(b"<svg/>")
    assert html.image_uri(path) == html.data_uri(b"<svg/>", "image/svg+xml")


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), "mask.tif"]
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\)|must be one of"):
        html.image_uri(image)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_figure_is_a_dash(missing):
    assert "&ndash;" in html.percent(missing)


def test_figures():
    assert html.percent(0.0) == "0.00"
    assert html.count(0) == "0"
    assert html.count(12345) == "12\u202f345"
    assert "&ndash;" in html.count(None)
