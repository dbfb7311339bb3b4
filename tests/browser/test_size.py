"""Two thousand rows are as light as twenty, because only what is in sight is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.page import sample

from .conftest import Review, ids

COUNT = 2_000
LOADED = "document.querySelectorAll('img[src], video[src]').length"


@pytest.mark.slow
def test_of_two_thousand_rows_only_what_is_in_sight_is_loaded(
    review: Review, tab: Any, tmp_path: Path
) -> None:
    page = review(sample(tmp_path, COUNT), clips=False)
    assert page.stat().st_size < 4_000_000
    tab.wait_for_selector("img[src]")
    most = 0
    for _ in range(12):
        tab.mouse.wheel(0, 2_500)
        tab.wait_for_timeout(40)
        most = max(most, tab.evaluate(LOADED))
    print("media elements loaded at most:", most)  # noqa: T201
    assert 0 < most <= 40
    tab.fill("#search", "scene 1999,")
    assert ["shot-1999"] == ids(tab)
