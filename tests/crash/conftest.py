from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.tables import pytest_terminal_summary, tell
from tests.rig import Service, serving


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One sandbox process for all tests here: each batch has an API key, so an account, its own."""
    with serving(Path(tmp_path_factory.mktemp("service")), generation_time="0.05") as found:
        yield found


__all__ = ["pytest_terminal_summary", "tell"]
