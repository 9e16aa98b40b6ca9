"""What the package carries is found; what it does not, says how to make it."""

import pytest

from leuko_mm.cli.main import exit_code_of
from leuko_mm.inference import shipped
from leuko_mm.inference.shipped import (
    NotShippedError,
    shipped_checkpoint,
    shipped_names,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path)
    return tmp_path


def test_a_checkpoint_is_found_with_its_sidecar(folder):
    (folder / "a.pth").touch()
    (folder / "a.json").touch()
    assert shipped_checkpoint("a") == folder / "a.pth"
    assert shipped_names() == ["a"]


def test_half_a_checkpoint_is_none(folder):
    (folder / "a.pth").touch()
    assert shipped_names() == []
    with pytest.raises(NotShippedError, match="no checkpoint 'a'"):
        shipped_checkpoint("a")


def test_the_mend_is_named_and_ends_with_2(folder):
    with pytest.raises(NotShippedError, match="leuko train cbam_unet_compact") as found:
        shipped_checkpoint()
    assert exit_code_of(found.value) == 2


def test_everything_shipped_has_a_sidecar_and_fits_the_wheel():
    files = sorted(shipped.shipped_folder().glob("*.pth"))
    assert [file.stem for file in files] == shipped_names()
    assert all(file.stat().st_size <= 8_000_000 for file in files)
    assert sum(file.stat().st_size for file in files) <= 16_000_000
