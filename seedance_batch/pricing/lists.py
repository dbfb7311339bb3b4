"""Reads price lists: HiAPI's ``/api/pricing`` answer, and the file given with ``--price-file``.

What belongs to other models is skipped whatever it looks like. What belongs to ours and is not
understood to the last word becomes that model's fault: then there is no estimate for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from seedance_batch.errors import SettingsError
from seedance_batch.identity import canonical_model
from seedance_batch.model import DEFAULT_MODEL, Resolution
from seedance_batch.pricing.rules import (
    Condition,
    ModelPrice,
    NoEstimate,
    Operator,
    Policy,
    PriceTable,
    Scalar,
)

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
    models: dict[str, ModelPrice] = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and isinstance(name := entry.get("model_name"), str):
            model = canonical_model(name)
            models[model] = _merged(models.get(model), _model_price(entry))
    return PriceTable(models, source, dated, sandbox)


def _merged(former: ModelPrice | None, price: ModelPrice) -> ModelPrice:
    if former is None or former == price:
        return price
    return ModelPrice(fault="the price list names the model twice, with different prices")


def _model_price(entry: Mapping[object, object]) -> ModelPrice:
    try:
        _check_factors(entry.get("factors"))
        named = entry.get("base_usd_value")
        base = _price(entry.get("model_price") if named is None else named)
        return ModelPrice(_policies(entry.get("policies"), base), base)
    except NoEstimate as why:
        return ModelPrice(fault=str(why))


def _check_factors(factors: object) -> None:
    if factors not in _DURATION_ALONE:
        raise NoEstimate(f"the price does not depend on the duration alone (factors: {factors!r})")


def _policies(policies: object, base: Decimal | None) -> tuple[Policy, ...]:
    if policies is None:  # left out, or how Go writes an empty list
        return ()
    if not isinstance(policies, list):
        raise NoEstimate("the price rules are no list")
    return tuple(_policy(policy, base) for policy in policies)


def _policy(policy: object, base: Decimal | None) -> Policy:
    if not isinstance(policy, Mapping) or not isinstance(rule := policy.get("rule"), Mapping):
        raise NoEstimate("a price rule is no object")
    conditions = tuple(_condition(field, test) for field, test in rule.items())
    return Policy(conditions, _policy_unit(policy, base))


def _policy_unit(policy: Mapping[object, object], base: Decimal | None) -> Decimal | None:
    match policy.get("pricing_type"):
        case "fixed":
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
            raise NoEstimate(f"a price rule looks at {field} in an unknown way: {test!r}")


def _scalar(value: object) -> Scalar:
    if isinstance(value, str | bool | int | Decimal):
        return value
    if isinstance(value, float):
        return Decimal(repr(value))
    raise NoEstimate(f"a price rule compares with something unknown: {value!r}")


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
        raise SettingsError(f"{source} holds no prices", hint=_SHOW_FORM)
    if "data" in document:
        return _checked(parse_pricing(document, source=source, dated=dated))
    if unknown := [str(name) for name in document if name not in _SHORT_FORM]:
        raise SettingsError(f"{source}: unknown: {', '.join(unknown)}", hint=_SHOW_FORM)
    if document.get("currency", "USD") != "USD":
        raise SettingsError(f"{source}: only USD is understood", hint="currency: USD")
    model = document.get("model", DEFAULT_MODEL)
    if not isinstance(model, str):
        raise SettingsError(f"{source}: model is no name", hint=f"model: {DEFAULT_MODEL}")
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
            f"{source}: {name} is no resolution", hint=f"resolutions: {known}"
        ) from None


def _own_price(value: object, name: str, source: str) -> Decimal:
    price = _price(value)
    if price is None:
        raise SettingsError(f"{source}: {name}: {value!r} is no price", hint=_SHOW_FORM)
    return price
