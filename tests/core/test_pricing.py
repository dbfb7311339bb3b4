"""Prices are HiAPI's rules to the letter, exact, and never a guess."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.manifest import LocalMedia
from seedance_batch.core.model import TaskInput
from seedance_batch.core.pricing import (
    Estimate,
    Estimator,
    ModelPrice,
    PriceTable,
    listing,
    listing_object,
    measured_seconds,
    money,
    parse_price_file,
    parse_pricing,
)
from seedance_batch.errors import SettingsError
from seedance_batch.sandbox.engine import invented_prices, price
from tests.core.plan_builders import MODEL, job, prices, rule, task_input

HD = {"resolution": {"match": "1080p"}}
LONG = {"duration": {"match": [10, 15]}}
WITH_VIDEO = {"reference_video_urls": {"with": True}}
VIDEO = ["https://cdn.example/v.mp4"]


def estimate(
    table: PriceTable | None, model: str, asked: TaskInput, seconds: Any = None
) -> Estimate:
    """The price of one task."""
    return Estimator(table).estimate(model, asked, seconds)


def a_second(found: Estimate) -> Decimal | None:
    """What each billed second costs."""
    return None if found.cost is None else found.cost / found.seconds


def case(
    name: str,
    unit: str | None,
    *policies: object,
    entry: Mapping[str, object] | None = None,
    **asked: object,
) -> Any:
    """What the list says and what is asked for, and a second's price (None: no estimate)."""
    return pytest.param(policies, entry or {}, asked, unit, id=name)


UNITS = [
    case("no rule: the base", "0.10"),
    case("no rule matches: the base", "0.10", rule(HD, "0.30")),
    case("a fixed price", "0.30", rule(HD, "0.30"), resolution="1080p"),
    case(
        "a multiplied price by times",
        "0.25",
        rule(HD, pricing_type="multiply", times="2.5"),
        resolution="1080p",
    ),
    case(
        "a multiplied price by pricing_value",
        "0.30",
        rule(HD, pricing_type="multiply", pricing_value=3),
        resolution="1080p",
    ),
    case(
        "times before pricing_value",
        "0.20",
        rule(HD, pricing_type="multiply", times=2, pricing_value=9),
        resolution="1080p",
    ),
    case(
        "times null: pricing_value",
        "0.90",
        rule(HD, pricing_type="multiply", times=None, pricing_value=9),
        resolution="1080p",
    ),
    case("base null: model_price", "0.2", entry={"base_usd_value": None, "model_price": "0.2"}),
    case("base before model_price", "0.10", entry={"model_price": "0.9"}),
    case("a list of values", "0.07", rule(LONG, "0.07"), duration=15),
    case("a list of values, none met", "0.10", rule(LONG, "0.07"), duration=12),
    case(
        "a number in another dress", "0.07", rule({"duration": {"match": Decimal("5.0")}}, "0.07")
    ),
    case("a float", "0.07", rule({"duration": {"match": 5.0}}, 0.07)),
    case(
        "a truth", "0.05", rule({"generate_audio": {"match": False}}, "0.05"), generate_audio=False
    ),
    case("a truth not met", "0.10", rule({"generate_audio": {"match": False}}, "0.05")),
    case("with a field", "0.2", rule(WITH_VIDEO, "0.2"), reference_video_urls=VIDEO),
    case("with a field that is not there", "0.10", rule(WITH_VIDEO, "0.2")),
    case("without a field", "0.2", rule({"seed": {"with": False}}, "0.2")),
    case("without a field that is there", "0.10", rule({"seed": {"with": False}}, "0.2"), seed=0),
    case("a field that is not sent matches nothing", "0.10", rule({"seed": {"match": 7}}, "0.2")),
    case("a field unknown here is never sent", "0.10", rule({"tier": {"match": "x"}}, "0.2")),
    case("the whole rule has to match", "0.10", rule(HD | LONG, "0.9"), resolution="1080p"),
    case(
        "the most specific rule wins, though cheaper",
        "0.20",
        rule(HD, "0.30"),
        rule(HD | LONG, "0.20"),
        rule({}, "0.9"),
        resolution="1080p",
        duration=10,
    ),
    case(
        "the dearest of equals wins",
        "0.40",
        rule(HD, "0.30"),
        rule(LONG, "0.40"),
        rule({"duration": {"match": 10}}, "0.35"),
        resolution="1080p",
        duration=10,
    ),
    case("an empty rule matches everything", "0.4", rule({}, "0.4")),
    case("another factor name: seconds", "0.10", entry={"factors": ["seconds"]}),
    case("another factor name: duration_seconds", "0.10", entry={"factors": ["duration_seconds"]}),
    # ── no estimate ──
    case("no factor", None, entry={"factors": []}),
    case("factors null", None, entry={"factors": None}),
    case("an unknown factor", None, entry={"factors": ["tokens"]}),
    case("a factor that is no name", None, entry={"factors": [["duration"]]}),
    case("two factors", None, entry={"factors": ["duration", "seconds"]}),
    case("base null", None, entry={"base_usd_value": None}),
    case("base zero", None, entry={"base_usd_value": 0, "model_price": "0.9"}),
    case("base negative", None, entry={"base_usd_value": "-0.1"}),
    case("base not a number", None, entry={"base_usd_value": "NaN"}),
    case("base endless", None, entry={"base_usd_value": "Infinity"}),
    case("base a word", None, entry={"base_usd_value": "ten"}),
    case("base a truth", None, entry={"base_usd_value": True}),
    case("base an object", None, entry={"base_usd_value": {}}),
    case("base absurdly large", None, entry={"base_usd_value": "1e999999"}),
    case("base absurdly small", None, entry={"base_usd_value": "1e-999999"}),
    case("the matching price null", None, rule({}, None)),
    case("the matching price zero", None, rule({}, "0.00")),
    case("one of equals null: the dearest is not known", None, rule({}, None), rule({}, "0.4")),
    case("multiplied by zero", None, rule({}, pricing_type="multiply", times=0)),
    case("multiplied by nothing", None, rule({}, pricing_type="multiply")),
    case(
        "no base to multiply",
        None,
        rule({}, pricing_type="multiply", times=2),
        entry={"base_usd_value": None},
    ),
    case("an unknown type", None, rule({}, "0.4", pricing_type="per_token")),
    case("no type reads as fixed", "0.4", rule({}, "0.4", pricing_type=None)),
    case("in dollars by name", "0.10", entry={"currency": "USD"}),
    case("in another currency", None, entry={"currency": "CNY"}),
    case("an unknown operator", None, rule({"duration": {"gte": 5}}, "0.4")),
    case(
        "an unknown operator beside a match",
        None,
        rule({"duration": {"match": 5, "not": 6}}, "0.4"),
    ),
    case("two operators", None, rule({"seed": {"match": 5, "with": True}}, "0.4")),
    case("an unknown operator in a rule for others", None, rule(HD | {"seed": {"lt": 5}}, "0.4")),
    case("with a word", None, rule({"seed": {"with": "yes"}}, "0.4")),
    case("a bare value", None, rule({"resolution": "720p"}, "0.4")),
    case("an empty list of values", None, rule({"resolution": {"match": []}}, "0.4")),
    case("null as a value", None, rule({"seed": {"match": None}}, "0.4")),
    case("an object as a value", None, rule({"seed": {"match": [{}]}}, "0.4")),
    case("a rule that is no object", None, {"rule": [], "pricing_type": "fixed"}),
    case("a policy that is no object", None, "fixed"),
    case("a text where a number is sent", None, rule({"duration": {"match": "5"}}, "0.4")),
    case("a number where a truth is sent", None, rule({"generate_audio": {"match": 1}}, "0.4")),
    case(
        "a text where a list is sent",
        None,
        rule({"reference_video_urls": {"match": "x"}}, "0.4"),
        reference_video_urls=VIDEO,
    ),
    case(
        "“with” a truth that is sent as false is not stated",
        None,
        rule({"generate_audio": {"with": True}}, "0.4"),
        generate_audio=False,
    ),
]


@pytest.mark.parametrize(("policies", "entry", "asked", "unit"), UNITS)
def test_a_second_costs_what_the_rules_say_or_has_no_estimate(
    policies: tuple[object, ...], entry: dict[str, Any], asked: dict[str, Any], unit: str | None
) -> None:
    found = estimate(prices(*policies, **entry), MODEL, task_input(**asked))
    assert a_second(found) == (None if unit is None else Decimal(unit))
    assert (found.reason is None) is (unit is not None)


def test_the_cost_is_the_unit_times_the_seconds() -> None:
    found = estimate(prices(), MODEL, task_input(duration=12))
    assert found == Estimate(Decimal("1.20"), 12)


@pytest.mark.parametrize("listed", ["seedance-2-0", "seedance-2.0", " seedance-2.0 "])
@pytest.mark.parametrize("asked", ["seedance-2-0", "seedance-2.0"])
def test_both_spellings_are_one_model(listed: str, asked: str) -> None:
    assert a_second(estimate(prices(model=listed), asked, task_input())) == Decimal("0.10")


def test_many_tasks_are_priced_like_one() -> None:
    table = prices(rule(HD, "0.30"))
    estimator = Estimator(table)
    inputs = [task_input(resolution=name) for name in ("720p", "1080p", "720p", "1080p")]
    assert [estimator.estimate(MODEL, asked) for asked in inputs] == [
        estimate(table, MODEL, asked) for asked in inputs
    ]


def test_no_list_and_no_such_model_have_a_reason() -> None:
    assert estimate(None, MODEL, task_input()).reason == "no price list"
    reason = estimate(prices(), "seedance-9", task_input()).reason
    assert reason == "the price list does not name seedance-9"


# ── reference videos ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("measured", "seconds", "bounded"),
    [
        (None, 15, True),
        (Decimal("4.2"), 5, False),
        (4.2, 5, False),
        (7.0, 7, False),
        (0.5, 1, False),
        (0, 15, True),
        (-3.0, 15, True),
        (float("nan"), 15, True),
        (float("inf"), 15, True),
    ],
)
def test_reference_seconds_are_billed_measured_or_at_the_limit(
    measured: Decimal | float | None, seconds: int, bounded: bool
) -> None:
    found = estimate(prices(), MODEL, task_input(reference_video_urls=VIDEO), measured)
    assert found.cost == Decimal("0.10") * (5 + seconds)
    assert found.seconds == 5 + seconds
    assert found.bounded is bounded


def test_a_measured_length_without_a_reference_video_is_not_billed() -> None:
    assert estimate(prices(), MODEL, task_input(), 9.0).seconds == 5


def _local(digit: str, seconds: float | None) -> LocalMedia:
    return LocalMedia(f"/media/{digit}.mp4", digit * 64, "video/mp4", 10, seconds)


def test_local_reference_videos_are_billed_at_their_length_together() -> None:
    clips = (_local("1", 2.5), _local("2", 3.04))
    found = job(reference_video_urls=[clip.token for clip in clips], media=clips)
    assert measured_seconds(found) == Decimal("5.54")
    assert Estimator(prices()).job(found).seconds == 5 + 6


def test_one_reference_video_that_was_not_measured_bounds_them_all() -> None:
    clips = (_local("1", 2.5), _local("2", None))
    unmeasured = job(reference_video_urls=[clip.token for clip in clips], media=clips)
    remote = job(reference_video_urls=[clips[0].token, *VIDEO], media=clips[:1])
    assert [measured_seconds(unmeasured), measured_seconds(remote)] == [None, None]
    assert Estimator(prices()).job(remote).bounded


# ── price lists ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [None, [], "prices", {}, {"data": None}, {"data": {"a": 1}}])
def test_an_answer_of_another_shape_is_an_empty_table(answer: object) -> None:
    assert parse_pricing(answer, source="s", dated=0.0).models == {}


def test_what_other_models_look_like_does_not_matter() -> None:
    strange = [None, 7, {}, {"model_name": 7}, {"model_name": "other", "policies": "?"}]
    ours = {"model_name": MODEL, "factors": ["duration"], "base_usd_value": 1, "new_field": {}}
    table = parse_pricing({"data": [*strange, ours]}, source="s", dated=0.0)
    assert table.models[MODEL] == ModelPrice(base=Decimal(1))
    assert table.models["other"].fault is not None


@pytest.mark.parametrize("policies", [None, []])
def test_no_policies_in_either_dress_leave_the_base(policies: object) -> None:
    entry = {"model_name": MODEL, "factors": ["duration"], "base_usd_value": 1}
    table = parse_pricing({"data": [entry | {"policies": policies}]}, source="s", dated=0.0)
    assert a_second(estimate(table, MODEL, task_input())) == 1


def test_policies_that_are_no_list_are_a_fault() -> None:
    entry = {"model_name": MODEL, "factors": ["duration"], "base_usd_value": 1, "policies": {}}
    table = parse_pricing({"data": [entry]}, source="s", dated=0.0)
    assert estimate(table, MODEL, task_input()).reason == "the price rules are not a list"


def test_a_model_listed_twice_needs_one_price() -> None:
    def table(*bases: int) -> object:
        names = ("seedance-2-0", "seedance-2.0")
        return {
            "data": [
                {"model_name": name, "factors": ["duration"], "base_usd_value": base}
                for name, base in zip(names, bases, strict=True)
            ]
        }

    same = parse_pricing(table(2, 2), source="s", dated=0.0)
    assert a_second(estimate(same, MODEL, task_input())) == 2
    different = parse_pricing(table(2, 3), source="s", dated=0.0)
    assert "twice" in str(estimate(different, MODEL, task_input()).reason)


def test_a_price_is_what_the_json_wrote() -> None:
    text = '{"data":[{"model_name":"seedance-2-0","factors":["duration"],"base_usd_value":0.1}]}'
    table = parse_pricing(json.loads(text, parse_float=Decimal), source="s", dated=0.0)
    assert estimate(table, MODEL, task_input(duration=15)).cost == Decimal("1.5")


@given(
    resolution=st.sampled_from(["480p", "720p", "1080p", "4k"]),
    duration=st.integers(4, 15),
    reference=st.none() | st.integers(2, 15),
)
def test_the_sandbox_charges_what_was_estimated(
    resolution: str, duration: int, reference: int | None
) -> None:
    fields: dict[str, Any] = {"resolution": resolution, "duration": duration}
    if reference:
        fields["reference_video_urls"] = VIDEO
    table = parse_pricing(invented_prices(), source="s", dated=0.0, sandbox=True)
    found = estimate(table, MODEL, task_input(**fields), reference)
    assert found.cost == price(fields, Decimal(reference or 0))


# ── --price-file ────────────────────────────────────────────────────────────────────────────────


def test_a_price_file_names_a_price_for_each_resolution() -> None:
    document = {"currency": "USD", "per_second": {"480p": "0.05", "720p": 0.11, "1080p": 1}}
    table = parse_price_file(document, source="prices.yaml", dated=7.0)
    found = [
        a_second(estimate(table, MODEL, task_input(resolution=name)))
        for name in ("480p", "720p", "1080p", "4k")
    ]
    assert found == [Decimal("0.05"), Decimal("0.11"), Decimal(1), None]
    assert (table.source, table.dated, table.sandbox) == ("prices.yaml", 7.0, False)


def test_a_price_file_may_name_one_price_and_another_model() -> None:
    table = parse_price_file({"model": "other", "per_second": 0.2}, source="p", dated=0.0)
    assert estimate(table, "other", task_input()).cost == Decimal("1.0")


def test_a_price_file_may_be_what_hiapi_answers() -> None:
    entry = {"model_name": MODEL, "factors": ["duration"], "base_usd_value": 0.3}
    table = parse_price_file({"data": [entry]}, source="p", dated=0.0)
    assert a_second(estimate(table, MODEL, task_input())) == Decimal("0.3")


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"per_second": None},
        {"per_second": "free"},
        {"per_second": 0},
        {"per_second": {"720p": -1}},
        {"per_second": {"800p": 1}},
        {"per_second": 1, "currency": "EUR"},
        {"per_second": 1, "model": 2},
        {"per_minute": 1},
        {"data": [{"model_name": MODEL}]},
    ],
)
def test_a_price_file_that_cannot_be_used_is_refused_with_a_hint(document: object) -> None:
    with pytest.raises(SettingsError) as refused:
        parse_price_file(document, source="prices.yaml", dated=0.0)
    assert "prices.yaml" in refused.value.message
    assert refused.value.hint


def test_a_price_list_is_shown_rule_by_rule() -> None:
    table = prices(rule(HD | LONG, "0.30"), rule({}, None))
    assert [line.split("  ")[-1].strip() for line in listing(table)] == [
        MODEL,
        "$0.3 /s",
        "unknown",
        "$0.1 /s",
    ]
    assert listing_object(table)["models"][MODEL] == {
        "fault": None,
        "per_second_usd": {
            "resolution 1080p and duration 10 or 15": "0.30",
            "always": None,
            "otherwise": "0.10",
        },
        "per_task_usd": {},
    }


PER_TASK = {"factors": [], "base_display_unit": {"en": "per task"}}


@pytest.mark.parametrize("factors", [[], None])
def test_a_price_of_a_task_counts_once_however_long_the_clip(factors: object) -> None:
    table = prices(rule(HD, "0.90"), **PER_TASK | {"factors": factors})
    costs = [
        estimate(table, MODEL, task_input(duration=seconds, resolution=size)).cost
        for seconds, size in ((4, "720p"), (15, "720p"), (15, "1080p"))
    ]
    assert costs == [Decimal("0.10"), Decimal("0.10"), Decimal("0.90")]
    assert [line.split("  ")[-1].strip() for line in listing(table)][1:] == [
        "$0.9 a task", "$0.1 a task",
    ]  # fmt: skip
    shown = listing_object(table)["models"][MODEL]
    assert (shown["per_second_usd"], shown["per_task_usd"]["otherwise"]) == ({}, "0.10")


@pytest.mark.parametrize("unit", [None, "per second", {"en": "per second of video"}, {"zh": "x"}])
def test_without_a_factor_and_a_unit_that_says_task_there_is_no_estimate(unit: object) -> None:
    table = prices(factors=[], base_display_unit=unit)
    assert estimate(table, MODEL, task_input()).cost is None


def routed(*names: str) -> PriceTable:
    """A list that names models with their routes, each dearer than the one before."""
    entries = [
        {"model_name": name, "factors": ["duration"], "base_usd_value": cents}
        for cents, name in enumerate(names, 1)
    ]
    return parse_pricing({"data": entries}, source="s", dated=0.0)


def test_a_route_has_its_own_price_and_a_bare_name_that_of_its_only_one() -> None:
    both = routed("seedance-2-0", "seedance-2.0@pro")
    assert a_second(estimate(both, "seedance-2-0@pro", task_input())) == 2
    assert a_second(estimate(both, MODEL, task_input())) == 1
    assert estimate(both, "seedance-2-0@ext", task_input()).cost is None
    assert a_second(estimate(routed("seedance-2.0@pro"), MODEL, task_input())) == 1
    several = routed("seedance-2.0@pro", "seedance-2-0@ext")
    assert estimate(several, MODEL, task_input()).cost is None


def test_a_list_in_another_currency_is_no_estimate() -> None:
    entry = {"model_name": MODEL, "factors": ["duration"], "base_usd_value": 1}
    table = parse_pricing({"currency": "CNY", "data": [entry]}, source="s", dated=0.0)
    assert "another currency (CNY)" in str(estimate(table, MODEL, task_input()).reason)


def test_a_price_list_that_cannot_be_used_says_why() -> None:
    table = prices(factors=[])
    (line,) = listing(table)
    assert line.startswith(f"{MODEL}: the price does not depend on the duration alone")
    assert listing_object(table)["models"][MODEL]["per_second_usd"] == {}


def test_a_rule_reads_as_words() -> None:
    table = prices(rule(HD | {"seed": {"with": False}}, 1), rule(LONG | WITH_VIDEO, 1))
    words = [[str(c) for c in policy.conditions] for policy in table.models[MODEL].policies]
    assert words == [
        ["resolution 1080p", "without seed"],
        ["duration 10 or 15", "with reference_video_urls"],
    ]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "unknown"),
        (Decimal(0), "$0.00"),
        (Decimal("0.0042"), "$0.0042"),
        (Decimal("0.01"), "$0.01"),
        (Decimal("12.345"), "$12.35"),
        (Decimal("36000"), "$36,000.00"),
    ],
)
def test_money_is_rounded_for_display_only(amount: Decimal | None, text: str) -> None:
    assert money(amount) == text
