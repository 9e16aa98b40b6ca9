"""Pages: escaped, complete, self-contained; numbers and pictures as text."""

import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from leuko_mm.report import html


def test_every_value_is_escaped():
    page = html.render("page.html", {"title": "<b>&\"'", "script": ""})
    assert "<title>&lt;b&gt;&amp;&#34;&#39;</title>" in page


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


def test_an_asset_cannot_end_its_element(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "TEMPLATES", tmp_path)
    (tmp_path / "bad.js").write_text("'</script>'")
    with pytest.raises(ValueError, match=r"bad\.js holds '</'"):
        html.asset("bad.js")


def test_a_picture_is_a_jpeg_with_its_size():
    ramp = np.mgrid[:48, :64].sum(axis=0).astype(np.uint8)
    image = cv2.merge([ramp, 255 - ramp, ramp // 2])
    shown = html.picture(image, quality=90)
    assert (shown["width"], shown["height"]) == (64, 48)
    head, _, content = shown["uri"].partition(",")
    assert head == "data:image/jpeg;base64"
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert np.abs(decoded.astype(int) - image).mean() < 2


def test_a_picture_of_noise_becomes_a_jpeg_too():
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert html.picture(noise, quality=88)["uri"].startswith("data:image/jpeg;base64,")


def test_numbers():
    assert html.percent(0.0) == "0.00"
    assert html.percent(91.888) == "91.89"
    assert html.count(0) == "0"
    assert html.count(1234567) == "1\u202f234\u202f567"
    for missing in (html.percent(None), html.percent(float("nan")), html.count(None)):
        assert "&ndash;" in missing
