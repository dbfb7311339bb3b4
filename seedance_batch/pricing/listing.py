"""A price list as lines for people and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from seedance_batch.pricing.rules import ModelPrice, PriceTable


def listing(table: PriceTable) -> Iterator[str]:
    """One line per rule: what it is for, and US dollars per second."""
    for name, model in table.models.items():
        yield f"{name}{f': {model.fault}' if model.fault else ''}"
        for rule, unit in _rules(model):
            yield f"  {rule:<44}{_shown(unit):>12}"


def listing_object(table: PriceTable) -> dict[str, Any]:
    """The same as JSON values; prices are decimal strings, None where unusable."""
    return {
        "source": table.source,
        "dated": table.dated,
        "sandbox": table.sandbox,
        "models": {
            name: {
                "fault": model.fault,
                "per_second_usd": {
                    rule: None if unit is None else f"{unit:f}" for rule, unit in _rules(model)
                },
            }
            for name, model in table.models.items()
        },
    }


def _rules(model: ModelPrice) -> Iterator[tuple[str, Decimal | None]]:
    for policy in model.policies:
        yield " and ".join(map(str, policy.conditions)) or "always", policy.unit
    if model.base is not None:
        yield "otherwise", model.base


def _shown(unit: Decimal | None) -> str:
    return "unknown" if unit is None else f"${unit.normalize():f} /s"
