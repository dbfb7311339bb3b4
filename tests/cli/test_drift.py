"""An alarm where the service's published rules differ: free, and never in the way."""

from __future__ import annotations

import httpx
import pytest

from seedance_batch.errors import Exit
from seedance_batch.sandbox.engine import MODELS
from tests.cli.shop import Shop, say, shot


def doctor(shop: Shop) -> dict[str, str]:
    said = say("doctor", "--api-url", shop.service.api_url, "--json")
    assert said.code == Exit.OK
    return {line["what"]: line["message"] for line in said.lines}


def test_the_doctor_says_what_the_service_publishes_otherwise(shop: Shop) -> None:
    assert doctor(shop)["rules"] == "as published, for 3 models"
    with shop.service.having(allow_4k=True):
        assert "seedance-2-0: resolution may also be 4k" in doctor(shop)["rules"]


def test_check_with_net_warns_of_the_models_of_its_rows_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIAPI_BASE_URL", shop.service.api_url)
    shop.write(shot(1))
    with shop.service.having(allow_4k=True):
        said = say("check", str(shop.manifest), "--net")
        assert said.code == Exit.OK
        assert "other rules than this program's: seedance-2-0: resolution may" in said.out
        shop.write(shot(1, model="seedance-2.0-fast"))
        assert "other rules" not in say("check", str(shop.manifest), "--net").out


def test_a_row_of_an_unknown_model_is_held_to_the_models_own_published_rules(shop: Shop) -> None:
    shop.write(shot(1, model="seedance-2.5", duration=12), shot(2))
    schema = {
        "properties": {"prompt": {"type": "string"}, "duration": {"type": "integer", "maximum": 10}}
    }
    with shop.service.having(other_models={"seedance-2.5": schema}):
        said = shop.run()
        assert said.code == Exit.USAGE
        assert "shots.csv:2:duration" in said.err
        assert "seedance-2.5 refuses it by its published rules" in said.err
        shop.write(shot(1, model="seedance-2.5", duration=9), shot(2))
        plan = shop.plan()
        assert plan.code == Exit.OK
        assert "is not a model that this program knows" in plan.out + plan.err
    assert shop.tasks() == []


def test_without_published_rules_an_unknown_model_is_sent_with_a_warning(shop: Shop) -> None:
    shop.write(shot(1, model="seedance-9"))
    said = shop.run()
    assert said.code == Exit.SOME_FAILED  # the sandbox knows no such model
    assert "is not a model that this program knows" in said.err
    (row,) = shop.results()
    assert "model_not_found" in row["message"]
    assert row["charged"] == "no"


def test_the_sandbox_publishes_its_models(shop: Shop) -> None:
    with httpx.Client(base_url=shop.service.api_url, timeout=120) as client:
        described = client.get("/docs/models.json").json()["models"]
        assert [model["name"] for model in described] == list(MODELS)
        assert "web_search" not in described[-1]["fields"]
        assert client.get("/v1/models").status_code == 401
        listed = client.get("/v1/models", headers={"Authorization": f"Bearer {shop.key}"}).json()
        assert [model["id"] for model in listed["data"]] == list(MODELS)
        assert client.get("/api/models/content?name=nobody").status_code == 404
