"""HiAPI's public price rules as exact arithmetic: a price list and a task in, an estimate out.

Nothing is ever guessed: what the rules do not cover has no estimate, and a reason. Reading price
lists is `seedance_batch.pricing.lists`'s work. Amounts are US dollars as `Decimal`, rounded only
for display (`money`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import cached_property
from math import ceil
from typing import Final

from seedance_batch.identity import canonical_model
from seedance_batch.manifest import Job
from seedance_batch.model import LONGEST_REFERENCE, TaskInput

Scalar = str | bool | int | Decimal
Sent = Mapping[str, object]
"""The fields of ``input`` that are sent, of those that the rules look at."""


class NoEstimate(Exception):
    """Why no price can be named; the text is for people."""


class Operator(StrEnum):
    """How a rule looks at a field."""

    MATCH = "match"
    WITH = "with"


@dataclass(frozen=True, slots=True)
class Condition:
    """One field of a rule: it equals one of ``values``, or it is sent (or not sent)."""

    field: str
    operator: Operator
    values: tuple[Scalar, ...]

    def holds(self, sent: Sent) -> bool:
        """Whether it is true of what is sent; raises `NoEstimate` where that is not stated."""
        if self.operator is Operator.MATCH:
            return self.field in sent and self._matches(sent[self.field])
        if sent.get(self.field) is False:
            raise NoEstimate(f"whether {self.field}: false counts as “with” it is not stated")
        return (self.field in sent) is self.values[0]

    def _matches(self, value: object) -> bool:
        if any(_family(value) is _family(wanted) and value == wanted for wanted in self.values):
            return True
        odd = next((v for v in self.values if _family(v) is not _family(value)), None)
        if odd is not None:
            raise NoEstimate(f"a price rule compares {self.field} with {odd!s}, which it cannot be")
        return False

    def __str__(self) -> str:
        if self.operator is Operator.WITH:
            return f"{'with' if self.values[0] else 'without'} {self.field}"
        return f"{self.field} {' or '.join(str(value) for value in self.values)}"


def _family(value: object) -> type:
    """What a value may be compared with: text, truth, number, or a list of addresses."""
    return type(value) if isinstance(value, str | bool | list) else Decimal


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule, and the price per second it sets; None where the list names no usable one."""

    conditions: tuple[Condition, ...]
    unit: Decimal | None


@dataclass(frozen=True)
class ModelPrice:
    """One model's prices per second; ``fault`` says why none of them can be used."""

    policies: tuple[Policy, ...] = ()
    base: Decimal | None = None
    fault: str | None = None

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The input fields that the rules look at."""
        return tuple(sorted({c.field for policy in self.policies for c in policy.conditions}))

    def unit(self, sent: Sent) -> Decimal:
        """US dollars per second: the most specific matching rule's, the dearest of equals.

        Raises `NoEstimate` where that price is missing, null or zero, or cannot be told.
        """
        if self.fault is not None:
            raise NoEstimate(self.fault)
        matching = [p for p in self.policies if all(c.holds(sent) for c in p.conditions)]
        depth = max((len(policy.conditions) for policy in matching), default=None)
        if depth is None:
            return _usable(self.base, "no price rule matches, and the list names no base price")
        equals = [policy for policy in matching if len(policy.conditions) == depth]
        return max(_usable(policy.unit, "the matching price is null or zero") for policy in equals)


def _usable(price: Decimal | None, otherwise: str) -> Decimal:
    if price is None:
        raise NoEstimate(otherwise)
    return price


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by canonical model name.

    ``source`` is the address or file they came from, ``dated`` when, in Unix seconds; ``sandbox``
    marks rates that nobody has to pay, ``kept`` a list that was had earlier.
    """

    models: Mapping[str, ModelPrice]
    source: str
    dated: float
    sandbox: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one task would cost at the public price, before the account's group ratio.

    ``cost`` and ``unit`` (a second's price) are None where no price is known; ``reason`` says why.
    ``seconds`` are all billed seconds, ``reference_seconds`` those of them that are reference
    videos; ``bounded`` means that these were not measured but taken at the documented limit.
    """

    cost: Decimal | None
    unit: Decimal | None
    seconds: int
    reference_seconds: int = 0
    reason: str | None = None
    bounded: bool = False


def estimate(
    table: PriceTable | None,
    model: str,
    task_input: TaskInput,
    reference_seconds: Decimal | float | None = None,
) -> Estimate:
    """The price of one task: a second's price times the generated and the reference seconds.

    ``reference_seconds`` is the measured length of all reference videos together; None where any
    of them was not measured. That their seconds cost what generated ones do is our reading.
    """
    return Estimator(table).estimate(model, task_input, reference_seconds)


class Estimator:
    """`estimate` for many tasks: works the rules out once for all inputs they cannot tell apart."""

    def __init__(self, table: PriceTable | None) -> None:
        self._table = table
        self._units: dict[str, Decimal | str] = {}

    def job(self, job: Job) -> Estimate:
        """The price of a job, with its local reference videos at their measured length."""
        measured = measured_seconds(job) if job.input.reference_video_urls else None
        return self.estimate(job.model, job.input, measured)

    def estimate(
        self,
        model: str,
        task_input: TaskInput,
        reference_seconds: Decimal | float | None = None,
    ) -> Estimate:
        """See the function `estimate`."""
        extra, bounded = _reference(task_input, reference_seconds)
        seconds = task_input.duration + extra
        unit = self._unit(canonical_model(model), task_input)
        if isinstance(unit, str):
            return Estimate(None, None, seconds, extra, unit, bounded)
        return Estimate(unit * seconds, unit, seconds, extra, None, bounded)

    def _unit(self, model: str, task_input: TaskInput) -> Decimal | str:
        """A second's price, or why there is none."""
        if self._table is None:
            return "no price list"
        price = self._table.models.get(model)
        if price is None:
            return f"the price list does not name {model}"
        wire = task_input.wire()
        sent = {name: wire[name] for name in price.fields if name in wire}
        seen = f"{model} {sent}"
        if seen not in self._units:
            self._units[seen] = _unit_or_reason(price, sent)
        return self._units[seen]


def _unit_or_reason(price: ModelPrice, sent: Sent) -> Decimal | str:
    try:
        return price.unit(sent)
    except NoEstimate as why:
        return str(why)


def measured_seconds(job: Job) -> Decimal | None:
    """The length of all reference videos of a job together; None where any was not measured."""
    lengths = {media.token: media.seconds for media in job.media}
    total = Decimal(0)
    for address in job.input.reference_video_urls or ():
        seconds = lengths.get(address)
        if seconds is None:
            return None
        total += Decimal(str(seconds))
    return total


def _reference(task_input: TaskInput, measured: Decimal | float | None) -> tuple[int, bool]:
    """Billed reference seconds, rounded up to whole ones, and whether they are only a bound."""
    if not task_input.reference_video_urls:
        return 0, False
    length = None if measured is None else Decimal(str(measured))
    if length is None or not length.is_finite() or length <= 0:
        return LONGEST_REFERENCE, True
    return ceil(length), False


_CENT: Final = Decimal("0.01")
_FINE: Final = Decimal("0.0001")


def money(amount: Decimal | None) -> str:
    """An amount for people: ``$12.30``, ``$0.0042`` below a cent, ``unknown``."""
    if amount is None:
        return "unknown"
    step = _FINE if 0 < amount < _CENT else _CENT
    return f"${amount.quantize(step, ROUND_HALF_UP):,}"
