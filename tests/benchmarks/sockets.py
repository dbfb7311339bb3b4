"""A whole run over sockets and in real time, without plan, sheets and run folder around it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from seedance_batch.api.addresses import file_client
from seedance_batch.api.client import Client
from seedance_batch.batch.orders import IntentMaker
from seedance_batch.clips.download import Downloader
from seedance_batch.events import RunEvent
from seedance_batch.journal.opening import open_journal
from seedance_batch.runner.attempts import Attempts, Terms
from seedance_batch.runner.gate import Stopper, tools_for
from seedance_batch.runner.runner import Runner
from seedance_batch.runner.sharing import Account
from seedance_batch.settings import RunSettings

from .world import Case, measured_once, orders, room


async def run_rows(
    url: str,
    key: str,
    folder: Path,
    rows: int,
    *,
    rpm: float,
    settings: RunSettings,
    kind: type[Downloader] = Downloader,
    observe: Callable[[Attempts, RunEvent], None] = lambda _, __: None,
    account: Account | None = None,
) -> Attempts:
    """Buy and fetch so many small rows; the attempts, as they ended."""
    with open_journal(folder / "journal.db") as journal:
        maker = IntentMaker(
            journal, api_key=key, storage=None, wall=time.time, offload=anyio.to_thread.run_sync
        )
        async with (
            Client(url, key) as client,
            file_client(allow_private=True, lanes=settings.downloads) as files,
        ):

            def told(event: RunEvent) -> None:
                observe(tools.attempts, event)
                if account is not None:
                    account.observe(event)

            tools = tools_for(
                client,
                journal,
                [],
                Stopper(told),
                rpm=rpm,
                wall=time.time,
                jitter=random.random,
                account=account,
            )
            runner = Runner(
                tools,
                kind(folder, files, allow_private=True, measure=measured_once),
                settings,
                Terms(maker.key_fingerprint, maker.body_of, room),
                name_for=lambda attempt: f"videos/{attempt.intent.key}.mp4",
                called_back=False,
            )
            await runner.run(orders(Case(rows), maker, lambda: tools.attempts))
    return tools.attempts
