"""Faults of the installed libraries, planted through importlib.metadata."""

from __future__ import annotations

import re

import pytest

from leuko_mm import stack


def message():
    with pytest.raises(stack.StackError) as caught:
        stack.require_stack()
    return str(caught.value)


def test_the_libraries_of_this_environment_fit():
    stack.require_stack()


@pytest.mark.parametrize(
    ("name", "requirement"),
    [("torch", stack.TORCH), *((name, name + v) for name, v in stack.TRIO.items())],
)
def test_a_missing_library_is_named_with_its_cure(plant, name, requirement):
    plant(**{name: None})
    text = message()
    assert f"{name} is not installed" in text
    assert text.endswith(f'python -m pip install "{requirement}"')


def test_one_command_installs_all_that_is_missing(plant):
    plant(onedl_mmengine=None, onedl_mmcv=None, onedl_mmsegmentation=None)
    text = message()
    assert text.count("is not installed") == 3
    assert text.count("pip install") == 1
    for requirement in (n + v for n, v in stack.TRIO.items()):
        assert f'"{requirement}"' in text.splitlines()[-1]


def test_the_small_installation_is_told_in_one_line_what_to_install(plant):
    plant(torch=None, onedl_mmengine=None, onedl_mmcv=None, onedl_mmsegmentation=None)
    text = message()
    assert len(text.splitlines()) == 1
    assert text.endswith(f'pip install "{stack.toolkit_requirement()}"')


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        ('{"url": "file:///home/ann/leuko"}', "[train] @ file:///home/ann/leuko"),
        (None, "[train]"),
    ],
)
def test_the_toolkit_is_installed_from_where_the_package_came(
    monkeypatch, origin, requirement
):
    class Installed:
        def read_text(self, name):
            return origin

    monkeypatch.setattr(stack.metadata, "distribution", lambda name: Installed())
    assert stack.toolkit_requirement() == f"leuko-mm{requirement}"


@pytest.mark.parametrize(
    ("ours", "upstream"), [(o, u) for o, us in stack.UPSTREAM.items() for u in us]
)
def test_an_upstream_distribution_beside_ours_is_removed_with_it(plant, ours, upstream):
    plant(**{upstream: "2.1.0"})
    text = message()
    assert f"{upstream} shares its folder with {ours}" in text
    assert text.endswith(
        f"python -m pip uninstall -y {upstream} {ours} && "
        f'python -m pip install "{ours}{stack.TRIO[ours]}"'
    )


def test_an_upstream_distribution_in_place_of_ours_is_replaced(plant):
    plant(mmcv="2.1.0", onedl_mmcv=None)
    assert "pip uninstall -y mmcv && python -m pip install" in message()


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("onedl-mmengine", "0.10.7"),
        ("onedl-mmengine", "0.11.0"),
        ("onedl-mmcv", "2.4.0"),
        ("onedl-mmsegmentation", "1.2.2"),
    ],
)
def test_a_version_outside_the_range_is_named_with_the_range(plant, name, version):
    plant(**{name: version})
    text = message()
    assert f"{name} is {version}, leuko_mm needs {stack.TRIO[name]}" in text
    assert f'python -m pip install "{name}{stack.TRIO[name]}"' in text


def test_a_version_inside_the_range_passes(plant):
    assert stack.stack_faults() == []
    plant(onedl_mmcv="2.3.9", torch="2.4.0")
    assert stack.stack_faults() == []


def test_the_ranges_of_the_messages_are_those_of_the_requirement_files(project_root):
    def lines(name):
        text = (project_root / "requirements" / name).read_text(encoding="utf-8")
        return re.findall(r"^[^#\s].*$", text, flags=re.MULTILINE)

    assert [n + v for n, v in stack.TRIO.items()] == lines("mminstall.txt")
    assert stack.TORCH in lines("train.txt")
