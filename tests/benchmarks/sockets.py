"""A whole run over sockets and in real time, without plan, sheets and run folder around it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio.to_thread

from seedance_batch.api.client import Client
from seedance_batch.batch.orders import IntentMaker
from seedance_batch.clips.download import Downloader
from seedance_batch.clips.file_client import file_client
from seedance_batch.events import RunEvent
from seedance_batch.journal.opening import open_journal
from seedance_batch.runner.attempts import Book, Terms
from seedance_batch.runner.gate import Stopper
from seedance_batch.runner.runner import Runner, RunPace

from .world import Case, measured_once, orders, room

LANES = 4


async def run_rows(
    url: str,
    key: str,
    folder: Path,
    rows: int,
    *,
    pace: RunPace,
    kind: type[Downloader] = Downloader,
    observe: Callable[[Book, RunEvent], None] = lambda _, __: None,
) -> Book:
    """Buy and fetch so many small rows; the book of what became of them."""
    with open_journal(folder / "journal.db") as journal:
        book = Book(journal, [], wall=time.time, observer=lambda event: observe(book, event))
        maker = IntentMaker(
            journal, api_key=key, storage=None, wall=time.time, offload=anyio.to_thread.run_sync
        )
        observer = partial(observe, book)
        async with (
            Client(url, key) as client,
            file_client(allow_private=True, lanes=LANES) as files,
        ):
            runner = Runner(
                client=client,
                book=book,
                downloader=kind(folder, files, allow_private=True, measure=measured_once),
                stopper=Stopper(observer),
                pace=pace,
                terms=Terms(maker.key_fingerprint, None, None, maker.body_of, room),
                name_for=lambda attempt: f"videos/{attempt.intent.key}.mp4",
                observer=observer,
                wall=time.time,
                jitter=random.random,
            )
            await runner.run(orders(Case(rows), maker))
    return book
