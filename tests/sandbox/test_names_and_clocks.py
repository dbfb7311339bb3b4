"""The sandbox names models, repeats orders and keeps its time as it is told to."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.service import serving

KEY = {"Authorization": "Bearer sk-names"}
ORDER = {
    "model": "seedance-2-0",
    "input": {
        "prompt": "a paper boat",
        "aspect_ratio": "16:9",
        "duration": 4,
        "resolution": "480p",
    },
}


def made(**settings: Any) -> tuple[dict[str, Any], httpx.Response]:
    """A task's detail, and the answer to its create."""
    with (
        serving(**settings) as service,
        httpx.Client(base_url=service.api_url, timeout=120) as http,
    ):
        created = http.post("/v1/tasks", json=ORDER, headers=KEY)
        task_id = created.json()["data"]["taskId"]
        detail: dict[str, Any] = http.get(f"/v1/tasks/{task_id}", headers=KEY).json()["data"]
        return detail, created


@pytest.mark.parametrize(
    ("name", "shown"),
    [(None, "seedance-2-0"), ("bytedance/{}", "bytedance/seedance-2-0"), ("another", "another")],
)
def test_a_task_names_its_model_as_it_is_told(name: str | None, shown: str) -> None:
    detail, _ = made(faults={"model_name": name})
    assert detail["model"] == shown
    assert "input" not in detail


def test_a_detail_repeats_its_order_where_it_is_told_to() -> None:
    detail, _ = made(faults={"repeat_input": True})
    assert detail["input"] == ORDER["input"]


@pytest.mark.parametrize("ahead", [7200.0, -7200.0])
def test_its_clock_may_be_ahead_or_behind_in_dates_and_in_tasks(ahead: float) -> None:
    true, here = made()
    task, answer = made(clock_ahead=ahead)
    assert abs(task["created"] - true["created"] - ahead) < 600
    dates = [parsedate_to_datetime(each.headers["date"]).timestamp() for each in (answer, here)]
    assert abs(dates[0] - dates[1] - ahead) < 600
