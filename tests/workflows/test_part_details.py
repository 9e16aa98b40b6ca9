"""Arguments and snippets: what is shown can be pasted."""

from __future__ import annotations

from leuko_mm.workflows.part_details import (
    arguments_of,
    as_config,
    shipped_use,
    snippet_of,
)
from leuko_mm.workflows.parts_list import Part, find_parts, list_parts


class Base:
    def __init__(self, channels, depth=3, **kwargs):
        pass


class Child(Base):
    def __init__(self, width=1.0, *, channels=8, **kwargs):
        super().__init__(channels, **kwargs)


class Closed(Base):
    def __init__(self, width):
        super().__init__(4)


def step(image, *, strength=0.5):
    pass


def test_arguments_with_defaults_and_who_takes_them():
    found = {a.name: (a.default, a.taken_by) for a in arguments_of(Child)}
    assert found == {
        "width": ("1.0", "Child"),
        "channels": ("8", "Child"),
        "depth": ("3", "Base"),
    }


def test_a_closed_class_hides_its_base():
    (argument,) = arguments_of(Closed)
    assert argument.name == "width"
    assert argument.required


def test_functions_have_arguments_too():
    assert [a.name for a in arguments_of(step)] == ["image", "strength"]


def test_a_class_without_arguments():
    class Plain:
        pass

    assert arguments_of(Plain) == []


def test_a_part_that_no_config_uses_gets_dots():
    part = Part("other.Closed", "heads", "other", "", Closed)
    assert snippet_of(part) == "dict(type='other.Closed', width=...)"


def test_values_of_a_shipped_config_fill_a_snippet():
    (part,) = find_parts("CBAMSkipNeck")
    given = eval(snippet_of(part))
    used = shipped_use("leuko_mm.CBAMSkipNeck")
    assert given == dict(type=part.name, in_channels=used["in_channels"])


def test_an_argument_of_a_base_that_must_be_given_is_in_the_snippet():
    (part,) = find_parts("UNetHead")
    assert eval(snippet_of(part))["num_classes"] == 6


def test_every_snippet_of_ours_is_python_and_names_known_arguments():
    for part in list_parts():
        given = eval(snippet_of(part))
        key = "constructor" if part.kind == "optim_constructors" else "type"
        assert given.pop(key) == part.name
        assert set(given) <= {a.name for a in arguments_of(part.target)}, part.name
        if shipped_use(part.name, key=key):
            assert ... not in given.values(), part.name


def test_long_values_are_broken_into_lines_that_mean_the_same():
    value = dict(type="X", dataset=dict(name="a" * 30, parts=["b" * 30, ("c", None)]))
    text = as_config(value)
    assert eval(text) == value
    assert max(map(len, text.splitlines())) <= 80


def test_keys_that_are_no_names_stay_a_literal():
    assert as_config({"a-b": 1}) == "{'a-b': 1}"
