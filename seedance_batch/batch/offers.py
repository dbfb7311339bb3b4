"""What a page's commands would make of each take, with which flags and at which price.

Prices are those of the kept price list: a page asks nobody. The plan has the last word.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from seedance_batch.api.client import DEFAULT_BASE_URL
from seedance_batch.batch.access import kept_prices
from seedance_batch.core.attempt import Attempt, Kind
from seedance_batch.core.identity import SANDBOX_ORIGIN
from seedance_batch.core.model import Allow, TaskInput
from seedance_batch.core.outcome import Outcome
from seedance_batch.core.pricing import Estimator, PriceTable, parse_pricing
from seedance_batch.core.text import redact
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.records import Facts, order_name
from seedance_batch.page.values import Offer

_SENT = Allow(resolution_4k=True, mixed_references=True, blobs=True)
"""What was sent once was let through."""
_SET = "set "


def offers_of(journal: Journal, found: Iterable[Outcome]) -> dict[int, Offer]:
    """By attempt: what another take like it, and a final, would cost; and its flags."""
    estimator = Estimator(_prices(journal.facts().origin or DEFAULT_BASE_URL))
    flags = {kind: _flags(journal, kind) for kind in Kind}
    return {
        attempt.id: _offer(outcome, attempt, estimator, flags[attempt.intent.kind])
        for outcome in found
        for attempt in outcome.attempts
    }


def folder_flags(facts: Facts) -> list[str]:
    """The flags without which a command on the run folder asks another API, or reads another
    table."""
    origin = facts.origin or DEFAULT_BASE_URL
    if origin == SANDBOX_ORIGIN:
        api = ["--sandbox"]
    else:
        api = [] if origin == DEFAULT_BASE_URL else ["--api-url", redact(origin)]
    return [*api, *map(redact, facts.reading or ())]


def _prices(origin: str) -> PriceTable | None:
    if origin != SANDBOX_ORIGIN:
        return kept_prices(origin)
    from seedance_batch.sandbox.engine import invented_prices

    return parse_pricing(invented_prices(), source="sandbox", dated=time.time(), sandbox=True)


def _flags(journal: Journal, kind: Kind) -> Callable[[Attempt], list[str]]:
    facts = journal.facts_of(kind)
    made_with, usual = facts.made_with or {}, facts.flags or {}
    return lambda a: _words(made_with.get(order_name(a.intent.key, a.intent.number), usual))


def _words(flags: Mapping[str, str]) -> list[str]:
    """The flags that change what is sent, as one types them."""
    words: list[str] = []
    for name, value in sorted(flags.items()):
        if name.startswith(_SET):
            words += ["--set", redact(f"{name.removeprefix(_SET)}={value}")]
        else:
            words += [f"--{name.replace('_', '-')}", redact(value)]
    return words


def _offer(
    outcome: Outcome, take: Attempt, estimator: Estimator, flags: Callable[[Attempt], list[str]]
) -> Offer:
    row = outcome.row
    size = {} if row is None else {"resolution": row.resolution, "duration": row.duration}
    final = _cost(estimator, take, row.model if row else take.intent.model, size)
    is_draft = take.intent.kind is Kind.DRAFT
    again = _cost(estimator, take, take.intent.model, {}) if is_draft else final
    return Offer(flags(take), _number(again), _number(final))


def _cost(
    estimator: Estimator, made: Attempt, model: str, changed: Mapping[str, object]
) -> Decimal | None:
    """The price of what was sent, with some of it changed; a draft's final may have sound."""
    try:
        sent = json.loads(made.intent.template)["input"] | changed
        sound = {"generate_audio": True} if changed else {}
        inputs = [TaskInput.model_validate(sent | more, context=_SENT) for more in ({}, sound)]
    except (ValueError, KeyError, TypeError):
        return made.intent.est_cost if not changed else None
    costs = [estimator.estimate(model, each).cost for each in inputs]
    known = [cost for cost in costs if cost is not None]
    return max(known) if len(known) == len(costs) else None


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
