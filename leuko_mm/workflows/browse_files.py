"""Put contact sheets into a folder, all of them or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from leuko_mm.errors import UsageError
from leuko_mm.files import replace_folder
from leuko_mm.report.browse_page import BrowsePage, draw_sheet, render_browse_page
from leuko_mm.report.contact_sheet import write_sheet

PAGE_FILE = "browse.html"


def check_place(out: Path, *, kinds: Iterable[str], force: bool) -> None:
    """Refuse to write over anything but contact sheets, and those without ``force``.

    Args:
        out: the folder.
        kinds: names of all sheets that there can be.
        force: whether contact sheets may be replaced.

    Raises:
        UsageError: if something stands there.
    """
    if not out.exists():
        return
    ours = {PAGE_FILE, *(f"{kind}.png" for kind in kinds)}
    if not out.is_dir() or {path.name for path in out.iterdir()} - ours:
        raise UsageError(
            f"{out} holds other things than contact sheets, so it is not replaced; "
            "choose another --out"
        )
    if any(out.iterdir()) and not force:
        raise UsageError(
            f"{out} holds contact sheets; add --force to replace them, or choose "
            "another --out"
        )


def write_page(out: Path, page: BrowsePage) -> None:
    """Write page and sheets, all of them or nothing.

    Raises:
        UsageError: if they cannot be written; what stood there is as it was.
    """
    place, building = out.resolve(), None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        (building / PAGE_FILE).write_text(render_browse_page(page), encoding="utf-8")
        for sheet in page.sheets:
            write_sheet(building / f"{sheet.name}.png", draw_sheet(sheet))
        replace_folder(place, building)
    except OSError as error:
        raise UsageError(
            f"{out} was not written ({error}); mend the cause, or choose another --out"
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
