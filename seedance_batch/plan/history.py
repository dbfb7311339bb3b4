"""What the journal says about each row: its attempts, and which equal order it may take over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from seedance_batch.manifest import Job
from seedance_batch.state import (
    FINAL_PHASES,
    UNDER_WAY_PHASES,
    UNSETTLED_PHASES,
    Attempt,
    Charged,
    Kind,
    Phase,
    charged,
    spent,
)

LIVE: Final = UNDER_WAY_PHASES | {Phase.DONE}
"""A clip is there, or under way."""
LOST: Final = FINAL_PHASES - LIVE
"""It ended, and there is no good clip."""
_BEST_FIRST: Final = (
    Phase.DONE,
    Phase.DOWNLOADING,
    Phase.IN_FLIGHT,
    Phase.SUBMITTING,
    Phase.AMBIGUOUS,
    Phase.MEDIA_MISMATCH,
    Phase.EXPIRED,
    Phase.FAILED,
)


@dataclass(frozen=True, slots=True)
class History:
    """One row's attempts of one kind, oldest first."""

    sent: tuple[Attempt, ...] = ()
    """Those that left planning."""
    planned: Attempt | None = None
    """One that was recorded and never sent, or turned away before processing."""
    inherited: Attempt | None = None
    """An equal order, made for a row that is gone or asks for something else by now."""
    last_number: int = 0
    """The highest number of an attempt that was sent, also of one that another row took over."""

    def standing(self, content: str) -> Attempt | None:
        """The attempt that decides how this content stands: one that is live, else the newest."""
        equal = [a for a in self.sent if a.intent.content == content]
        live = [a for a in equal if a.state.phase in LIVE]
        if live or not self.inherited:
            return next(reversed(live or equal), None)
        return self.inherited

    @property
    def unsettled(self) -> Attempt | None:
        """The newest attempt of which it is not known whether a task exists."""
        known = self.sent if self.inherited is None else (*self.sent, self.inherited)
        return next((a for a in reversed(known) if a.state.phase in UNSETTLED_PHASES), None)

    @property
    def next_number(self) -> int:
        """The number of a new attempt; a planned one that was never sent keeps its own."""
        planned = 0 if self.planned is None else self.planned.intent.number
        if self.inherited is not None:  # it takes a number here itself, so a fresh one
            return max(self.last_number, planned) + 1
        return max(self.last_number + 1, planned)

    @property
    def spent(self) -> Decimal:
        """Estimates of all that was, or may have been, charged."""
        known = self.sent if self.inherited is None else (*self.sent, self.inherited)
        return spent(known)


def histories(
    jobs: Sequence[Job], attempts: Iterable[Attempt], kind: Kind, rows_known: Collection[str]
) -> dict[str, History]:
    """The history of every row key that has one, removed rows included.

    An order that another row takes over is that row's from then on.
    ``rows_known`` are keys of the manifest that have no job (rows with problems): they keep what
    is theirs, for what they ask for is not known.
    """
    by_key: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda a: a.id):
        if attempt.intent.kind is kind:
            by_key[attempt.intent.key].append(attempt)
    found = {key: _history(attempts) for key, attempts in by_key.items()}
    for key, claimed in _claims(jobs, found, rows_known).items():
        former = found[claimed.intent.key]
        left = tuple(a for a in former.sent if a is not claimed)
        found[claimed.intent.key] = replace(former, sent=left)
        found[key] = replace(found.get(key, History()), inherited=claimed)
    return found


def _history(attempts: Sequence[Attempt]) -> History:
    sent = tuple(a for a in attempts if a.state.phase is not Phase.PLANNED)
    planned = [a for a in attempts if a.state.phase is Phase.PLANNED]
    last_number = max((a.intent.number for a in sent), default=0)
    return History(sent, planned[-1] if planned else None, None, last_number)


def _claims(
    jobs: Sequence[Job], found: dict[str, History], rows_known: Collection[str]
) -> dict[str, Attempt]:
    """Which row takes over which order that nobody asks for any more: each order once, in order.

    For instance: row ``a`` has a clip, and is renamed to ``b``. Nobody is called ``a`` now, so its
    attempt is an orphan; ``b`` asks for the same content and has nothing of its own, so it claims
    it: the plan says *moved*, and nothing is bought. Were there two such rows, ``b`` and ``c``, the
    first in the manifest would get the clip and the second would be new.
    """
    orphans = _orphans({job.key: job.content for job in jobs}, found, rows_known)
    claims: dict[str, Attempt] = {}
    for job in jobs if orphans else ():
        waiting = orphans.get(job.content)
        if waiting and _wants(found.get(job.key), job.content, waiting[0]):
            claims[job.key] = waiting.pop(0)
    return claims


def _orphans(
    wanted: dict[str, str], found: dict[str, History], rows_known: Collection[str]
) -> dict[str, list[Attempt]]:
    """Orders that are or may be paid, by content: removed rows', then the best, the oldest.

    An order is an orphan where its row is gone, or asks for another content by now (``a`` was
    edited, and its former text was given to a new row).
    """
    orphans: dict[str, list[Attempt]] = defaultdict(list)
    for key, history in found.items():
        if key in rows_known:
            continue
        for attempt in history.sent:
            content = attempt.intent.content
            if wanted.get(key) != content and charged(attempt.state) is not Charged.NO:
                orphans[content].append(attempt)
    for waiting in orphans.values():
        waiting.sort(key=lambda a: (a.intent.key in wanted, _BEST_FIRST.index(a.state.phase), a.id))
    return orphans


def _wants(own: History | None, content: str, orphan: Attempt) -> bool:
    """Whether a row has use for an orphan: none of its own is live, and the orphan is no worse."""
    if own is None or (standing := own.standing(content)) is None:
        return True
    return standing.state.phase in LOST and orphan.state.phase in LIVE
