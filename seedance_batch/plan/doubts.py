"""Which rows of a plan look bought already, although the journal does not know them. Pure.

What a journal knows is paid for once. These are the traces of what it does not know: sheets, clips
and other run folders that are still there when a journal is not, or not all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from seedance_batch.manifest import Told
from seedance_batch.plan.steps import Action, Plan, Step
from seedance_batch.state import RESEND_WINDOW


class Sign(StrEnum):
    """What speaks for it that a row was bought."""

    SHEETS = "sheets"
    """The sheets in the run folder say so."""
    CLIPS = "clips"
    """A clip of its name lies in the run folder."""
    MANIFEST = "manifest"
    """The manifest is a results sheet of ours, and says so itself."""
    FOLDER = "folder"
    """Another run folder has sent the same order."""
    LOST = "lost"
    """The journal was copied without its log, and may lack it."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What is found beside a journal; see `Sign`."""

    sheets: Mapping[str, Told] = field(default_factory=dict)
    """What the run folder's sheets say, row by row, where the journal did not write them."""
    sheets_are_own: bool = False
    """Whether a journal of the same identity wrote them."""
    clips: Mapping[str, float] = field(default_factory=dict)
    """Row key → when the clip was written that bears its name and that no attempt has made."""
    made_at: float | None = None
    """When the run folder got its identity; None where that is not known."""
    manifest: Mapping[str, Told] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    """Contents of orders that another run folder has sent."""
    lost_since: float | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """Rows that a plan would pay for, and what speaks for it that they are bought."""

    sign: Sign
    keys: tuple[str, ...]


_PAID: Final = frozenset(
    {
        *("submitting", "in_flight", "downloading", "done", "changed"),
        *("ambiguous", "expired", "media_mismatch"),
    }
)
"""In our sheets: a row of which something is, or may be, paid for."""
_FIRST: Final = frozenset({Action.NEW, Action.CHANGED})
"""New money for an order that this run folder has never sent."""


def doubts(plan: Plan, traces: Traces, now: float) -> list[Doubt]:
    """The plan's new rows that look bought, each under the first sign that it has.

    What was sent under the run folder's own identity less than `RESEND_WINDOW` ago is no doubt: it
    is sent again with the same key, and costs nothing.
    """
    tasks = {a.state.task_id for a in plan.attempts}
    tried = {a.intent.key for a in plan.attempts}

    def is_news(step: Step, told: Told | None) -> bool:
        if told is None or told.status not in _PAID or told.kind not in {"", plan.kind}:
            return False
        return told.task_id not in tasks if told.task_id else step.key not in tried

    def in_sheets(step: Step) -> bool:
        told = traces.sheets.get(step.key)
        if told is None or not is_news(step, told):
            return False
        return not (traces.sheets_are_own and _is_replayed(told.sent_at, now))

    def in_clips(step: Step) -> bool:
        written = traces.clips.get(step.key)
        if written is None or step.action is not Action.NEW:
            return False
        ours = traces.made_at is not None and traces.made_at <= written
        return not (ours and _is_replayed(traces.made_at, now))

    def elsewhere(step: Step) -> bool:
        content = step.job.content if step.job else ""
        return step.action in _FIRST and content in traces.elsewhere

    def in_manifest(step: Step) -> bool:
        return step.key not in tried and is_news(step, traces.manifest.get(step.key))

    def lost(_: Step) -> bool:
        since = traces.lost_since
        return since is not None and not _is_replayed(since, now)

    tests = {
        Sign.SHEETS: in_sheets,
        Sign.CLIPS: in_clips,
        Sign.MANIFEST: in_manifest,
        Sign.FOLDER: elsewhere,
        Sign.LOST: lost,
    }
    return list(_sorted((step for step in plan.new if not _is_agreed(step)), tests))


def _is_agreed(step: Step) -> bool:
    """Whether somebody said yes to this order here before, and it was turned away."""
    return bool(step.attempt and step.job and step.attempt.intent.content == step.job.content)


def _sorted(steps: Iterable[Step], tests: Mapping[Sign, Callable[[Step], bool]]) -> Iterable[Doubt]:
    keys: dict[Sign, list[str]] = {sign: [] for sign in tests}
    for step in steps:
        sign = next((sign for sign, holds in tests.items() if holds(step)), None)
        if sign is not None:
            keys[sign].append(step.key)
    return (Doubt(sign, tuple(found)) for sign, found in keys.items() if found)


def _is_replayed(sent_at: float | None, now: float) -> bool:
    """Whether what was sent then, or later, is answered with its first task today."""
    return sent_at is not None and now - sent_at < RESEND_WINDOW
