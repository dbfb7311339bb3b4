"""The last good price list is kept, and nothing worse ever takes its place."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from seedance_batch.batch.access import load_prices
from seedance_batch.core.pricing import PriceTable
from seedance_batch.settings import Access
from tests.api.test_client import OddServer, answering

PLAIN = {"model_name": "seedance-2-0", "factors": ["duration"], "base_usd_value": 0.05}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def _loaded(server: OddServer, content: Any) -> PriceTable | None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    return anyio.run(lambda: load_prices(Access(server.url, ""), None, needed=False)).table


@pytest.mark.parametrize(
    "content",
    [{"code": 500}, {"data": []}, {"data": None}, [], b"{}", b'{"a":1e99999999999999999}'],
)
def test_an_answer_without_prices_does_not_replace_those_that_are_known(content: Any) -> None:
    with answering(b"") as server:
        assert _loaded(server, content) is None
        good = _loaded(server, {"data": [PLAIN]})
        for _ in range(2):
            kept = _loaded(server, content)
            assert kept is not None
            assert good is not None
            assert kept.models == good.models
            assert "(kept copy)" in kept.source


def test_a_damaged_copy_is_no_price_list(cache: Path) -> None:
    with answering(b"") as server:
        assert _loaded(server, {"data": [PLAIN]}) is not None
        (copy,) = cache.rglob("prices-*.json")
        for text in ('{"version": 1e99999999999999999999}', "[]", "{", "\x00"):
            copy.write_text(text)
            assert _loaded(server, {"code": 500}) is None


def test_a_price_is_exact_in_the_kept_copy_too() -> None:
    with answering(b"") as server:
        _loaded(server, {"data": [PLAIN]})
        kept = _loaded(server, {})
    assert kept is not None
    assert kept.models["seedance-2-0"].base == Decimal("0.05")
