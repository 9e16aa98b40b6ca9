"""What README and docs print can be typed: commands parse, targets and links exist."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest
from tool_module import load_tool

from leuko_mm.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[1]
LINKS = load_tool("docs_links")
PAGES = LINKS.pages()
COMMAND = re.compile(
    r"^(?:    |\$ )?(?:[A-Z_]+=\S+ )*"
    r"(?P<tool>(?:\S*/)?leuko|(?:\S*python3? )?tools/[\w/]+\.py|make) (?P<rest>.*)$"
)


def code_lines(page: Path) -> list[str]:
    """Return the lines of a page's code blocks and its inline code, joined at \\."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    indented = [line for line in text.splitlines() if line.startswith("    ")]
    inline = re.findall(r"`([^`\n]+)`", text)
    return [*"\n".join(fenced).splitlines(), *indented, *inline]


def commands() -> list[tuple[str, str, str]]:
    found = []
    # The changelog names what is gone, too.
    for page in sorted({*PAGES} - {ROOT / "CHANGELOG.md"}):
        for line in code_lines(page):
            for piece in line.split(" && "):
                match = COMMAND.match(piece.split("  #")[0].rstrip())
                if match:
                    tool = re.sub(r".*tools/|.*/(?=leuko$)", "", match["tool"])
                    found.append((page.name, tool, match["rest"]))
    return sorted(set(found))


COMMANDS = commands()


def parses(verb: str, words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog=verb, exit_on_error=False)
    importlib.import_module(f"leuko_mm.cli.{verb}").add_arguments(parser)
    if words != ["--help"]:
        parser.parse_args(words)


@pytest.mark.parametrize(("page", "tool", "rest"), COMMANDS)
def test_a_printed_command_can_be_typed(page, tool, rest):
    # <run> and the like stand for a name of the reader's own.
    words = shlex.split(re.sub(r"<([\w ]+)>", r"\1", rest))
    if tool == "make":
        makefile = (ROOT / "Makefile").read_text()
        targets = [w for w in words if "=" not in w and re.fullmatch(r"[a-z.-]+", w)]
        assert all(
            re.search(rf"^{re.escape(t)}:", makefile, re.MULTILINE) for t in targets
        )
    elif tool == "leuko":
        if words[0].isupper() or words[0].startswith("-"):
            return
        assert words[0] in VERBS, f"{page}: leuko has no verb {words[0]!r}"
        if len(words) > 1:
            parses(words[0], words[1:])
    else:
        assert (ROOT / "tools" / tool).is_file(), f"{page}: no tools/{tool}"
        verb = tool.removesuffix(".py")
        if verb in VERBS:
            parses(verb, words)
        elif hasattr(script := load_tool(verb), "parser"):
            script.parser().parse_args(words)


def test_every_link_leads_somewhere(capsys):
    assert LINKS.main() == 0, capsys.readouterr().out


def test_a_dead_link_is_named(tmp_path):
    (tmp_path / "other.md").write_text("# One `two`: three\n\n```\n# no heading\n```\n")
    good = "[a](other.md) [b](other.md#one-two-three) [c](#here) [d](https://x.org/y)"
    dead = [
        "[`e`](lost.md)",
        "[f](other.md#two)",
        "[g](other.md#no-heading)",
        "[h](#x)",
    ]
    page = tmp_path / "page.md"
    page.write_text(f"## Here\n\n{good} {' '.join(dead)}\n")
    assert LINKS.dead_links(page) == dead


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("count.md", "[a](speed.md#x)", "[a](speed.md#x)"),
        ("count.md", "[a](https://x.org/y.md)", "[a](https://x.org/y.md)"),
        ("count.md", "[a](../README.md)", "[a](index.md)"),
        ("api/losses.md", "[a](../../README.md)", "[a](../index.md)"),
        ("count.md", "[a](../CHANGELOG.md#b)", "[a](changelog.md#b)"),
        ("report.md", "[a](../half/lost.json)", "a"),
        ("count.md", "[a](../configs)", "a"),
    ],
)
def test_the_site_can_follow_a_link(page, link, expected):
    assert LINKS.in_the_site(link, page) == (expected, set())


def test_the_site_takes_in_what_a_page_links_to():
    text, needed = LINKS.in_the_site("![a](../../setup.py)", "api/losses.md")
    assert text == "![a](../files/setup.py)"
    assert needed == {"setup.py"}


def test_the_page_on_registries_has_all():
    page = (ROOT / "docs" / "api" / "registry.md").read_text(encoding="utf-8")
    registry = importlib.import_module("leuko_mm.registry")
    found = vars(registry).items()
    names = {name for name, value in found if isinstance(value, registry.PartRegistry)}
    assert names == set(re.findall(r"`([A-Z_]+)`", page))


ROOMS = ("inference", "transforms", "datasets", "models", "losses", "evaluation")


@pytest.mark.parametrize("room", [*ROOMS, "engine"])
def test_the_api_page_has_every_public_name(room):
    module = importlib.import_module(f"leuko_mm.{room}")
    page = (ROOT / "docs" / "api" / f"{room}.md").read_text(encoding="utf-8")
    assert re.findall(rf"^::: leuko_mm\.{room}\.\S+\.(\w+)$", page, re.M)
    shown = set(re.findall(r"^::: \S+\.(\w+)$", page, re.M))
    assert set(module.__all__) <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_named_file_of_the_project_exists(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:configs|tools|tests|leuko_mm|docs)/[\w./]+\.\w+)`", text)
    lost = [name for name in named if not (ROOT / name).exists()]
    assert not lost


def test_no_page_keeps_both_sides_of_a_merge():
    for page in PAGES:
        assert not re.search(r"^(<{7}|>{7}) ", page.read_text("utf-8"), re.M), page
