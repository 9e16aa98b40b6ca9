"""Fixtures that tests of every room share."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from tiny_run import make_data, write_config

ROOT = Path(__file__).resolve().parents[1]
# The search for doctests would import them all by the one name conftest.
collect_ignore_glob = ["*/conftest.py"]
# Of the browser that opens our pages.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the folder of the clone."""
    return ROOT


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Return the folder with real images and weights, or skip the test."""
    folder = Path(os.environ.get("LEUKO_MM_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs real data: LEUKO_MM_SHARED is no folder ({folder})")
    return folder.resolve()


@pytest.fixture(autouse=True)
def _no_folders_of_the_user(monkeypatch):
    # A test that forgets to name its data folder must not read the user's.
    monkeypatch.delenv("LEUKO_MM_DATA", raising=False)


@pytest.fixture
def closed(monkeypatch):
    """Close the folders of this name, for root too."""
    real = os.scandir

    def scandir(path="."):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.fixture
def plant(monkeypatch):
    """Return a function that makes importlib.metadata see other distributions."""
    from leuko_mm import stack

    sound = {
        "torch": "2.13.0+cpu",
        "onedl-mmengine": "0.10.12",
        "onedl-mmcv": "2.3.6",
        "onedl-mmsegmentation": "1.4.2",
        "opencv-python": "5.0.0.93",
    }

    def _plant(**changes):
        seen = sound | {name.replace("_", "-"): v for name, v in changes.items()}

        def version(name):
            if seen.get(name) is None:
                raise metadata.PackageNotFoundError(name)
            return seen[name]

        monkeypatch.setattr(stack.metadata, "version", version)

    _plant()
    return _plant


@pytest.fixture(scope="module")
def one_thread():
    """Compute on one thread: sums over several threads have no fixed order."""
    import torch

    former = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(former)


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory) -> Path:
    """Return a prepared dataset of 40 cells, 24x20 pixels; copy it to change it.

    Four slides of two cells a class; ``fold1`` tests slides 1 and 2. The red of a
    cell's pixels is six times its number, green and blue tell row and column.
    """
    from leuko_mm.classes import CELL_CLASSES
    from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
    from leuko_mm.datasets.splits import slide_folds

    rows, columns = np.mgrid[:20, :24].astype(np.uint8)
    inside = (rows > 3) & (rows < 15) & (columns > 4) & (columns < 18)
    slides, cells = {}, []
    for kind in CELL_CLASSES:
        for slide in (1, 2, 3, 4):
            for number in (1, 2):
                red = np.full_like(rows, 6 * len(cells))
                stem = f"{kind.name[:4]}_{slide}-{number}_0"
                slides[stem] = slide
                cells.append(
                    PreparedCell(
                        stem=stem,
                        class_name=kind.name,
                        group=f"{kind.name}_{slide}",
                        image=np.stack([red, rows * 8, columns * 8], axis=-1),
                        mask=np.where(inside, kind.id, 0).astype(np.uint8),
                    )
                )
    root = tmp_path_factory.mktemp("data") / "tiny"
    write_prepared(
        root,
        cells,
        name="tiny",
        source="numbers",
        licence="CC0-1.0",
        citation="none",
        splits=slide_folds(slides, folds=2),
    )
    return root


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory) -> Path:
    """Return a data home with a tiny synthetic dataset; read only."""
    home = tmp_path_factory.mktemp("data")
    make_data(home)
    return home


@pytest.fixture
def tiny_data(tiny_home, monkeypatch) -> Path:
    """Make the tiny dataset the one that configs find, and return its home."""
    monkeypatch.setenv("LEUKO_MM_DATA", str(tiny_home))
    return tiny_home


@pytest.fixture
def tiny_config(tmp_path) -> Path:
    """Return the config file of a network that trains in seconds."""
    return write_config(tmp_path)


# For every text: its contrast with the ground that lies under it, as WCAG 2 counts.
CONTRASTS = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, under) =>
    [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = (colour) => {
    const part = colour.map((c) => c / 255).map((c) =>
      c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const words = [...element.childNodes].filter((n) => n.nodeType === 3);
    if (!words.some((n) => n.data.trim()) || !element.checkVisibility()) continue;
    if (["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const under = ground(element);
    const ink = over(parse(getComputedStyle(element).color), under);
    const [low, high] = [light(ink), light(under)].sort((a, b) => a - b);
    found.push([(high + 0.05) / (low + 0.05), element.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="session")
def contrasts():
    """Return a function that gives (contrast, text) of every visible text of a tab."""
    return lambda tab: tab.evaluate(CONTRASTS)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Start Chromium with an empty profile; give one tab to all tests."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install playwright"
    )
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=program,
            headless=True,
            args=FLAGS,
            timeout=180_000,
        )
        yield context
        context.close()
