"""Fewer resamples than a published report has."""

from __future__ import annotations

import pytest

from leuko_mm.comparison import measurements


@pytest.fixture(scope="session", autouse=True)
def _few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "RESAMPLES", 200)
        yield
