"""A plan as a document: written once, approved, executed as approved, or found to have drifted.

What carrying out the plan did is no drift: an intent of the plan that became an attempt is still
the plan's. New money that the plan did not show is never part of it, whatever happened since; where
a row that needed none needs some now, the plan is not what was approved, and nothing of it is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from seedance_batch.core.attempt import Kind, Phase
from seedance_batch.core.pricing import money
from seedance_batch.core.steps import Action, Plan, Step, held_back
from seedance_batch.core.text import in_usd, moment, redact
from seedance_batch.errors import UsageError

PLAN_FORMAT: Final = "seedance-batch plan"
PLAN_VERSION: Final = 1


# ── a plan to JSON ──────────────────────────────────────────────────────────────────────────────


def to_json(
    plan: Plan,
    flags: Mapping[str, str] | None = None,
    *,
    origin: str,
    folder: str | None = None,
) -> dict[str, Any]:
    """The plan as JSON values, for ``--json`` and ``--save``.

    ``origin`` is the API that it was made for: a yes to the sandbox is none to real money.
    ``folder`` tells the run folder from others, None where there was none yet.
    ``flags`` is kept as it is, so that executing the plan can use what it was made with.
    """
    words = {reason: redact(reason) for reason in {step.reason for step in plan.steps}}
    document: dict[str, Any] = {
        "format": PLAN_FORMAT,
        "version": PLAN_VERSION,
        "kind": plan.kind.value,
        "origin": origin,
        "folder": folder,
        "flags": dict(flags or {}),
        "fingerprint": plan.fingerprint,
        "rows_digest": plan.rows_digest,
        "prices": _prices(plan),
        "new_rows": plan.new_rows,
        "new_cost_usd": in_usd(plan.new_cost),
        "money": plan.spending.as_json(),
        "totals": {
            action.value: {
                "rows": total.rows,
                "seconds": total.seconds,
                "cost_usd": in_usd(total.cost) if action.may_cost else None,
            }
            for action, total in plan.totals.items()
        },
        "seconds_by_resolution": plan.seconds_by_resolution,
        "left_out": plan.left_out,
        "steps": [_step(step, words[step.reason]) for step in plan.steps],
    }
    return document | {"digest": _digest(document)}


_DECISIVE: Final = ("kind", "origin", "folder", "flags", "rows_digest")
_DECISIVE_OF_STEPS: Final = ("action", "id", "content", "number", "continues", "cost_usd")


def _digest(document: Mapping[str, Any]) -> str:
    """Of all that decides what a plan buys, however the file is laid out."""
    steps = [[step[name] for name in _DECISIVE_OF_STEPS] for step in document["steps"]]
    decisive = [*(document.get(name) for name in _DECISIVE), steps]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _prices(plan: Plan) -> dict[str, Any] | None:
    if plan.table is None:
        return None
    table = plan.table
    return {"source": redact(table.source), "dated": moment(table.dated), "sandbox": table.sandbox}


def _step(step: Step, reason: str) -> dict[str, Any]:
    return {
        "action": step.action.value,
        "id": step.key,
        "row": step.job.row.number if step.job else None,
        "content": step.job.content if step.job else None,
        "number": step.number,
        "continues": step.attempt.intent.number if step.attempt else None,
        "seconds": step.seconds,
        "cost_usd": in_usd(step.cost),
        "spent_before_usd": in_usd(step.spent_before),
        "reason": reason,
        "waits_for": list(step.waits_for),
        "stale": step.stale,
    }


# ── JSON to a saved plan ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class SavedStep:
    """What a saved plan holds of one row; see `Step`."""

    action: Action
    key: str
    content: str | None
    number: int
    continues: int | None
    """The number of the attempt that the row had already."""
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan that was approved."""

    kind: Kind
    origin: str
    """The API that it was approved for."""
    flags: Mapping[str, str]
    rows_digest: str
    steps: tuple[SavedStep, ...]
    folder: str | None = None
    """The run folder's mark; None where there was none when it was made."""
    digest: str = ""
    """Tells plans apart; empty in one of an earlier version."""
    edited: bool = False
    """Whether it was changed after it was written."""
    reading: Mapping[str, Any] | None = None
    """The flags by which manifest and rows were read; None in one of an earlier version."""

    @property
    def keys(self) -> frozenset[str]:
        """The rows to make the fresh plan for, in place of any selection."""
        return frozenset(s.key for s in self.steps if s.action is not Action.REMOVED)


def from_json(document: object) -> SavedPlan:
    """The saved plan in a document that `to_json` wrote; `UsageError` for any other."""
    try:
        if not isinstance(document, dict) or document["format"] != PLAN_FORMAT:
            raise UsageError("This is not a saved plan.", hint="seedance-batch plan M --save FILE")
        if document["version"] != PLAN_VERSION:
            raise UsageError(
                f"This plan has version {document['version']!r}, which this program does not know."
            )
        return SavedPlan(
            Kind(document["kind"]),
            str(document["origin"]),
            {str(name): str(value) for name, value in document["flags"].items()},
            str(document["rows_digest"]),
            tuple(_saved_step(step) for step in document["steps"]),
            document.get("folder"),
            str(document.get("digest") or ""),
            edited=document.get("digest") not in {None, _digest(document)},
            reading=document.get("reading"),
        )
    except (LookupError, ValueError, TypeError, AttributeError, InvalidOperation) as error:
        raise UsageError(f"The saved plan is damaged: {error}") from error


def _saved_step(step: Mapping[str, Any]) -> SavedStep:
    cost, continues = step["cost_usd"], step["continues"]
    return SavedStep(
        Action(step["action"]),
        str(step["id"]),
        step["content"],
        int(step["number"]),
        None if continues is None else int(continues),
        None if cost is None else Decimal(cost),
    )


# ── a saved plan against a fresh one ────────────────────────────────────────────────────────────


def drift(saved: SavedPlan, fresh: Plan, origin: str, folder: str | None = None) -> list[str]:
    """Why a saved plan can no longer be executed as approved, one reason a line; empty if it can.

    ``fresh`` is a plan made now for `SavedPlan.keys` with the same flags, to run at ``origin`` in
    the run folder of that mark.
    """
    if saved.edited:
        return ["the plan was edited after it was saved"]
    if saved.origin != origin:
        return [f"the plan is for {saved.origin}, not for {origin}"]
    if saved.folder is not None and saved.folder != folder:
        return ["the plan was made for another run folder, with other attempts"]
    if saved.kind is not fresh.kind:
        return [f"the plan is for {saved.kind} clips, not for {fresh.kind} ones"]
    now = {step.key: step for step in fresh.steps}
    known = _Known.of(fresh)
    found = [
        f"{step.key}: {why}"
        for step in saved.steps
        if not _is_gone(step) and (why := _moved_on(step, now.get(step.key), known))
    ]
    if not found and saved.rows_digest != fresh.rows_digest:
        found.append("rows outside the plan were added, removed or edited")
    return found


def _is_gone(step: SavedStep) -> bool:
    """A row that had left the manifest already."""
    return step.action is Action.REMOVED or (step.action is Action.SETTLE and step.content is None)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the journal knows today of a plan's kind."""

    begun: frozenset[tuple[str, int, str]]
    """Row key, number and content of attempts that were sent."""
    numbers: frozenset[tuple[str, int]]
    """Row key and number of every attempt."""
    contents: frozenset[str]

    @classmethod
    def of(cls, fresh: Plan) -> _Known:
        """Of the attempts that a plan was made with."""
        attempts = [a for a in fresh.attempts if a.intent.kind is fresh.kind]
        intents = [a.intent for a in attempts]
        sent = (a.intent for a in attempts if a.state.phase is not Phase.PLANNED)
        return cls(
            frozenset((i.key, i.number, i.content) for i in sent),
            frozenset((i.key, i.number) for i in intents),
            frozenset(i.content for i in intents),
        )

    def has_attempt_of(self, saved: SavedStep) -> bool:
        """Whether the attempt that a row had is still known; a moved one had another name."""
        if saved.continues is None:
            return True
        return (saved.key, saved.continues) in self.numbers or saved.content in self.contents


def _moved_on(saved: SavedStep, now: Step | None, known: _Known) -> str | None:
    """Why one row is no longer what was approved."""
    if now is None or now.job is None or saved.content is None:
        return "left the manifest"
    if now.job.content != saved.content:
        return "was edited"
    if not saved.action.spends:
        if now.number > saved.number:
            return _FOREIGN
        forgotten = now.action.spends and not known.has_attempt_of(saved)
        return _turned(saved, now) if forgotten else None
    if (saved.key, saved.number, saved.content) in known.begun:
        return _FOREIGN if now.number > saved.number + 1 else None
    if not now.action.spends or now.number != saved.number:
        return _turned(saved, now)
    if now.cost != saved.cost:
        return f"the price was {money(saved.cost)}, now it is {money(now.cost)}"
    return None


def _turned(saved: SavedStep, now: Step) -> str:
    return f"was {saved.action}, now it is {now.action} ({now.reason})"


_FOREIGN: Final = "has an attempt that this plan did not make"


def agreed(plan: Plan) -> SavedPlan:
    """A plan that was shown and agreed to, to hold a later one against."""
    return from_json(to_json(plan, origin=""))


def approved(saved: SavedPlan, fresh: Plan) -> Plan:
    """What is left to do of a saved plan: the fresh one without new money that it did not hold."""
    known = {step.key: step for step in saved.steps}
    return replace(fresh, steps=tuple(_approved(step, known.get(step.key)) for step in fresh.steps))


def _approved(step: Step, saved: SavedStep | None) -> Step:
    if step.action is Action.SETTLE and (saved is None or saved.action is not Action.SETTLE):
        return held_back(step, "not in the saved plan")
    if not step.action.spends or _holds(saved, step):
        return step
    return held_back(step, "not in the saved plan")


def _holds(saved: SavedStep | None, step: Step) -> bool:
    """Whether new money was approved, or is what the row had under way when it was.

    That was reserved and shown. It goes on only as the very attempt that it was then: what a
    journal does not know is none, whatever the plan says of it.
    """
    if saved is None or step.job is None or step.job.content != saved.content:
        return False
    if saved.action.spends:
        return step.number == saved.number
    if saved.action is not Action.IN_FLIGHT or step.attempt is None:
        return False
    intent = step.attempt.intent
    return intent.content == saved.content and intent.number == saved.continues == step.number
