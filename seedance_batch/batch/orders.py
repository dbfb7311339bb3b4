"""From a plan to orders: exact bodies and keys, clip names, and a journal in line with the plan."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

from seedance_batch.batch.access import Site
from seedance_batch.clips import stills
from seedance_batch.clips.kept import KeptClips
from seedance_batch.clips.partial import files_on_disk
from seedance_batch.core import names
from seedance_batch.core.attempt import Attempt, Clip, Intent, Kind, MadeFrom, Phase
from seedance_batch.core.chains import heights
from seedance_batch.core.columns import INPUT_COLUMNS
from seedance_batch.core.lifecycle import Refetch, step, was_given_up_early
from seedance_batch.core.manifest import (
    Job,
    LocalMedia,
    SourceRow,
    body_template,
    callback_token,
    fingerprint,
    idempotency_key,
    render_body,
    tokens,
)
from seedance_batch.core.model import BLOB_PREFIX, LinkKind
from seedance_batch.core.steps import Action, Plan, Step
from seedance_batch.errors import StorageFailed, UsageError
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.reader.media_files import encoded_size
from seedance_batch.reader.source import MAX_BODY
from seedance_batch.run_folder import Lengths, RunFolder, lengths_at
from seedance_batch.runner.attempts import Attempts, BodyLost, MediaChanged, Order

# ── From a plan's step to an intent: the exact body, its key, and the media it stands on ──────────


Offload = Callable[..., Awaitable[Any]]
"""Runs blocking work beside the event loop: ``await offload(function, *arguments)``."""
TakeOf = Callable[[str], Attempt | None]
"""The finished take of a row that feeds others, by the row's key."""
_OUR_PART: Final = 64 * 1024
"""Bytes of a request that are neither media nor the prompt, and a margin."""
_STILL_GOOD: Final = 1800.0
"""Seconds that the address of a clip has to last where the service is to read it."""


_NO_CLIPS: Final = KeptClips(Path())


class IntentMaker:
    """Makes intents for one run folder and one API key.

    ``wall`` is the wall clock in Unix seconds; ``callback_url`` makes an attempt's address of its
    token. All else that goes into key and bytes is the folder's or the row's: the same intent comes
    out the same, also after the journal has lost it. ``kept`` are the clips that feed other
    rows; ``addresses_hold`` is False where the service forgets their addresses between runs.
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
        kept: KeptClips = _NO_CLIPS,
        addresses_hold: bool = True,
    ) -> None:
        self._journal = journal
        self._kept = kept
        self._addresses_hold = addresses_hold
        facts = journal.facts()
        self._folder_id, self._salt = facts.folder_id or "", facts.salt or ""
        self.key_fingerprint = fingerprint(api_key, self._salt)
        self._storage = storage
        self._callback_url = callback_url
        self._wall = wall
        self._offload = offload

    async def make(self, step: Step, job: Job, take_of: TakeOf = lambda key: None) -> Intent:
        """The step's intent, its media stored. Raises `MediaChanged` where a file moved on, or a
        row that feeds this one has no clip to give."""
        await self.keep_media(job)
        made_from = await self._made_from(job, take_of)
        key = self._unused_key(step, job.content)
        callback_url = self._callback_url(callback_token(self._salt, key))
        task_input = job.input.with_media({each.link: each.sent for each in made_from})
        template = body_template(
            job.model, task_input, callback_url=callback_url, storage=self._storage
        )
        body = render_body(template, self._data_uris(template))
        sha256 = hashlib.sha256(body).hexdigest()
        return Intent(
            **job.asked,
            kind=step.kind,
            number=step.number,
            generate_audio=job.input.generate_audio,
            return_last_frame=job.input.return_last_frame,
            idempotency_key=key,
            template=template,
            body_sha256=sha256,
            key_fingerprint=self.key_fingerprint,
            est_cost=step.cost,
            planned_at=self._wall(),
            made_from=made_from,
        )

    async def _made_from(self, job: Job, take_of: TakeOf) -> tuple[MadeFrom, ...]:
        """What the job takes of other rows' clips, stored where it is sent as bytes."""
        used = sum(encoded_size(media.size) for media in job.media) + len(job.input.prompt) * 4
        room = (MAX_BODY - _OUR_PART - used) // max(len(job.sources), 1) * 3 // 4
        return tuple([await self._taken(job, source, room, take_of) for source in job.sources])

    async def _taken(self, job: Job, source: SourceRow, room: int, take_of: TakeOf) -> MadeFrom:
        take = take_of(source.key)
        clip = None if take is None else take.state.clip
        if take is None or clip is None:
            raise MediaChanged(f"{job.row.place}: {source.key} has no clip to take a frame from")
        if source.link.kind is LinkKind.CLIP and (url := self._address(take)) is not None:
            return MadeFrom(source.token, take.id, url)
        try:
            given = await self._offload(self._given, clip, source.link.kind, room)
        except stills.CannotGive as error:
            why = f"row {source.key} cannot give what it is waited for: {error}"
            raise MediaChanged(f"{job.row.place}: {why}") from error
        sha256 = hashlib.sha256(given.content).hexdigest()
        if not self._has_whole(sha256):
            put = records.put_blob(sha256, given.mime, given.content)
            await self._journal.awrite(put)
        return MadeFrom(source.token, take.id, f"{BLOB_PREFIX}{sha256}")

    def _given(self, clip: Clip, kind: LinkKind, room: int) -> stills.Given:
        with self._kept.at_hand(clip.file, clip.last_frame_file) as home:
            return stills.given(home, clip, kind, room)

    def _address(self, take: Attempt) -> str | None:
        """Where the service has a take's clip, if it will still have it when the row is made."""
        url, until = take.state.video_url, take.state.url_expires_at
        holds = until is not None and until - self._wall() > _STILL_GOOD
        return url if holds and self._addresses_hold else None

    async def keep_media(self, job: Job) -> None:
        """Store what the journal lacks of a job's media, or has damaged. Raises `MediaChanged`."""
        for media in job.media:
            if not self._has_whole(media.sha256):
                content = await self._offload(read_unchanged, media, job.row.place)
                await self._journal.awrite(records.put_blob(media.sha256, media.mime, content))

    async def mend_media(self, attempts: Sequence[Attempt], jobs: Sequence[Job]) -> None:
        """Take from disk again what the journal has lost of unanswered sends' media."""
        for attempt in attempts:
            if attempt.state.phase is Phase.SUBMITTING and not self._can_be_sent(attempt.intent):
                for job in jobs:
                    if (job.key, job.content) == (attempt.intent.key, attempt.intent.content):
                        with contextlib.suppress(MediaChanged):  # the submitter sets the row aside
                            await self.keep_media(job)

    def _can_be_sent(self, intent: Intent) -> bool:
        try:
            self.body_of(intent)
        except BodyLost:
            return False
        return True

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
            key = idempotency_key(folder_id, step.key, step.kind, step.number, content)
            if not self._journal.knows_idempotency_key(key):
                return key
        raise AssertionError("unreachable")

    def body_of(self, intent: Intent) -> bytes:
        """The bytes that were first sent, rebuilt; anything else is refused, never sent.

        Raises `BodyLost`.
        """
        try:
            body = render_body(intent.template, self._data_uris(intent.template))
        except (ValueError, StorageFailed) as error:
            raise BodyLost(f"its request cannot be read from the journal: {error}") from error
        if hashlib.sha256(body).hexdigest() != intent.body_sha256:
            raise BodyLost("its request cannot be rebuilt byte for byte from the journal")
        return body

    def _data_uris(self, template: str) -> dict[str, str]:
        return {token: self._data_uri(token) for token in tokens(template)}

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
        raise MediaChanged(f"{place}: {media.path} can no longer be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != media.sha256:
        raise MediaChanged(f"{place}: {media.path} has changed since the plan was made")
    return content


def orders_for(
    steps: Sequence[Step], maker: IntentMaker, attempts: Attempts, fitting: Collection[str]
) -> list[Order]:
    """What a run is to send for these steps; rows in ``fitting`` fit under the cap."""
    high = heights(steps)
    return [
        Order(
            key=step.key,
            cost=step.cost,
            prepare=partial(maker.make, step, step.job, partial(take_for, step, attempts)),
            attempt=attempts.by_id.get(step.attempt.id) if step.attempt else None,
            kind=step.kind,
            waits_for=(*step.waits_for, *_fetched_again(step, attempts)),
            takes=step.takes,
            height=high[step.key],
            fits=step.key in fitting,
        )
        for step in steps
        if step.job is not None
    ]


def _fetched_again(step: Step, attempts: Attempts) -> list[str]:
    """Rows whose takes it is made from, and whose clips were gone from disk."""
    takes = {key: attempts.by_id.get(take) for key, take in step.takes.items()}
    gone = (key for key, take in takes.items() if take and take.state.phase is not Phase.DONE)
    return [key for key in gone if key not in step.waits_for]


def take_for(step: Step, attempts: Attempts, key: str) -> Attempt | None:
    """The take of another row that a step is made from: the one that there was, else its newest."""
    known = step.takes.get(key)
    take = attempts.newest(key, step.kind) if known is None else attempts.by_id.get(known)
    return take if take is not None and take.state.phase is Phase.DONE else None


# ── The file name that a new clip takes: free on disk, in the journal and of those given before ───


def first_name(job: Job, pattern: str, kind: Kind) -> str:
    """The name of a row's first clip where nothing else has it."""
    return _name(job, pattern, kind, names.Taken())


def _name(job: Job, pattern: str, kind: Kind, taken: names.Taken) -> str:
    inputs = {name: str(value) for name, value in job.asked.items() if name in INPUT_COLUMNS}
    return names.clip_name(
        job.key,
        pattern=pattern,
        columns={**inputs, **job.row.cells},
        kind=kind,
        taken=taken,
    )


UNICODE_HINT: Final = "export PYTHONUTF8=1, then run the same command again"


def locale_encoding() -> str | None:
    """What file names are written in; None for UTF-8, which holds every name."""
    encoding = sys.getfilesystemencoding()
    return None if encoding.casefold().replace("-", "") == "utf8" else encoding


def check_names(jobs: Iterable[Job], pattern: str, kind: Kind, folder: RunFolder) -> None:
    """Raise `UsageError` where the locale or the disk cannot hold the name of a clip to come."""
    encoding, allowed = locale_encoding(), lengths_at(folder.path)
    home, depth = f"{folder.path}{os.sep}", pattern.count("/") + 2
    part, whole = names.LONGEST_NAME + _BESIDE, len(home.encode()) + depth * names.LONGEST_NAME
    if encoding is None and part <= allowed.part and whole + _BESIDE <= allowed.whole:
        return  # whatever the rows say
    for job in jobs:
        name = first_name(job, pattern, kind)
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            raise UsageError(
                f"The clip of row {job.key} would be named {name}, but this system's locale "
                f"({encoding}) cannot write that name. Nothing was sent.",
                hint=UNICODE_HINT,
            ) from None
        _check_length(job, name, home, allowed)


_BESIDE: Final = 32
"""Bytes of marks, numbers and endings of what lies beside a clip: its poster, its next takes."""


def _check_length(job: Job, name: str, home: str, allowed: Lengths) -> None:
    longest = max(len(part.encode()) for part in name.split("/"))
    for used, room, of in (
        (longest, allowed.part, "one name"),
        (len((home + name).encode()), allowed.whole, "a whole path"),
    ):
        if used + _BESIDE > room:
            raise UsageError(
                f"The clip of row {job.key} would be named {name}, too long for this disk: "
                f"{used} bytes and {_BESIDE} for what lies beside it, of {room} for {of}. "
                "Nothing was sent.",
                hint="choose a shorter pattern with --name, or shorten the cells that it names",
            )


def files_of(plan: Plan, folder: RunFolder, pattern: str) -> dict[str, str]:
    """The clips' names by row: those that are known, and those that new ones would get now."""
    taken = _taken(folder, plan.attempts)
    found = {}
    for each in plan.steps:
        if each.attempt is not None and each.attempt.state.file and not each.action.spends:
            found[each.key] = each.attempt.state.file
        elif each.action.spends and each.job is not None:
            found[each.key] = _name(each.job, pattern, plan.kind, taken)
            taken.add(found[each.key], each.key)
    return found


def _taken(folder: RunFolder, attempts: Iterable[Attempt]) -> names.Taken:
    taken = names.Taken(files_on_disk(folder.path))
    for attempt in attempts:
        if attempt.state.file:
            taken.add(attempt.state.file, attempt.intent.key)
    return taken


class ClipNames:
    """Gives clips names that are free on disk and in the journal."""

    def __init__(self, site: Site, attempts: Iterable[Attempt]) -> None:
        self._pattern = site.settings.name
        self._columns = {row.key: row.cells for row in site.journal.rows()}
        self._taken = _taken(site.folder, attempts)

    def __call__(self, attempt: Attempt) -> str:
        intent = attempt.intent
        inputs = {name: str(getattr(intent, name)) for name in INPUT_COLUMNS if name != "id"}
        columns = {**inputs, **self._columns.get(intent.key, {})}
        pattern = self._pattern if intent.key in self._columns else "{id}"
        name = names.clip_name(
            intent.key,
            pattern=pattern,
            columns=columns,
            kind=intent.kind,
            taken=self._taken,
        )
        self._taken.add(name, intent.key)
        return name


# ── Brings the journal in line with a plan before anything is sent for it ─────────────────────────


def settled_intents(journal: Journal, plan: Plan, key_fingerprint: str) -> list[Attempt]:
    """All attempts, once moved clips are at their new rows and stale intents are dropped.

    What was planned and never accepted is sent under today's key, so it says so: a resend under
    the key that it was first planned with would be no replay.
    """
    moved = [
        replace(s.attempt, intent=replace(s.attempt.intent, key=s.key, number=s.number))
        for s in plan.steps
        if s.action is Action.MOVED and s.attempt is not None
    ]
    taken_up = [
        replace(
            s.attempt,
            intent=replace(s.attempt.intent, key_fingerprint=key_fingerprint, est_cost=s.cost),
        )
        for s in plan.new
        if s.attempt and s.job and _is_taken_up(s.attempt.intent, s.job)
    ]
    # A clip that moved takes its new row's name before anything new is written for that row.
    journal.write(records.forget_planned(_stale(plan, {a.id for a in taken_up})))
    journal.write(records.rekey(moved))
    journal.write(records.renew(taken_up))
    before, now = journal.attempts(), time.time()
    after = list(resumed(before, now))
    for attempt, again in zip(before, after, strict=True):
        if again is not attempt:
            journal.write(records.save(again, at=now, event="Refetch"))
    return after


def _is_taken_up(intent: Intent, job: Job) -> bool:
    """Whether an intent that nobody accepted is sent as it is; one that takes something of another
    row's clip is made anew, since that row may have another take by then."""
    return intent.content == job.content and not job.sources


def _stale(plan: Plan, taken_up: set[int]) -> set[int]:
    """Intents that were never accepted and that no row wants: edited, moved over, or removed."""
    keys = {job.key for job in plan.jobs}
    settled = {s.key for s in plan.steps if s.action is Action.MOVED or s.action.spends}
    return {
        a.id
        for a in plan.attempts
        if a.state.phase is Phase.PLANNED
        and a.id not in taken_up
        and (a.intent.key not in keys or (a.intent.key in settled and a.intent.kind is plan.kind))
    }


# ── Paid clips that an earlier version gave up although their files may still come ────────────────


def resumed(attempts: Iterable[Attempt], now: float) -> Iterator[Attempt]:
    """Attempts with those among them asked for again; ``now`` is the wall clock."""
    for attempt in attempts:
        if was_given_up_early(attempt.state, now):
            yield Attempt(attempt.id, attempt.intent, step(attempt.state, Refetch()))
        else:
            yield attempt
