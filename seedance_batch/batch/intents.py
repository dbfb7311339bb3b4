"""From a plan's step to an intent: the exact body, its key, and the media it stands on."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

from seedance_batch import identity
from seedance_batch import journal as journals
from seedance_batch.errors import StorageFailed
from seedance_batch.journal import Journal
from seedance_batch.manifest import Job, LocalMedia
from seedance_batch.model import BLOB_PREFIX
from seedance_batch.plan import Step
from seedance_batch.runner import BodyLost, MediaChanged
from seedance_batch.state import Intent

Offload = Callable[..., Awaitable[Any]]
"""Runs blocking work beside the event loop: ``await offload(function, *arguments)``."""


class IntentMaker:
    """Makes intents for one run folder and one API key.

    ``wall`` is the wall clock in Unix seconds; ``callback_url`` makes an attempt's address of its
    token. All else that goes into key and bytes is the folder's or the row's: the same intent comes
    out the same, also after the journal has lost it.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        api_key: str,
        storage: str | None,
        callback_url: Callable[[str], str | None] = lambda token: None,
        wall: Callable[[], float],
        offload: Offload,
    ) -> None:
        self._journal = journal
        self._folder_id = journal.meta("folder_id") or ""
        self._salt = journal.meta("salt") or ""
        self.key_fingerprint = identity.fingerprint(api_key, self._salt)
        self._storage = storage
        self._callback_url = callback_url
        self._wall = wall
        self._offload = offload

    async def make(self, step: Step, job: Job) -> Intent:
        """The step's intent, its media stored. Raises `MediaChanged` where a file moved on."""
        await self.keep_media(job)
        key = self._unused_key(step, job.content)
        callback_url = self._callback_url(identity.callback_token(self._salt, key))
        template = identity.body_template(
            job.model, job.input, callback_url=callback_url, storage=self._storage
        )
        body = identity.render_body(template, self._data_uris(template))
        sha256 = hashlib.sha256(body).hexdigest()
        return Intent(
            key=step.key,
            kind=step.kind,
            number=step.number,
            content=job.content,
            model=job.model,
            resolution=job.input.resolution.value,
            duration=job.input.duration,
            aspect_ratio=job.input.aspect_ratio.value,
            generate_audio=job.input.generate_audio,
            return_last_frame=job.input.return_last_frame,
            idempotency_key=key,
            template=template,
            body_sha256=sha256,
            key_fingerprint=self.key_fingerprint,
            est_cost=step.cost,
            planned_at=self._wall(),
        )

    async def keep_media(self, job: Job) -> None:
        """Store what the journal lacks of a job's media, or has damaged. Raises `MediaChanged`."""
        for media in job.media:
            if not self._has_whole(media.sha256):
                content = await self._offload(read_unchanged, media, job.row.place)
                await self._journal.awrite(journals.put_blob(media.sha256, media.mime, content))

    def _has_whole(self, sha256: str) -> bool:
        try:
            _, content = self._journal.blob(sha256)
        except (KeyError, StorageFailed):
            return False
        return _is_whole(content, sha256)

    def _unused_key(self, step: Step, content: str) -> str:
        # An order that moved to another row took the key of this row's name along; sending it
        # again would bring that order's clip in place of a new one.
        for again in count():
            folder_id = f"{self._folder_id}+{again}" if again else self._folder_id
            key = identity.idempotency_key(folder_id, step.key, step.kind, step.number, content)
            if not self._journal.knows_idempotency_key(key):
                return key
        raise AssertionError("unreachable")

    def body_of(self, intent: Intent) -> bytes:
        """The bytes that were first sent, rebuilt; anything else is refused, never sent.

        Raises `BodyLost`.
        """
        try:
            body = identity.render_body(intent.template, self._data_uris(intent.template))
        except (ValueError, StorageFailed) as error:
            raise BodyLost(f"its request cannot be read from the journal: {error}") from error
        if hashlib.sha256(body).hexdigest() != intent.body_sha256:
            raise BodyLost("its request cannot be rebuilt byte for byte from the journal")
        return body

    def _data_uris(self, template: str) -> dict[str, str]:
        return {token: self._data_uri(token) for token in identity.tokens(template)}

    def _data_uri(self, token: str) -> str:
        sha256 = token.removeprefix(BLOB_PREFIX)
        try:
            mime, content = self._journal.blob(sha256)
        except KeyError:
            raise BodyLost(f"the journal has lost its file {sha256[:12]}…") from None
        if not _is_whole(content, sha256):
            raise BodyLost(f"the journal's copy of its file {sha256[:12]}… is damaged")
        return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _is_whole(content: object, sha256: str) -> bool:
    return isinstance(content, bytes) and hashlib.sha256(content).hexdigest() == sha256


def read_unchanged(media: LocalMedia, place: object) -> bytes:
    """A media file's bytes, if they are still those that were planned."""
    try:
        content = Path(media.path).read_bytes()
    except OSError as error:
        raise MediaChanged(f"{place}: {media.path} cannot be read any more: {error}") from error
    if hashlib.sha256(content).hexdigest() != media.sha256:
        raise MediaChanged(f"{place}: {media.path} has changed since the plan was made")
    return content
