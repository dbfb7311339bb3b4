"""A service, and a working directory to call the library in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shop import shots
from tests.service import Service, serving, write_rows


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(faults={"moderation": ["forbidden"]}) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of the test's own, and a key."""
    monkeypatch.setenv("HIAPI_API_KEY", f"sk-{abs(hash(str(tmp_path))):x}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def options(service: Service) -> dict[str, Any]:
    """Options of a run that nothing slows down."""
    return {"api_url": service.api_url, "rpm": 600000, "poll_interval": 0.1, "progress": False}


def manifest(home: Path, count: int = 2) -> Path:
    """A file of so many rows."""
    path = home / "shots.csv"
    write_rows(path, shots(count))
    return path
