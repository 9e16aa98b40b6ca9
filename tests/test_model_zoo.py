"""The list of models is complete and true, and the page shows it."""

import json

import pytest
from shipped_configs import CLASS_NETWORK, CONFIGS, METHODS, ROOT
from tool_module import load_tool

from leuko_mm.errors import UsageError
from leuko_mm.inference.model import shipped_folder, shipped_names
from leuko_mm.zoo.entries import ZooEntry, read_entries

HOW = "run python tools/publish.py list"


@pytest.fixture(scope="module")
def writer():
    return load_tool("publish")


def test_every_method_is_an_entry_with_a_config():
    names = sorted([*METHODS, CLASS_NETWORK.stem])
    assert [entry.name for entry in read_entries()] == names, HOW
    for entry in read_entries():
        assert (ROOT / entry.config).is_file()
        assert entry.config == f"configs/{entry.name}.py"


def test_the_files_are_those_that_the_tool_writes(writer):
    models = writer.current_entries()
    text = writer.HEAD + writer.to_yaml(models)
    assert (CONFIGS / "metafile.yml").read_text(encoding="utf-8") == text, HOW
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    table = writer.list_table(models)
    assert writer.put_into(page, "models", table) == page, HOW


def test_what_is_said_to_be_in_the_package_is():
    said = {entry.name: entry.sha256 for entry in read_entries() if entry.shipped}
    there = {
        name: json.loads((shipped_folder() / f"{name}.json").read_text())["sha256"]
        for name in shipped_names()
    }
    assert said == there
    for name in there:
        card = (shipped_folder() / f"{name}.md").read_text(encoding="utf-8")
        assert "not for diagnosis" in card


def test_a_list_is_read_back_as_it_was_written(writer, tmp_path):
    entries = [
        ZooEntry("a", "configs/a.py", 1.5, 2.0, "vgg16"),
        ZooEntry(
            "b",
            "configs/b.py",
            1.0,
            2.0,
            weights="https://example.org/b.pth",
            sha256="f" * 64,
            metrics={"bcisc fold5": {"mIoU": 80.5}},
        ),
    ]
    path = tmp_path / "metafile.yml"
    path.write_text(writer.to_yaml(entries))
    assert read_entries(path) == entries


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Models: 3", "no list 'Models'"),
        ("Models: [{Name: a}]", "model 'a' lacks"),
        ("a: [", "cannot be read"),
        (
            "Models: [{Name: a, Config: c, Metadata: {}, Weights: http://x/a.pth}]",
            "no Metadata.SHA256",
        ),
    ],
)
def test_a_broken_list_is_named(tmp_path, text, said):
    path = tmp_path / "metafile.yml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_entries(path)


def test_an_update_keeps_addresses_and_takes_what_the_package_carries(writer):
    former = [
        ZooEntry("a", "configs/a.py", 1, 1, weights="http://x/a.pth", sha256="1"),
        ZooEntry("gone", "configs/gone.py", 1, 1),
        ZooEntry("c", "configs/c.py", 1, 1, weights="package", sha256="old"),
    ]
    sizes = {n: dict(params_m=2.0, gmacs=3.0, pretrained=None) for n in "abcd"}
    training = dict(dataset="bcisc", split="fold5")
    sidecars = {"b": dict(training=training, metrics=dict(mIoU=81.234), sha256="2")}
    large = {"d": dict(training=training, metrics={}, sha256="3")}
    a, b, c, d = writer.updated_entries(former, sizes, sidecars, large)
    assert (a.weights, a.sha256, a.params_m) == ("http://x/a.pth", "1", 2.0)
    assert (b.weights, b.sha256) == ("package", "2")
    assert b.metrics == {"bcisc fold5": {"mIoU": 81.23}}
    assert (c.weights, c.sha256) == (None, None)
    assert (d.weights, d.sha256) == ("zoo/d.pth", "3")
