"""What a task costs, by HiAPI's public price rules, as exact arithmetic; never a guess.

A price list and a task go in, an estimate comes out, or no estimate and a reason. Amounts are US
dollars as `Decimal`, rounded only when they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, ROUND_UP, Decimal, InvalidOperation
from enum import StrEnum
from functools import cached_property
from math import ceil
from typing import Any, Final

from seedance_batch.core.manifest import Job, canonical_model
from seedance_batch.core.model import (
    CLIP_SLACK,
    DEFAULT_MODEL,
    LONGEST_REFERENCE,
    Resolution,
    TaskInput,
    family_model,
)
from seedance_batch.core.text import in_usd, moment
from seedance_batch.errors import SettingsError

RuleValue = str | bool | int | Decimal
SentInput = Mapping[str, object]
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
    values: tuple[RuleValue, ...]

    def holds(self, sent: SentInput) -> bool:
        """Whether it is true of what is sent; raises `NoEstimate` where that is not stated."""
        if self.operator is Operator.MATCH:
            return self.field in sent and self._matches(sent[self.field])
        if sent.get(self.field) is False:
            raise NoEstimate(
                f"the list does not say whether {self.field}: false counts as with {self.field}"
            )
        return (self.field in sent) is self.values[0]

    def _matches(self, value: object) -> bool:
        if any(_family(value) is _family(wanted) and value == wanted for wanted in self.values):
            return True
        odd = next((v for v in self.values if _family(v) is not _family(value)), None)
        if odd is not None:
            raise NoEstimate(
                f"a price rule compares {self.field} with {odd!s}, a value that it cannot have"
            )
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
    """One model's prices; ``fault`` says why none of them can be used."""

    policies: tuple[Policy, ...] = ()
    base: Decimal | None = None
    per_task: bool = False
    """The prices are those of a whole task, however long; else of a second."""
    fault: str | None = None

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The input fields that the rules look at."""
        return tuple(sorted({c.field for policy in self.policies for c in policy.conditions}))

    def unit(self, sent: SentInput) -> Decimal:
        """US dollars per second or task: the most specific matching rule's, the dearest of equals.

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
    """What one task would cost at the public price, before the account's own discount.

    ``cost`` is None where no price is known; ``reason`` says why. ``seconds`` are all that are
    billed; ``bounded`` means that reference videos were not measured but taken at the documented
    limit.
    """

    cost: Decimal | None
    seconds: int
    reason: str | None = None
    bounded: bool = False


def prices_of(model: str, table: PriceTable) -> ModelPrice | None:
    """A model's prices, by any of its names, with its route where it has one (``name@route``).

    A bare name whose prices are listed by route alone has those of the only route, as HiAPI's own
    tools read it; of several nobody says which is the default one.
    """
    known, (bare, at, route) = family_model(model), model.partition("@")
    names = [f"{name}{at}{route}" for name in (bare, *(known.names if known else ()))]
    found = next((table.models[name] for name in names if name in table.models), None)
    if found is not None or route:
        return found
    routes = [price for name, price in table.models.items() if name.partition("@")[0] in names]
    return routes[0] if len(routes) == 1 else None


class Estimator:
    """Prices of tasks: works the rules out once for all inputs that they cannot tell apart."""

    def __init__(self, table: PriceTable | None) -> None:
        self._table = table
        self._prices: dict[str, ModelPrice | None] = {}
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
        """The price of one task: its own, or a second's times the generated and reference seconds.

        ``reference_seconds`` is the measured length of all reference videos together; None where
        any of them was not measured. That their seconds cost what generated ones do is our reading.
        """
        extra, bounded = _reference(task_input, reference_seconds)
        seconds = task_input.duration + extra
        unit = self._unit(canonical_model(model), task_input)
        if isinstance(unit, str):
            return Estimate(None, seconds, unit, bounded)
        price = self._priced(canonical_model(model))
        cost = unit if price is not None and price.per_task else unit * seconds
        return Estimate(cost, seconds, None, bounded)

    def _priced(self, model: str) -> ModelPrice | None:
        if model not in self._prices:
            table = self._table
            self._prices[model] = None if table is None else prices_of(model, table)
        return self._prices[model]

    def _unit(self, model: str, task_input: TaskInput) -> Decimal | str:
        """A second's price, or why there is none."""
        if self._table is None:
            return "no price list"
        price = self._priced(model)
        if price is None:
            return f"the price list does not name {model}"
        wire = task_input.wire()
        sent = {name: wire[name] for name in price.fields if name in wire}
        seen = f"{model} {sent}"
        if seen not in self._units:
            try:
                self._units[seen] = price.unit(sent)
            except NoEstimate as why:
                self._units[seen] = str(why)
        return self._units[seen]


def measured_seconds(job: Job) -> Decimal | None:
    """The length of all reference videos of a job together; None where any was not measured."""
    lengths = {media.token: media.seconds for media in job.media}
    lengths |= {source.token: source.seconds + CLIP_SLACK for source in job.sources}
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


def up_to_a_cent(amount: Decimal) -> Decimal:
    """The next cent up: an estimate that is shown is never below what is counted."""
    return amount.quantize(_CENT, ROUND_UP)


def money(amount: Decimal | None) -> str:
    """An amount for people: ``$12.30``, ``$0.0042`` below a cent, ``unknown``."""
    if amount is None:
        return "unknown"
    step = _FINE if 0 < amount < _CENT else _CENT
    return f"${amount.quantize(step, ROUND_HALF_UP):,}"


# ── Reads price lists: HiAPI's ``/api/pricing`` answer, and the file given with ``--price-file`` ──
# What belongs to other models is skipped whatever it looks like. What belongs to ours and is not
# understood to the last word becomes that model's fault: then there is no estimate for it.


_DURATION_ALONE: Final = (["duration"], ["seconds"], ["duration_seconds"])
_SANE_EXPONENTS: Final = range(-9, 7)
"""Powers of ten that a price or a multiplier can have; keeps absurd ones out of the arithmetic."""


def parse_pricing(
    answer: object, *, source: str, dated: float, sandbox: bool = False
) -> PriceTable:
    """The table in HiAPI's answer ``{"data": [{"model_name", "factors", …}]}``.

    Parse the JSON with ``parse_float=Decimal``, so that a price is what was written. An answer of
    another shape gives an empty table, and so no estimate.
    """
    entries = answer.get("data") if isinstance(answer, Mapping) else None
    currency = answer.get("currency") if isinstance(answer, Mapping) else None
    models: dict[str, ModelPrice] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(name := entry.get("model_name"), str):
            model = canonical_model(name)
            price = _model_price({"currency": currency, **entry})
            models[model] = _merged(models.get(model), price)
    return PriceTable(models, source, dated, sandbox)


def _merged(former: ModelPrice | None, price: ModelPrice) -> ModelPrice:
    if former is None or former == price:
        return price
    return ModelPrice(fault="the price list names the model twice, with different prices")


def _model_price(entry: Mapping[object, object]) -> ModelPrice:
    try:
        _check_currency(entry.get("currency"))
        per_task = _is_per_task(entry)
        named = entry.get("base_usd_value")
        base = _price(entry.get("model_price") if named is None else named)
        return ModelPrice(_policies(entry.get("policies"), base), base, per_task)
    except NoEstimate as why:
        return ModelPrice(fault=str(why))


def _check_currency(currency: object) -> None:
    if currency not in {None, "USD", "usd", "$"}:
        raise NoEstimate(f"the price is in another currency ({currency!s})")


def _is_per_task(entry: Mapping[object, object]) -> bool:
    """Whether a price is a task's: it has no factor, and its unit in words says so."""
    factors, unit = entry.get("factors"), _unit_in_words(entry.get("base_display_unit"))
    if factors in _DURATION_ALONE:
        return False
    if factors in (None, []) and _A_TASK.search(unit) and "second" not in unit:
        return True
    raise NoEstimate(f"the price does not depend on the duration alone (factors: {factors!r})")


_A_TASK: Final = re.compile(r"\b(?:task|video|clip|generation|call|request)s?\b")


def _unit_in_words(unit: object) -> str:
    """``base_display_unit``: a text, or texts by language."""
    told = unit.get("en") if isinstance(unit, Mapping) else unit
    return told.casefold() if isinstance(told, str) else ""


def _policies(policies: object, base: Decimal | None) -> tuple[Policy, ...]:
    if policies is None:  # left out, or how Go writes an empty list
        return ()
    if not isinstance(policies, list):
        raise NoEstimate("the price rules are not a list")
    return tuple(_policy(policy, base) for policy in policies)


def _policy(policy: object, base: Decimal | None) -> Policy:
    if not isinstance(policy, Mapping) or not isinstance(rule := policy.get("rule"), Mapping):
        raise NoEstimate("a price rule is not an object")
    conditions = tuple(_condition(field, test) for field, test in rule.items())
    return Policy(conditions, _policy_unit(policy, base))


def _policy_unit(policy: Mapping[object, object], base: Decimal | None) -> Decimal | None:
    match policy.get("pricing_type"):
        case "fixed" | None:  # as HiAPI's own tools read a rule without a type
            return _price(policy.get("usd_value"))
        case "multiply":
            named = policy.get("times")
            times = _price(policy.get("pricing_value") if named is None else named)
            return None if times is None or base is None else base * times
        case other:
            raise NoEstimate(f"a price rule has an unknown type: {other!r}")


def _condition(field: object, test: object) -> Condition:
    match test:
        case {"match": list() as values, **rest} if values and not rest:
            return Condition(str(field), Operator.MATCH, tuple(_scalar(v) for v in values))
        case {"match": value, **rest} if not rest:
            return Condition(str(field), Operator.MATCH, (_scalar(value),))
        case {"with": bool() as wanted, **rest} if not rest:
            return Condition(str(field), Operator.WITH, (wanted,))
        case _:
            raise NoEstimate(f"a price rule tests {field} in an unknown way: {test!r}")


def _scalar(value: object) -> RuleValue:
    if isinstance(value, str | bool | int | Decimal):
        return value
    if isinstance(value, float):
        return Decimal(repr(value))
    raise NoEstimate(f"a price rule compares with an unknown kind of value: {value!r}")


def _price(value: object) -> Decimal | None:
    """A positive finite number in any of JSON's and YAML's dresses, else None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    sane = number.is_finite() and number > 0 and number.adjusted() in _SANE_EXPONENTS
    return number if sane else None


# ── --price-file ────────────────────────────────────────────────────────────────────────────────

_SHORT_FORM: Final = frozenset({"currency", "model", "per_second"})
_SHOW_FORM: Final = "write it as:  per_second: {480p: 0.05, 720p: 0.11, 1080p: 0.24}"


def parse_price_file(document: object, *, source: str, dated: float) -> PriceTable:
    """The table in a price file, which is a parsed YAML or JSON document in one of two forms.

    The short one names US dollars per second, one price or one for each resolution, and so has no
    estimate for a resolution it does not name::

        currency: USD              # may be left out; there is no other
        model: seedance-2-0        # may be left out
        per_second: {480p: 0.05, 720p: 0.11, 1080p: 0.24}

    The long one is HiAPI's own answer, ``{data: [...]}``. A file in neither form raises
    `SettingsError`: a person wrote it and can mend it. So does a price of the short form that is no
    positive number, and a rule of the long form that is not understood; a price there that is no
    positive number only leaves what it prices without an estimate, as in HiAPI's own list.
    """
    if not isinstance(document, Mapping):
        raise SettingsError(f"{source} contains no prices", hint=_SHOW_FORM)
    if "data" in document:
        return _checked(parse_pricing(document, source=source, dated=dated))
    if unknown := [str(name) for name in document if name not in _SHORT_FORM]:
        raise SettingsError(f"{source}: unknown names: {', '.join(unknown)}", hint=_SHOW_FORM)
    if document.get("currency", "USD") != "USD":
        raise SettingsError(f"{source}: only USD is supported", hint="currency: USD")
    model = document.get("model", DEFAULT_MODEL)
    if not isinstance(model, str):
        raise SettingsError(f"{source}: model is not a name", hint=f"model: {DEFAULT_MODEL}")
    price = _short_form(document.get("per_second"), source)
    return PriceTable({canonical_model(model): price}, source, dated)


def _checked(table: PriceTable) -> PriceTable:
    for model, price in table.models.items():
        if price.fault is not None:
            raise SettingsError(f"{table.source}: {model}: {price.fault}", hint=_SHOW_FORM)
    return table


def _short_form(per_second: object, source: str) -> ModelPrice:
    if not isinstance(per_second, Mapping):
        return ModelPrice(base=_own_price(per_second, "per_second", source))
    return ModelPrice(
        tuple(
            Policy(
                (Condition("resolution", Operator.MATCH, (_resolution(name, source),)),),
                _own_price(price, str(name), source),
            )
            for name, price in per_second.items()
        )
    )


def _resolution(name: object, source: str) -> str:
    try:
        return Resolution(str(name)).value
    except ValueError:
        known = ", ".join(Resolution)
        raise SettingsError(
            f"{source}: {name} is not a resolution", hint=f"resolutions: {known}"
        ) from None


def _own_price(value: object, name: str, source: str) -> Decimal:
    price = _price(value)
    if price is None:
        raise SettingsError(f"{source}: {name}: {value!r} is not a price", hint=_SHOW_FORM)
    return price


# ── A price list as lines for people and as JSON values ───────────────────────────────────────────


def listing(table: PriceTable) -> Iterator[str]:
    """One line per rule: what it is for, and US dollars per second."""
    for name, model in table.models.items():
        yield f"{name}{f': {model.fault}' if model.fault else ''}"
        for rule, unit in _rules(model):
            yield f"  {rule:<44}{_shown(unit, model):>12}"


def listing_object(table: PriceTable) -> dict[str, Any]:
    """The same as JSON values; prices are None where unusable."""
    return {
        "source": table.source,
        "dated": moment(table.dated),
        "sandbox": table.sandbox,
        "models": {
            name: {
                "fault": model.fault,
                "per_second_usd": {} if model.per_task else prices,
                "per_task_usd": prices if model.per_task else {},
            }
            for name, model in table.models.items()
            for prices in ({rule: in_usd(unit) for rule, unit in _rules(model)},)
        },
    }


def _rules(model: ModelPrice) -> Iterator[tuple[str, Decimal | None]]:
    for policy in model.policies:
        yield " and ".join(map(str, policy.conditions)) or "always", policy.unit
    if model.base is not None:
        yield "otherwise", model.base


def _shown(unit: Decimal | None, model: ModelPrice) -> str:
    of = "a task" if model.per_task else "/s"
    return "unknown" if unit is None else f"${unit.normalize():f} {of}"
