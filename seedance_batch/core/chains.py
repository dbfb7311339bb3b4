"""Rows that feed each other: which row each link means, and what cannot be. Pure.

A row waits for its sources; rows that wait for one another in a line are a chain. What a run does
about chains is `core.plan.sources`' matter.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from seedance_batch.core.manifest import Job, SourceRow, content_hash
from seedance_batch.core.model import LONGEST_REFERENCE, PREVIOUS, Link, LinkKind
from seedance_batch.core.text import shown

CLIP_SLACK: Final = 0.1
"""Seconds that a clip may be longer than was asked for: a frame or two."""
_FRAME_BYTES: Final = 2 / 3
"""Of a request for each pixel of a frame: half a byte as a fine JPEG, written as base64."""
_MOST_NAMED: Final = 6
"""Rows of a circle that are named."""


@dataclass(frozen=True, slots=True)
class KnownRow:
    """A row of the manifest, whether or not it may be sent."""

    key: str
    line: object
    """Equal for the takes of one line, which all have the same row above."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A link that leads nowhere, or too far."""

    job: Job
    field: str
    words: str


def linked(
    jobs: Sequence[Job],
    rows: Sequence[KnownRow],
    max_body: int,
    left_out: Collection[str] = (),
) -> tuple[tuple[Job, ...], list[Trouble]]:
    """The jobs with their sources, and the links that cannot be followed.

    ``rows`` are all rows that a link may name, in the manifest's order, ``max_body`` the bytes
    that a request may have, ``left_out`` ids of rows that are not wanted. Jobs without a link come
    back as they are.
    """
    if not any(_has_links(job) for job in jobs):
        return tuple(jobs), []
    finder = _Finder(jobs, rows, left_out)
    found = [finder.linked(job) if _has_links(job) else job for job in jobs]
    troubles = finder.troubles
    troubles += _circles(found)
    by_key = {job.key: job for job in found}
    for job in found:
        troubles += _too_much(job, by_key, max_body)
    return tuple(found), troubles


def is_unlinked(job: Job) -> bool:
    """Whether the rows that feed it are not known yet: a failed sheet lacks some of them."""
    return not job.sources and _has_links(job)


def _has_links(job: Job) -> bool:
    return next(job.input.links(), None) is not None


class _Finder:
    def __init__(
        self, jobs: Sequence[Job], rows: Sequence[KnownRow], left_out: Collection[str]
    ) -> None:
        self._left_out = left_out
        self._seconds = {job.key: job.input.duration for job in jobs}
        self._rows = rows
        self._position = {row.key: number for number, row in enumerate(rows)}
        self.troubles: list[Trouble] = []

    def linked(self, job: Job) -> Job:
        sources: dict[Link, SourceRow] = {}
        for field, link in job.input.links():
            key = self._key(job, link)
            if key is None:
                self.troubles.append(Trouble(job, field, self._nowhere(link)))
            else:
                sources[link] = SourceRow(link, key, self._seconds.get(key, LONGEST_REFERENCE))
        return replace(job, sources=tuple(sources.values()))

    def _key(self, job: Job, link: Link) -> str | None:
        if link.row == PREVIOUS:
            return self._above(job)
        if link.row in self._position:
            return link.row
        same = self._loosely.get(_loose(link.row), [])
        return same[0] if len(same) == 1 else None

    @cached_property
    def _loosely(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for key in self._position:
            found[_loose(key)].append(key)
        return found

    def _above(self, job: Job) -> str | None:
        here = self._position.get(job.key)
        if here is None:
            return None
        line = self._rows[here].line
        before = reversed(self._rows[:here])
        return next((row.key for row in before if row.line != line), None)

    def _nowhere(self, link: Link) -> str:
        if link.row == PREVIOUS:
            return "there is no row above this one"
        if link.row in self._left_out:
            return f"{shown(str(link))}: the sheet leaves this row out (skip, or --visible)"
        close = difflib.get_close_matches(link.row, self._position, n=1)
        meant = f"; did you mean {link.kind}:{shown(close[0])}?" if close else ""
        return f"{shown(str(link))}: no row has this id{meant}"


def _loose(key: str) -> str:
    """An id without what spreadsheets change: capitals, and the ``.0`` of a number."""
    return key.strip().casefold().removesuffix(".0")


# ── What cannot be made: rows that wait for themselves, requests that would be too large ──────────


def _circles(jobs: Iterable[Job]) -> Iterator[Trouble]:
    """Rows that wait for themselves, each circle once, at its first row of the manifest."""
    by_key = {job.key: job for job in jobs}
    clear: set[str] = set()
    for job in by_key.values():
        circle = _circle_from(job.key, by_key, clear)
        if circle:
            first = by_key[circle[0]]
            following = circle[1] if len(circle) > 1 else circle[0]
            link = next(source.link for source in first.sources if source.key == following)
            fields = (field for field, each in first.input.links() if each == link)
            yield Trouble(first, next(fields), _about(circle))


def _circle_from(start: str, by_key: Mapping[str, Job], clear: set[str]) -> list[str]:
    """The circle that is met on the way from a row, without recursion: chains can be long."""
    way: list[str] = []
    on_way: set[str] = set()
    open_: list[tuple[str, Iterator[str]]] = [(start, _sources_of(start, by_key))]
    if start in clear:
        return []
    way.append(start)
    on_way.add(start)
    while open_:
        key, following = open_[-1]
        ahead = next(following, None)
        if ahead is None:
            open_.pop()
            way.pop()
            on_way.discard(key)
            clear.add(key)
        elif ahead in on_way:
            circle = way[way.index(ahead) :]
            clear.update(way)
            return circle
        elif ahead not in clear and ahead in by_key:
            open_.append((ahead, _sources_of(ahead, by_key)))
            way.append(ahead)
            on_way.add(ahead)
    return []


def _sources_of(key: str, by_key: Mapping[str, Job]) -> Iterator[str]:
    job = by_key.get(key)
    return iter(dict.fromkeys(source.key for source in job.sources)) if job else iter(())


def _about(circle: Sequence[str]) -> str:
    if len(circle) == 1:
        return "this row waits for itself"
    named = [shown(key) for key in circle[:_MOST_NAMED]]
    more = [] if len(circle) <= _MOST_NAMED else [f"{len(circle) - _MOST_NAMED:,} more"]
    return f"these rows wait for each other: {' → '.join([*named, *more, shown(circle[0])])}"


def _too_much(job: Job, by_key: Mapping[str, Job], max_body: int) -> Iterator[Trouble]:
    """What a row takes from others may be more than a request holds, or the model takes."""
    if not job.sources:
        return
    lengths = {source.token: float(source.seconds) for source in job.sources}
    lengths |= {media.token: media.seconds or 0.0 for media in job.media}
    videos = [lengths.get(address, 0.0) for address in job.input.reference_video_urls or ()]
    if sum(videos) > LONGEST_REFERENCE + CLIP_SLACK * len(videos):
        words = f"lasts about {sum(videos):.0f} s in all; the limit is {LONGEST_REFERENCE} s"
        yield Trouble(job, "reference_video_urls", words)
    frames = [
        by_key[source.key].input.resolution.area * _FRAME_BYTES
        for source in job.sources
        if source.link.kind is not LinkKind.CLIP and source.key in by_key
    ]
    size = sum(frames) + sum(media.size * 4 / 3 for media in job.media)
    if frames and size > max_body:
        field = next(field for field, link in job.input.links() if link.kind is not LinkKind.CLIP)
        yield Trouble(
            job,
            field,
            f"would make the request about {size:,.0f} bytes long; the limit is {max_body:,} "
            "(--max-body raises that)",
        )


# ── The same link in other words ──────────────────────────────────────────────────────────────────


def respelled(job: Job, links: Mapping[Link, Link]) -> Job:
    """The job with links written otherwise; they mean the same rows."""
    tokens = {str(old): str(new) for old, new in links.items()}
    task_input = job.input.with_media(tokens)
    sources = tuple(replace(s, link=links.get(s.link, s.link)) for s in job.sources)
    content = content_hash(job.model, task_input)
    return replace(job, input=task_input, content=content, sources=sources)
