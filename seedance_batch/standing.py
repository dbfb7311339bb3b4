"""How a run folder stands, for people and as JSON values: rows by status, and money."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from seedance_batch.outcome import Outcome, Status
from seedance_batch.pricing import money
from seedance_batch.redact import shown
from seedance_batch.state import Sum, Surety
from seedance_batch.tally import Tally, tally
from seedance_batch.words import some, spaced


def lines(found: Sequence[Outcome], *, by: str | None = None) -> Iterator[str]:
    """Counts and sums; with ``by`` once more for each value of that column."""
    yield from _block(tally(found))
    for value, part in _groups(found, by):
        yield ""
        yield f"{by}: {shown(value) or '(empty)'}"
        yield from _block(tally(part))


def _block(sums: Tally) -> Iterator[str]:
    for status, count in sums.statuses.items():
        if count:
            yield f"  {spaced(status):<16}{count:>8,}"
    yield f"  {'spent':<16}{spent(sums)}"


def spent(sums: Tally) -> str:
    """Money in a few words: a range where failed attempts may have been charged."""
    settled, unknown = sums.money[Surety.SETTLED].amount, sums.money[Surety.UNKNOWN].amount
    reserved = sums.money[Surety.RESERVED].amount
    text = f"{money(settled)} settled"
    if unknown:
        text = _with_unknown(settled, unknown, sums.statuses.get(Status.FAILED, 0))
    unpriced = sum(part.unpriced for part in sums.money.values())
    parts = [text, f"{money(reserved)} reserved" if reserved else ""]
    parts.append(f"{some(unpriced, 'attempt')} of unknown price" if unpriced else "")
    return ", ".join(part for part in parts if part)


def _with_unknown(settled: Decimal, unknown: Decimal, failed_rows: int) -> str:
    """What is sure, and what failed attempts may have cost; their rows may be done by now."""
    if failed_rows:
        return f"{money(settled)} to {money(settled + unknown)} settled (failed rows: unknown)"
    return f"{money(settled)} settled, earlier failed attempts: $0 to {money(unknown)}"


def costs(money_by: Mapping[Surety, Sum]) -> list[str]:
    """What was paid for how many clips, and what else may have to be paid, each in a few words."""
    settled, reserved = money_by[Surety.SETTLED], money_by[Surety.RESERVED]
    unknown = money_by[Surety.UNKNOWN]
    parts = [f"{money(settled.amount)} for {some(settled.attempts, 'clip')}"]
    if reserved.attempts:
        parts.append(f"{money(reserved.amount)} reserved")
    if unknown.attempts:
        parts.append(f"up to {money(unknown.amount)} for attempts without a clip")
    return parts


def as_object(found: Sequence[Outcome], *, by: str | None = None) -> dict[str, Any]:
    """The same as JSON values; amounts are decimal strings in US dollars."""
    groups = {value: _object(tally(part)) for value, part in _groups(found, by)}
    return _object(tally(found)) | ({"by": {by: groups}} if by else {})


def _object(sums: Tally) -> dict[str, Any]:
    return {
        "rows": sums.rows,
        "statuses": {status.value: count for status, count in sums.statuses.items() if count},
        "money": {
            f"{surety.value}_usd": f"{Decimal(part.amount):f}"
            for surety, part in sums.money.items()
        },
        "attempts_without_price": sum(part.unpriced for part in sums.money.values()),
    }


def _groups(found: Sequence[Outcome], by: str | None) -> Iterator[tuple[str, list[Outcome]]]:
    if by is None:
        return
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        groups[outcome.row.cells.get(by, "") if outcome.row else ""].append(outcome)
    yield from groups.items()
