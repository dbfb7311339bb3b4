"""Decides what would be done to one row, from what it asks for and what was tried before."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seedance_batch.manifest import Job
from seedance_batch.plan.changes import changes
from seedance_batch.plan.choice import RerunChoice, is_content, is_paid
from seedance_batch.plan.flags import Flags
from seedance_batch.plan.history import LIVE, LOST, History
from seedance_batch.plan.steps import Action
from seedance_batch.state import UNDER_WAY_PHASES, Attempt, ErrorClass, Kind, Phase, TakeName


@dataclass(frozen=True, slots=True)
class Decision:
    """What would be done, why, and with which attempt."""

    action: Action
    reason: str
    attempt: Attempt | None = None
    kept: Attempt | None = None
    """See `Step.kept`."""


def decide(
    job: Job,
    history: History,
    *,
    kind: Kind,
    rerun: RerunChoice | None,
    flags: Flags,
) -> Decision | None:
    """What a run (or a rerun) would do to a row; None for a row that a rerun does not touch."""
    wish = rerun.redo.get(job.key) if rerun is not None else None
    if wish is not None and wish.kind is not kind:
        return Decision(Action.BLOCKED, f"marked redo as a {wish.kind}: {_OF_KIND[wish.kind]}")
    last = history.sent[-1] if history.sent else None
    if last is None or last.intent.content == job.content or not flags.alone(job, last):
        return _decide(job, job.content, history, rerun)
    standing = history.standing(job.content)
    as_asked = standing is not None and standing.state.phase in LIVE
    if as_asked and last.state.phase in LOST:
        return _decide(job, job.content, history, rerun)
    asked = flags.asked(job, last)
    if not asked:
        found = _decide(job, last.intent.content, history, rerun)
        return found if found is None or found.action.spends else replace(found, kept=last)
    if last.state.phase is Phase.FAILED or as_asked:
        return _decide(job, job.content, history, rerun)
    if rerun is not None and last.state.phase not in LOST:
        return None
    why = f"made with other flags ({', '.join(asked)}): --remake makes it anew"
    return Decision(Action.BLOCKED, why, last, kept=last)


def _decide(job: Job, content: str, history: History, rerun: RerunChoice | None) -> Decision | None:
    """The same for a row that stands for this content."""
    standing = history.standing(content)
    wish = rerun.redo.get(job.key) if rerun is not None else None
    if rerun is not None and wish is not None:
        found = _redone(job, content, history, rerun, wish)
        if found is not None:
            return found
    if standing is not None and standing.state.phase in LIVE:
        return _kept(standing, moved=standing is history.inherited)
    if history.unsettled is not None:
        return _unsettled(job, history.unsettled)
    if standing is not None:
        return _after_failure(content, standing, history, rerun)
    if history.sent:
        return _changed(job, history, rerun)
    return None if rerun else _new(job, history)


_OF_KIND = {
    Kind.DRAFT: "rerun --draft makes another one",
    Kind.FINAL: "rerun without --draft makes another one",
}


def _redone(
    job: Job, content: str, history: History, rerun: RerunChoice, wish: TakeName
) -> Decision | None:
    """What comes of the wish for another take; None where the row decides by itself."""
    later = [
        a
        for a in history.sent
        if a.intent.number > wish.number
        and (a.intent.content == content or a.state.phase not in LOST)
    ]
    if any(a.state.phase is Phase.DONE for a in later):
        return None
    if later:
        return _answered(job, content, later[-1], history, rerun)
    if wish.number > history.last_number:
        return Decision(Action.BLOCKED, f"marked redo of {wish}, which this folder does not have")
    if _is_done(history, content):
        return Decision(Action.RERUN, f"marked redo: another take beside {wish}", history.planned)
    if history.sent and history.standing(content) is None and not _ended_badly(history):
        return Decision(
            Action.BLOCKED, "marked redo, and edited since: run makes it as it reads now"
        )
    return None


def _answered(
    job: Job, content: str, take: Attempt, history: History, rerun: RerunChoice
) -> Decision:
    """The take that a wish was answered with: under way, in doubt, or without a good clip."""
    if take.state.phase in LIVE:
        return _kept(take, moved=False)
    if take.state.phase is Phase.AMBIGUOUS:
        return _unsettled(job, take)
    return _after_failure(content, take, history, rerun)


def _ended_badly(history: History) -> bool:
    return history.sent[-1].state.phase in LOST


def _is_done(history: History, content: str) -> bool:
    """Whether there is a take, and no other one on its way."""
    equal = [a.state.phase for a in history.sent if a.intent.content == content]
    return Phase.DONE in equal and UNDER_WAY_PHASES.isdisjoint(equal) and history.unsettled is None


def _kept(attempt: Attempt, *, moved: bool) -> Decision:
    if moved:
        return Decision(Action.MOVED, f"the same order as {attempt.intent.key} before", attempt)
    match attempt.state.phase:
        case Phase.DONE:
            return Decision(Action.DONE, "done", attempt)
        case Phase.DOWNLOADING:
            return Decision(Action.FETCH, "made and paid for, to be downloaded", attempt)
        case Phase.IN_FLIGHT:
            return Decision(Action.IN_FLIGHT, "in flight", attempt)
        case _:
            return Decision(
                Action.IN_FLIGHT, "being submitted: continues with the same key", attempt
            )


def _unsettled(job: Job, attempt: Attempt) -> Decision:
    if attempt.state.phase is Phase.AMBIGUOUS:
        why = "whether it was accepted is not known, so nothing is sent again: reconcile"
        return Decision(Action.BLOCKED, why, attempt)
    edit = changes(attempt.intent.template, job)
    why = f"its former content was sent and had no answer; the edit waits for that ({edit})"
    return Decision(Action.SETTLE, why, attempt)


def _after_failure(
    content: str, failed: Attempt, history: History, rerun: RerunChoice | None
) -> Decision:
    planned = history.planned
    if planned is not None and planned.intent.content == content and planned.id > failed.id:
        return Decision(Action.RERUN, f"planned before, not sent; {_failure(failed)}", planned)
    if rerun is not None and rerun.takes(_error_class(failed)):
        return Decision(Action.RERUN, _failure(failed), planned)
    why = f"{_failure(failed)}: {_advice(failed)}{_made_otherwise(content, history)}"
    return Decision(Action.BLOCKED, why, failed)


def _made_otherwise(content: str, history: History) -> str:
    """A clip that the row has under another content: it was mended elsewhere, and paid there."""
    clips = [a.state.clip for a in history.sent if a.intent.content != content]
    files = [clip.file for clip in clips if clip is not None]
    return f"; asked for otherwise it is made: {files[-1]}" if files else ""


def _changed(job: Job, history: History, rerun: RerunChoice | None) -> Decision | None:
    last = history.sent[-1]
    if rerun is not None and last.state.phase not in LOST:
        return None
    return Decision(Action.CHANGED, changes(last.intent.template, job), history.planned)


def _new(job: Job, history: History) -> Decision:
    planned = history.planned
    if planned is None:
        return Decision(Action.NEW, "not sent yet")
    edited = planned.intent.content != job.content
    why = "planned before, edited since, not sent" if edited else "planned before, not sent"
    return Decision(Action.NEW, why, planned)


def _error_class(attempt: Attempt) -> ErrorClass:
    return attempt.state.error_class or ErrorClass.PERMANENT


def _failure(attempt: Attempt) -> str:
    state = attempt.state
    words = " ".join(text for text in (state.error_code, state.error_message) if text)
    return f"{_error_class(attempt)}: {words}" if words else str(_error_class(attempt))


def _advice(attempt: Attempt) -> str:
    error_class = _error_class(attempt)
    if error_class is ErrorClass.EXPIRED:
        return "paid: fetch asks for it once more; only rerun --class expired would pay again"
    if is_paid(error_class):
        return f"paid; rerun makes it anew only where {error_class} is named"
    return "edit the row, or rerun --force" if is_content(error_class) else "rerun"
