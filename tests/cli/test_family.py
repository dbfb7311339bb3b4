"""The family of models: what each takes, what it costs, and cheap drafts by a smaller one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Kind
from seedance_batch.core.model import FAMILY, MODEL_SPELLINGS, family_model
from seedance_batch.errors import Exit
from seedance_batch.sandbox import engine
from tests.cli.shop import Shop, say, shot

FAST, MINI = "seedance-2.0-fast", "seedance-2.0-mini"


def test_the_models_that_are_known_are_those_that_the_sandbox_serves() -> None:
    assert {name for model in FAMILY for name in model.names} == MODEL_SPELLINGS.keys()
    assert set(engine.MODELS) <= MODEL_SPELLINGS.keys()
    assert all(family_model(name) for name in engine.MODELS)


def test_a_column_chooses_each_rows_model_and_its_price(shop: Shop) -> None:
    shop.write(shot(1, model=""), shot(2, model=FAST), shot(3, model="Seedance 2.0 Mini"))
    assert shop.run().code == Exit.OK
    assert [(row["status"], row["est_cost_usd"]) for row in shop.results()] == [
        ("done", "0.192"), ("done", "0.096"), ("done", "0.048"),
    ]  # fmt: skip
    sent = {attempt.intent.key: attempt.intent.model for attempt in shop.attempts()}
    assert sent == {"shot1": "seedance-2-0", "shot2": FAST, "shot3": MINI}
    paid = {task["prompt"]: float(task["price"]) for task in shop.tasks()}
    assert paid == {shot(n)["prompt"]: price for n, price in ((1, 0.192), (2, 0.096), (3, 0.048))}
    assert shop.run().code == Exit.OK
    assert len(shop.tasks()) == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resolution": "1080p"}, f"{FAST} makes 480p and 720p, not 1080p"),
        ({"model": MINI, "web_search": "yes"}, f"{MINI} does not take web_search"),
        ({"model": "seedance-2-0-mini", "resolution": "1080p"}, f"{MINI} makes 480p and 720p"),
    ],
)
def test_what_a_smaller_model_does_not_take_is_a_problem_with_its_cell(
    shop: Shop, fields: dict[str, str], words: str
) -> None:
    shop.write(shot(1, **{"model": FAST} | fields))
    said = say("check", str(shop.manifest))
    assert said.code == Exit.USAGE
    assert words in said.err
    (column,) = fields.keys() - {"model"}
    assert f"shots.csv:2:{column}" in said.err


def test_every_row_takes_the_model_of_the_flag(shop: Shop) -> None:
    shop.fill(2)
    assert shop.run("--model", FAST).code == Exit.OK
    assert {attempt.intent.model for attempt in shop.attempts()} == {FAST}
    assert shop.run().code == Exit.OK  # what a flag bought stays bought
    assert len(shop.tasks()) == 2


@pytest.mark.more
def test_drafts_by_a_cheaper_model_are_bought_once_and_promoted_by_the_rows_own(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'draft-model = "{MINI}"\n', encoding="utf-8")
    monkeypatch.setenv("SEEDANCE_BATCH_CONFIG", str(config))
    shop.write(*(shot(n, resolution="1080p", duration=5, web_search="no") for n in (1, 2)))
    shown = shop.plan("--draft")
    assert "As drafts $0.10, as final clips $1.08." in shown.out
    assert shop.run("--draft").code == Exit.OK
    assert shop.run("--draft").code == Exit.OK
    drafts = shop.attempts()
    assert [(a.intent.kind, a.intent.model) for a in drafts] == [(Kind.DRAFT, MINI)] * 2
    assert all("web_search" not in json.loads(a.intent.template)["input"] for a in drafts)
    assert shop.run().code == Exit.OK  # the finals
    assert [a.intent.model for a in shop.attempts()[2:]] == ["seedance-2-0"] * 2
    config.write_text("", encoding="utf-8")
    again = shop.run("--draft")  # without the setting: drafts that are there stay
    assert again.code == Exit.OK
    assert len(shop.tasks()) == 4


def test_a_saved_plan_of_drafts_brings_its_model(shop: Shop) -> None:
    shop.fill(1)
    flags = ["--draft", "--draft-model", FAST, "--save", "plan.json"]
    assert shop.plan(*flags).code == Exit.OK
    assert shop.run("--plan", "plan.json").code == Exit.OK
    assert shop.attempts()[0].intent.model == FAST


def test_an_unknown_model_of_drafts_is_warned_of(shop: Shop) -> None:
    shop.fill(1)
    said = shop.plan("--draft", "--draft-model", "seedance-9")
    assert "--draft-model: 'seedance-9' is not a model that this program knows" in said.out
    assert "is not a model" not in shop.plan("--draft-model", "seedance-9").out


def test_other_drafts_are_made_only_on_demand(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run("--draft").code == Exit.OK
    said = shop.run("--draft", "--draft-model", FAST)
    assert said.code == Exit.SOME_FAILED
    assert f"--draft-model unset → {FAST}" in said.out
    assert shop.run("--draft", "--draft-model", FAST, "--remake").code == Exit.OK
    assert len(shop.tasks()) == 2
