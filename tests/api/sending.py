"""Callbacks as HiAPI sends them, and as others might."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from seedance_batch.core.attempt import Attempt
from tests.benchmarks.world import SECRET, World
from tests.in_process import InProcess


def finished(task_id: str, url: str = "http://127.0.0.1/clip.mp4") -> dict[str, Any]:
    """A task object that says it succeeded."""
    return {
        "taskId": task_id,
        "model": "seedance-2-0",
        "status": "success",
        "created": 1_800_000_000,
        "completed": 1_800_000_010,
        "output": [{"url": url, "type": "video", "expireAt": 1_900_000_000}],
    }


def encoded(task: Any) -> bytes:
    return json.dumps(task).encode()


def signed(body: bytes, at: float | str, key: str = SECRET) -> dict[str, str]:
    """HiAPI's two headers for a body."""
    stamp = at if isinstance(at, str) else str(int(at))
    signature = hmac.new(key.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-hiapi-timestamp": stamp, "x-hiapi-signature": signature}


def path_of(attempt: Attempt) -> str:
    """The path of an attempt's callback address, token and all."""
    return urlsplit(json.loads(attempt.intent.template)["callback"]["url"]).path


class Slowly(httpx.AsyncByteStream):
    """A body in pieces, with a pause before each but the first."""

    def __init__(self, body: bytes, pause: float, pieces: int = 4) -> None:
        size = len(body) // pieces + 1
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]
        self._pause = pause
        self._sent = 0

    def __aiter__(self) -> Slowly:
        return self

    async def __anext__(self) -> bytes:
        if self._sent == len(self._pieces):
            raise StopAsyncIteration
        if self._sent:
            await anyio.sleep(self._pause)
        self._sent += 1
        return self._pieces[self._sent - 1]


Headers = Mapping[str, str] | list[tuple[str, str]]


async def send(
    world: World, path: str, body: bytes | Slowly, headers: Headers, method: str = "POST"
) -> tuple[int, float]:
    """Status of the answer, and the virtual seconds it took."""
    started = anyio.current_time()
    content: dict[str, Any] = {"content" if isinstance(body, bytes) else "stream": body}
    request = httpx.Request(method, f"http://127.0.0.1{path}", headers=headers, **content)
    async with httpx.AsyncClient(transport=InProcess(world.receiver)) as client:
        answer = await client.send(request)
    return answer.status_code, anyio.current_time() - started
