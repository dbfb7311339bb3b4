"""``openapi.yaml`` and the running sandbox agree: schemathesis finds no difference.

`test_openapi` runs this in a process of its own.
"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS

from seedance_batch.sandbox.validation import specification

from .conftest import KEY, Served

# Every request here carries a good key; what happens without one is tested by hand.
described = schemathesis.openapi.from_dict({**specification(), "security": []})
api = described.exclude(operation_id="changeConfig")
setup = described.include(operation_id="changeConfig")
AUTH = {"Authorization": f"Bearer {KEY}"}
ALL_WELL = list(HealthCheck)
QUICK = settings(max_examples=10, derandomize=True, suppress_health_check=ALL_WELL)
LONG = settings(max_examples=1000, suppress_health_check=ALL_WELL)


@pytest.fixture(scope="module", autouse=True)
def _forgetful(served: Served) -> None:
    """A key that comes twice with two bodies is rightly 422, and no fault of the description."""
    served.configure(key_memory=0)


def _sendable(case: schemathesis.Case) -> None:
    """JSON Schema calls 5.0 an integer, HiAPI does not; unknown models and routes hide the rest."""
    body = case.body = _whole(case.body)
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = body["model"] and "seedance-2-0"
    if isinstance(body, dict) and isinstance(body.get("route"), str):
        body["route"] = "pro"
    callback = body.get("callback") if isinstance(body, dict) else None
    if isinstance(callback, dict) and str(callback.get("url")).startswith("http"):
        callback["url"] = "http://127.0.0.1:9/nobody"  # an invented host is none to be called


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@api.parametrize()
@QUICK
def test_the_sandbox_does_what_its_description_says(
    case: schemathesis.Case, served: Served
) -> None:
    _sendable(case)
    case.call_and_validate(base_url=served.address.api_url, headers=AUTH)


@setup.parametrize()
@QUICK
def test_any_configuration_is_taken_or_refused_as_described(
    case: schemathesis.Case, served: Served
) -> None:
    wide = [CHECKS.get_one("positive_data_acceptance")]
    case.call_and_validate(base_url=served.address.api_url, excluded_checks=wide)


@pytest.mark.slow
@api.parametrize()
@LONG
def test_thousands_of_requests_find_no_difference(case: schemathesis.Case, served: Served) -> None:
    _sendable(case)
    case.call_and_validate(base_url=served.address.api_url, headers=AUTH)


def test_the_description_is_no_dead_letter(served: Served) -> None:
    """The tests above made tasks, and were refused too."""
    counters = served.ledger()["counters"]
    assert counters["creates_accepted"] > 5
    assert counters["refused_400"] > 5
