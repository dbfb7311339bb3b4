"""Shops for the tests of commands: one sandbox for all of them, an API key for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shop import Shop
from tests.service import Service, serving


@pytest.fixture(scope="package")
def service() -> Iterator[Service]:
    """A sandbox that refuses prompts with the word forbidden."""
    with serving(faults={"moderation": ["forbidden"]}) as found:
        yield found


@pytest.fixture
def nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the tester's own settings, and a working directory of the test's own."""
    for name in list(os.environ):
        if name.startswith(("HIAPI_", "SEEDANCE_BATCH_", "GITHUB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NO_PROXY", "*")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def shop(tmp_path: Path, service: Service, nobodys: None, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """An empty shop."""
    key = f"sk-{abs(hash(str(tmp_path))):x}"
    monkeypatch.setenv("HIAPI_API_KEY", key)
    return Shop(tmp_path / "work", service, key)
