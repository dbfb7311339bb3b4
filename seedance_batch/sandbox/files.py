"""The file origin: signed URLs, ranges, validators, and downloads broken on purpose."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from seedance_batch.sandbox.broken_files import Piece, broken_piece
from seedance_batch.sandbox.config import FileFault
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.faults import draw
from seedance_batch.sandbox.store import StoredRequest, StoredTask
from seedance_batch.sandbox.timing import Status
from seedance_batch.sandbox.views import LAST_FRAME, THUMBNAIL, VIDEO
from seedance_batch.sandbox.wire import (
    Answer,
    Disconnected,
    Receive,
    Request,
    Scope,
    Send,
    TooLarge,
    read_request,
    send_answer,
)

Contents = Callable[[StoredTask, str], Awaitable[bytes]]

_TYPES: Final = {VIDEO: "video/mp4", LAST_FRAME: "image/png", THUMBNAIL: "image/jpeg"}
_PATH: Final = re.compile(r"/tasks/([^/]+)/([^/]+)")
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Files:
    """ASGI application for output files; it never needs a key, and tells when one came."""

    def __init__(self, engine: Engine, contents: Contents) -> None:
        self._engine = engine
        self._contents = contents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, written down before its answer leaves."""
        if scope["type"] != "http":
            return
        arrived = self._engine.clock()
        try:
            request = await read_request(scope, receive, 0)
        except (Disconnected, TooLarge):
            request = Request(scope["method"], scope["path"], {}, {}, target=scope["path"])
        answer = await self._answer(request)
        self._write_down(arrived, request, answer)
        await send_answer(answer, scope, send, head=request.method == "HEAD")

    def _write_down(self, arrived: float, request: Request, answer: Answer) -> None:
        keyed = "authorization" in request.headers
        span = request.headers.get("range", "")
        self._engine.store.add_request(
            StoredRequest(
                arrived,
                "files",
                request.method,
                request.path,
                answer.status,
                answer.verdict
                + (f" ({span})" if span else "")
                + (" AUTHORIZATION SENT TO THE FILE HOST" if keyed else ""),
                answer.task_id,
                keyed,
            )
        )

    async def _answer(self, request: Request) -> Answer:
        if request.method not in ("GET", "HEAD"):
            return _denied(405, "method not allowed").adding({"allow": "GET, HEAD"})
        match = _PATH.fullmatch(request.path)
        task = self._engine.store.task(match[1]) if match else None
        if match is None or task is None or match[2] not in _TYPES:
            return _denied(404, "no such file")
        now = self._engine.clock()
        problem = self._engine.links.problem(request, now)
        if problem:
            return _denied(403, problem).having(task_id=task.task_id)
        if self._engine.view().status(task) is not Status.SUCCESS:
            return _denied(404, "no such file").having(task_id=task.task_id)
        content = await self._contents(task, match[2])
        return self._serve(request, task, match[2], content).having(task_id=task.task_id)

    def _serve(self, request: Request, task: StoredTask, name: str, content: bytes) -> Answer:
        piece = Piece(content, _TYPES[name], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        faults, seed = self._engine.config.faults, self._engine.config.seed
        if not faults.files or request.method == "HEAD":
            return whole_or_part(request.headers, piece)
        place = f"{task.content}:{task.nth}:{name}"
        nth = self._engine.store.count_try("files", place)
        fault = draw(faults, seed, "files", faults.files, place, nth)
        came = task.times.final + faults.not_yet_seconds <= self._engine.clock()
        if fault is None or (fault is FileFault.NOT_YET and came):
            return whole_or_part(request.headers, piece)
        answer = broken_piece(fault, faults, piece, request.headers, (seed, place, nth))
        if answer is None:
            answer = whole_or_part(request.headers, piece)
        return answer.having(verdict=f"fault {fault.value}")


def _denied(status: int, why: str) -> Answer:
    return Answer(status, why, why.encode(), {"content-type": "text/plain"})


def whole_or_part(headers: Mapping[str, str], piece: Piece) -> Answer:
    """200, 206 or 416, by ``Range`` and ``If-Range``."""
    asked = headers.get("range", "")
    if not asked or headers.get("if-range", piece.etag) != piece.etag:
        return piece.answer()
    match = _RANGE.fullmatch(asked.replace(" ", ""))
    if match is None or match[1] == match[2] == "":
        return piece.answer()  # several ranges or another unit: allowed to be ignored
    size = len(piece.content)
    if match[1]:
        start, end = int(match[1]), min(int(match[2] or size), size - 1)
    else:
        start, end = max(size - int(match[2]), 0), size - 1
    if start > end:
        return piece.unsatisfiable()
    return piece.part(start, end)
