"""What HiAPI publishes is compared with what this program goes by, and every difference is said."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from seedance_batch.core.drift import (
    differences,
    input_schema_in,
    our_rules,
    price_differences,
)
from seedance_batch.core.model import FAMILY
from seedance_batch.core.pricing import parse_pricing
from seedance_batch.sandbox.engine import invented_prices
from seedance_batch.sandbox.validation import published_schema

SCHEMA = published_schema("seedance-2-0")


@pytest.mark.parametrize("model", [model.names[0] for model in FAMILY])
def test_the_sandboxs_reading_is_the_programs_own(model: str) -> None:
    assert differences(our_rules(model), published_schema(model)) == []


def changed(**fields: Any) -> list[str]:
    schema = deepcopy(SCHEMA)
    for name, changes in fields.items():
        schema["properties"].setdefault(name, {}).update(changes)
    return differences(our_rules("seedance-2-0"), schema)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"camera_fixed": {"type": "boolean"}},
         "camera_fixed is published, and this program does not know it"),
        ({"resolution": {"enum": ["480p", "720p", "1080p", "4k"]}}, "resolution may also be 4k"),
        ({"resolution": {"enum": ["480p", "720p"]}}, "resolution may not be 1080p"),
        ({"duration": {"maximum": 30}}, "duration has at most 30; here it is 15"),
        ({"prompt": {"maxLength": 2500}},
         "prompt has at most 2,500 characters; here it is 20,000"),
        ({"reference_image_urls": {"maxItems": 4}},
         "reference_image_urls has at most 4 entries; here it is 9"),
        ({"seed": {"type": "string"}}, "seed is string, not integer"),
    ],
)  # fmt: skip
def test_a_difference_is_said_in_a_sentence(fields: dict[str, Any], words: str) -> None:
    assert changed(**fields) == [words]


def test_a_field_that_is_gone_and_one_that_is_required_are_said() -> None:
    schema = deepcopy(SCHEMA)
    del schema["properties"]["seed"]
    schema["required"] = ["prompt", "web_search"]
    assert differences(our_rules("seedance-2-0"), schema) == [
        "seed is not among the published fields",
        "web_search is required",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        SCHEMA,
        {"code": 200, "data": SCHEMA},
        {"data": {"model": "x", "schema": SCHEMA}},
        {"properties": {"model": {"type": "string"}, "input": SCHEMA}},
    ],
)
def test_a_schema_is_found_in_whatever_it_is_wrapped(answer: object) -> None:
    found = input_schema_in(answer)
    assert found is not None
    assert differences(our_rules("seedance-2-0"), found) == []


def test_references_and_nulls_are_resolved() -> None:
    schema = deepcopy(SCHEMA)
    schema["$defs"] = {"Seconds": schema["properties"]["duration"]}
    schema["properties"]["duration"] = {"anyOf": [{"$ref": "#/$defs/Seconds"}, {"type": "null"}]}
    assert differences(our_rules("seedance-2-0"), schema) == []


@pytest.mark.parametrize("answer", [None, [], "x", {"properties": {"a": {}}}, {"data": {"b": 1}}])
def test_what_is_no_schema_is_none(answer: object) -> None:
    assert input_schema_in(answer) is None


def test_the_price_lists_form_is_looked_at() -> None:
    def said(**changes: Any) -> list[str]:
        prices = invented_prices()
        prices["data"][2] |= changes
        return price_differences(parse_pricing(prices, source="x", dated=0.0))

    assert said() == []
    assert said(model_name="other") == ["the price list does not name seedance-2.0-fast"]
    (fault,) = said(policies=[{"rule": {}, "pricing_type": "tiered", "usd_value": Decimal(1)}])
    assert fault.startswith("seedance-2.0-fast: ")
