from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from seedance_batch.api.addresses import file_client
from seedance_batch.clips.download import Downloader
from tests.clips.fetching import PATIENT
from tests.clips.hostile import HostileServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests speak to this machine only, whatever the environment says."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    host = HostileServer()
    yield host
    host.close()
    for request in host.requests:  # in every test: the key never reaches a file host
        assert "authorization" not in request.headers
        assert "cookie" not in request.headers


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no TLS here: loading authorities takes 30 ms
    async with file_client(allow_private=True, lanes=8, trusted=nobody) as client:
        yield client


@pytest.fixture
def downloader(tmp_path: Path, http: httpx.AsyncClient) -> Downloader:
    return Downloader(tmp_path, http, allow_private=True, limits=PATIENT)
