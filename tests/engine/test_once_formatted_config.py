"""The text of a config is laid out once, and is always its own."""

from __future__ import annotations

import copy

from mmengine.config import Config

from leuko_mm.engine import once_formatted_config
from leuko_mm.engine.once_formatted_config import KEPT, formatted_once

CONTENT = dict(model=dict(type="A", layers=[1, 2], more=(3, None)), path="a b")


def test_the_text_is_that_of_mmengine():
    plain = Config(copy.deepcopy(CONTENT))
    assert formatted_once(plain).pretty_text == plain.pretty_text


def test_the_text_is_laid_out_once(monkeypatch):
    config = formatted_once(Config(copy.deepcopy(CONTENT)))
    text = config.pretty_text
    monkeypatch.setattr(Config, "pretty_text", None)
    assert config.pretty_text == copy.deepcopy(config).pretty_text == text


def test_a_change_shows():
    config = formatted_once(Config(copy.deepcopy(CONTENT)))
    assert "layers=[\n" in config.pretty_text or "[1, 2" in config.pretty_text
    config.model.layers = [7]
    assert "7" in config.pretty_text
    assert "7" not in formatted_once(Config(copy.deepcopy(CONTENT))).pretty_text


def test_few_texts_are_kept():
    for seed in range(KEPT + 3):
        assert str(seed) in formatted_once(Config(dict(seed=seed))).pretty_text
    assert len(once_formatted_config._laid_out) == KEPT
