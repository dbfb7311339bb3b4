"""Decides what would be done to one row, from what it asks for and what was tried before."""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from seedance_batch.core.attempt import (
    FINAL_PHASES,
    OWN_FAULTS,
    PAID_FAULTS,
    UNDER_WAY_PHASES,
    UNSETTLED_PHASES,
    Attempt,
    Charged,
    ErrorClass,
    Intent,
    Kind,
    Phase,
    Reason,
    TakeName,
    charged,
    reason_of,
    way_out,
)
from seedance_batch.core.manifest import Job, canonical_model
from seedance_batch.core.model import FALSE_BY_DEFAULT, INPUT_FIELDS, family_model
from seedance_batch.core.outcome import spent
from seedance_batch.core.steps import Action, RerunChoice, error_class_of
from seedance_batch.core.text import shown


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
    last = history.sent[-1] if history.sent else history.inherited
    if last is None or last.intent.content == job.content or not flags.alone(job, last):
        return _decide(job, job.content, history, rerun)
    standing = history.standing(job.content)
    same = standing is not None and standing.intent.content == job.content
    as_asked = same and standing is not None and standing.state.phase in LIVE
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
    why = f"made with other flags ({', '.join(asked)}): --remake makes it again"
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
    Kind.DRAFT: "rerun --draft makes another draft",
    Kind.FINAL: "rerun without --draft makes another final",
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
        return Decision(Action.BLOCKED, f"marked to redo {wish}, which this folder does not have")
    if _is_done(history, content):
        return Decision(Action.RERUN, f"marked redo: another take beside {wish}", history.planned)
    edited = bool(history.sent) and history.standing(content) is None
    if edited and history.sent[-1].state.phase not in LOST:
        return Decision(Action.BLOCKED, "marked redo, then edited: run makes the edited row")
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


def _is_done(history: History, content: str) -> bool:
    """Whether there is a take, and no other one on its way."""
    equal = [a.state.phase for a in history.sent if a.intent.content == content]
    return Phase.DONE in equal and UNDER_WAY_PHASES.isdisjoint(equal) and history.unsettled is None


def _kept(attempt: Attempt, *, moved: bool) -> Decision:
    if moved:
        return Decision(
            Action.MOVED, f"was {attempt.intent.key} before, with the same content", attempt
        )
    match attempt.state.phase:
        case Phase.DONE:
            return Decision(Action.DONE, "done", attempt)
        case Phase.DOWNLOADING:
            return Decision(Action.FETCH, "made and paid for, still to download", attempt)
        case Phase.IN_FLIGHT:
            return Decision(Action.IN_FLIGHT, "in flight", attempt)
        case _:
            return Decision(
                Action.IN_FLIGHT, "being submitted: continues with the same key", attempt
            )


def _unsettled(job: Job, attempt: Attempt) -> Decision:
    if attempt.state.phase is Phase.AMBIGUOUS:
        why = "it may or may not have been accepted, so nothing is sent again: reconcile"
        return Decision(Action.BLOCKED, why, attempt)
    edit = changes(attempt.intent, job)
    why = f"its earlier content was sent and got no answer; the edit waits for that ({edit})"
    return Decision(Action.SETTLE, why, attempt)


def _after_failure(
    content: str, failed: Attempt, history: History, rerun: RerunChoice | None
) -> Decision:
    planned = history.planned
    if planned is not None and planned.intent.content == content and planned.id > failed.id:
        return Decision(Action.RERUN, f"planned before, not sent; {failure(failed)}", planned)
    if rerun is not None and rerun.means(failed.state) and rerun.takes(error_class_of(failed)):
        return Decision(Action.RERUN, failure(failed), planned)
    why = f"{failure(failed)}: {_advice(failed)}{_made_otherwise(content, history)}"
    return Decision(Action.BLOCKED, why, failed)


def _made_otherwise(content: str, history: History) -> str:
    """A clip that the row has under another content: it was mended elsewhere, and paid there."""
    clips = [a.state.clip for a in history.sent if a.intent.content != content]
    files = [clip.file for clip in clips if clip is not None]
    return f"; another version of this row is made: {files[-1]}" if files else ""


def _changed(job: Job, history: History, rerun: RerunChoice | None) -> Decision | None:
    last = history.sent[-1]
    if rerun is not None and last.state.phase not in LOST:
        return None
    if rerun is not None and not rerun.means(last.state):
        return Decision(Action.BLOCKED, f"{failure(last)}: {_advice(last)}", last)
    return Decision(Action.CHANGED, changes(last.intent, job), history.planned)


def _new(job: Job, history: History) -> Decision:
    planned = history.planned
    if planned is None:
        return Decision(Action.NEW, "not sent yet")
    edited = planned.intent.content != job.content
    why = "planned before, then edited, not sent" if edited else "planned before, not sent"
    return Decision(Action.NEW, why, planned)


def failure(attempt: Attempt) -> str:
    """Why an attempt came to nothing, in words."""
    state = attempt.state
    words = " ".join(text for text in (state.error_code, state.error_message) if text)
    found = reason_of(state)
    about = "" if found in {None, Reason.OTHER} else f" ({found})"
    failed = f"{error_class_of(attempt)}{about}"
    return f"{failed}: {words.rstrip('. ')}" if words else failed


def _advice(attempt: Attempt) -> str:
    error_class = error_class_of(attempt)
    if error_class is ErrorClass.EXPIRED:
        return "paid: fetch asks for it again; only rerun --class expired pays again"
    if error_class in PAID_FAULTS:
        return f"paid; only rerun --class {error_class} makes it again"
    return way_out(attempt, "or rerun --force") if error_class in OWN_FAULTS else "rerun"


# ── What the journal says about each row: its attempts, and which equal order it may take over ────


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
    jobs: Sequence[Job],
    attempts: Iterable[Attempt],
    kind: Kind,
    rows_known: Collection[str],
    flags: Flags,
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
    for key, claimed in _claims(jobs, found, rows_known, flags).items():
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
    jobs: Sequence[Job], found: dict[str, History], rows_known: Collection[str], flags: Flags
) -> dict[str, Attempt]:
    """Which row takes over which order that nobody asks for any more: each order once, in order.

    For instance: row ``a`` has a clip, and is renamed to ``b``. Nobody is called ``a`` now, so its
    attempt is an orphan; ``b`` asks for the same content and has nothing of its own, so it claims
    it: the plan says *moved*, and nothing is bought. Were there two such rows, ``b`` and ``c``, the
    first in the manifest would get the clip and the second would be new. A renamed row that other
    flags were given for is the same row still: of orders that are left over, it claims one that
    flags alone tell it from.
    """
    wanted = {job.key: job.content for job in jobs}
    orphans = _orphans(wanted, found, rows_known)
    claims: dict[str, Attempt] = {}
    for job in jobs if orphans else ():
        waiting = orphans.get(job.content)
        if waiting and _wants(found.get(job.key), job.content, waiting[0]):
            claims[job.key] = waiting.pop(0)
    left = defaultdict[object, list[Attempt]](list)
    for attempt in itertools.chain.from_iterable(orphans.values()):
        if attempt.intent.key not in wanted:
            left[attempt.intent.asked["input"].get("prompt")].append(attempt)
    for job in jobs if left else ():
        if job.key not in found and job.key not in claims:
            waiting = left.get(job.input.prompt, [])
            heirs = (a for a in waiting if flags.alone(job, a))
            if (claimed := next(heirs, None)) is not None:
                claims[job.key] = claimed
                waiting.remove(claimed)
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


# ── Flags that change bodies: which rows were made with which, and what that means for them ───────
# Flags speak for the rows that they buy. Such a row keeps them until other flags ask otherwise,
# and is then made anew only on demand; an edited cell is another matter.


BodyFlags = Mapping[str, str]
"""Names as `batch.open.body_flags` gives them (``set resolution``, ``model``), and values."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of a command, and those that earlier attempts were made with."""

    now: BodyFlags = field(default_factory=dict)
    made_with: Callable[[Attempt], BodyFlags] = lambda attempt: {}
    remake: bool = False
    """Rows that were made with other flags are made anew."""

    def alone(self, job: Job, last: Attempt) -> bool:
        """Whether flags, and no edit, tell the row from what it was last sent as."""
        differing = {name for name, _, _ in self._differences(last)}
        if "model" in differing:  # and what one of the two models does not know was left out
            known = filter(None, map(family_model, (last.intent.model, job.model)))
            differing = differing.union(*(model.lacks for model in known))
        changed = changed_fields(last.intent, job)
        return not self.remake and bool(changed) and changed <= differing

    def asked(self, job: Job, last: Attempt) -> tuple[str, ...]:
        """What today's flags ask of the row that its attempt is not, in words; empty: nothing."""
        changed = changed_fields(last.intent, job)
        return tuple(
            f"--{self._flag(name)} {old or 'unset'} → {new}"
            for name, old, new in self._differences(last)
            if new is not None and name in changed
        )

    def _flag(self, name: str) -> str:
        if name != "model":
            return f"set {name}"
        return "draft-model" if "draft_model" in self.now else "model"

    def _differences(self, last: Attempt) -> list[tuple[str, str | None, str | None]]:
        """Input fields that are set otherwise, then and now."""
        then, now = _by_field(self.made_with(last)), _by_field(self.now)
        names = sorted(then.keys() | now.keys())
        return [(n, then.get(n), now.get(n)) for n in names if then.get(n) != now.get(n)]


def _by_field(flags: BodyFlags) -> dict[str, str]:
    """The flags by the input field that they set; of two, a draft's model comes last."""
    names = {"draft_model": "model"}
    ordered = sorted(flags.items(), key=lambda flag: flag[0] in names)
    return {names.get(name, name.removeprefix("set ")): value for name, value in ordered}


# ── Says in plain words how a job differs from an earlier attempt's body ──────────────────────────


_SHOWN: Final = frozenset(INPUT_FIELDS) - {"prompt"} - {n for n in INPUT_FIELDS if "_url" in n}
"""Fields whose values are short enough to name; prompts and addresses are not."""


def changes(earlier: Intent, job: Job) -> str:
    """What was edited since, e.g. ``prompt changed (‘one fox’ → ‘two’), duration 5 → 8``.

    A link that leads to another take by now is no edit.
    """
    return ", ".join(_edits(earlier, job).values()) or "content changed"


_AROUND: Final = 2
"""Words that are shown beside what differs."""
_LONGEST: Final = 60
"""Characters of each side of a difference."""
_WORD: Final = r"[\u3040-\u9fff\uac00-\ud7af]|[^\s\u3040-\u9fff\uac00-\ud7af]+"
"""Chinese and Japanese have no blanks between words: each sign counts as one. Compiled where rows
were edited: ranges as large take 3 ms."""


def difference(old: str, new: str) -> str:
    """Where two texts differ, with a few words around: ``‘a red fox…’ → ‘a blue fox…’``."""
    before, after = re.findall(_WORD, old), re.findall(_WORD, new)
    if before == after:
        return "only in white space"
    least = min(len(before), len(after))
    head = next((i for i in range(least) if before[i] != after[i]), least)
    rest = least - head
    tail = next((i for i in range(rest) if before[-1 - i] != after[-1 - i]), rest)
    return f"{_excerpt(old, head, tail)} → {_excerpt(new, head, tail)}"


def _excerpt(text: str, head: int, tail: int) -> str:
    words = list(re.finditer(_WORD, text))
    start, end = max(head - _AROUND, 0), min(len(words) - tail + _AROUND, len(words))
    part = text[words[start].start() : words[end - 1].end()] if start < end else ""
    part = shown(part, _LONGEST, one_line=True)
    more = "…" if end < len(words) and not part.endswith("…") else ""
    return f"‘{'…' if start else ''}{part}{more}’"


def changed_fields(earlier: Intent, job: Job) -> frozenset[str]:
    """The input fields in which a job differs from an earlier order; ``model`` among them."""
    return frozenset(_edits(earlier, job))


def _edits(earlier: Intent, job: Job) -> dict[str, str]:
    """What differs, in words, by field."""
    body = earlier.asked
    before, after = body["input"], job.input.wire()
    found = {name: _change(name, before, after) for name in INPUT_FIELDS}
    if canonical_model(body["model"]) != canonical_model(job.model):
        found = {"model": f"model {body['model']} → {job.model}"} | found
    return {name: words for name, words in found.items() if words}


def _change(name: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    unsent = False if name in FALSE_BY_DEFAULT else None
    old, new = before.get(name, unsent), after.get(name, unsent)
    if old == new:
        return ""
    if name == "prompt" and isinstance(old, str) and isinstance(new, str):
        return f"prompt changed ({difference(old, new)})"
    if name not in _SHOWN:
        return f"{name} {'added' if old is None else 'removed' if new is None else 'changed'}"
    if old is None:
        return f"{name} added ({_plain(new)})"
    if new is None:
        return f"{name} removed ({_plain(old)})"
    return f"{name} {_plain(old)} → {_plain(new)}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
