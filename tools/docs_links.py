"""Links of the pages: each leads somewhere, heading and all; and how the site has them.

    python tools/docs_links.py

names every dead link and ends with 1. It is a part of ``make lint`` and imports the
standard library alone. mkdocs.yml names this file as a hook as well, because pages link
to files outside docs/: the site takes in ``BORROWED`` as pages and every other linked
file as it is. A link to a folder becomes plain text there.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
# Pages of the site that are kept elsewhere: path in the site, path in the project.
BORROWED = {
    "changelog.md": "CHANGELOG.md",
    "report.md": "results/report/report.md",
    "cards/cbam_unet_compact.md": "leuko_mm/zoo/cbam_unet_compact.md",
    "cards/cell_classes.md": "leuko_mm/zoo/cell_classes.md",
}
PLACES = {path: page for page, path in BORROWED.items()} | {"README.md": "index.md"}
# Where the site has the other files.
FILES = "files"
# Words in brackets, and where they lead: a path and a heading, either may be missing.
LINK = re.compile(
    r"(?P<image>!?)\[(?P<words>(?:!\[[^]]*\]\([^)]*\)|`[^`]*`|[^][`])*)\]"
    r"\((?!\w+:)(?P<path>[^)#\s]*)(?P<heading>#[^)\s]*)?\)"
)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)


def pages() -> list[Path]:
    """Return the pages that a reader meets: those at the root, docs/ and the cards."""
    found = {*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")}
    return sorted(found | {ROOT / path for path in BORROWED.values()})


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub and the site give to the headings of a page."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading)
        found.add(re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-"))
    return found


def dead_links(page: Path) -> list[str]:
    """Return the links of a page whose file or heading is not there."""
    dead = []
    for link in LINK.finditer(FENCED.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / unquote(link["path"]) if link["path"] else page
        there = target.exists()
        if there and link["heading"] and target.suffix == ".md":
            there = link["heading"][1:] in anchors(target.read_text(encoding="utf-8"))
        if not there:
            dead.append(link.group())
    return dead


def in_the_site(text: str, page: str) -> tuple[str, set[str]]:
    """Return a page with links that the site can follow, and the files that it needs.

    Args:
        text: Markdown.
        page: its path in the site.
    """
    needed = set()
    home = posixpath.dirname(BORROWED.get(page, f"docs/{page}"))

    def changed(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(home, link["path"]))
        if not link["path"]:
            return link.group()
        if target.startswith("docs/"):
            place = target.removeprefix("docs/")
        elif target in PLACES:
            place = PLACES[target]
        elif (ROOT / target).is_file() and not target.endswith(".md"):
            needed.add(target)
            place = f"{FILES}/{target}"
        else:
            return link["words"]
        way = posixpath.relpath(place, posixpath.dirname(page) or ".")
        return f"{link['image']}[{link['words']}]({way}{link['heading'] or ''})"

    return LINK.sub(changed, text), needed


def on_files(files, *, config):
    """Add the borrowed pages to the site; mkdocs calls this once."""
    for page, path in BORROWED.items():
        files.append(_file(config, page, path))
    return files


def on_page_markdown(markdown, *, page, config, files):
    """Change the links of a page and add what they lead to; mkdocs calls this."""
    text, needed = in_the_site(markdown, page.file.src_uri)
    for path in sorted(needed):
        place = f"{FILES}/{path}"
        if files.get_file_from_path(place) is None:
            files.append(_file(config, place, path))
    return text


def _file(config, place: str, path: str):
    from mkdocs.structure.files import File  # only where the site is built

    return File.generated(config, place, abs_src_path=str(ROOT / path))


def main() -> int:
    """Print the dead links of all pages; return the exit code."""
    lines = [
        f"{page.relative_to(ROOT)}: {link} leads nowhere"
        for page in pages()
        for link in dead_links(page)
    ]
    print("\n".join(lines) or f"{len(pages())} pages: every link leads somewhere")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
