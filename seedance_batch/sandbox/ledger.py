"""The ledger: what was charged and what every request was answered. The oracle of every test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.store import StoredRequest, StoredTask
from seedance_batch.sandbox.views import View


def ledger(engine: Engine, *, tasks: bool, requests: bool) -> dict[str, Any]:
    """The ledger as JSON values; the two lists can be left out."""
    view, store = engine.view(), engine.store
    return {
        "counters": _counters(engine),
        "tasks": [_task(task, view) for task in store.tasks()] if tasks else [],
        "requests": [_request(request) for request in store.requests()] if requests else [],
    }


def _task(task: StoredTask, view: View) -> dict[str, Any]:
    status = view.status(task)
    return {
        "task_id": task.task_id,
        "account": task.account,
        "idempotency_key": task.idempotency_key,
        "body_sha256": task.body_sha256,
        "content": task.content,
        "model": task.model,
        "prompt": task.input["prompt"],
        "input": _short(task.input),
        "price": str(task.price),
        "created": task.times.created,
        "final": task.times.final,
        "status": status.value,
        "error_code": task.error_code,
        "callback_url": task.callback_url,
    }


def _short(fields: dict[str, Any]) -> dict[str, Any]:
    """Data URIs shortened: the ledger is read by people and by tests, not by players."""
    return {name: _shorter(value) for name, value in fields.items()}


def _shorter(value: Any) -> Any:
    if isinstance(value, list):
        return [_shorter(item) for item in value]
    if isinstance(value, str) and value.startswith("data:"):
        return f"{value[:40]}… ({len(value)} characters)"
    return value


def _request(request: StoredRequest) -> dict[str, Any]:
    return {
        "time": request.time,
        "origin": request.origin,
        "method": request.method,
        "path": request.path,
        "status": request.status,
        "verdict": request.verdict,
        "task_id": request.task_id,
        "authorization": bool(request.authorization),
    }


def _counters(engine: Engine) -> dict[str, Any]:
    """Sums over the lists, never kept beside them."""
    store = engine.store
    counts: Counter[str] = Counter()
    for origin, method, status, verdict, n, keyed in store.tally():
        counts[f"requests_{origin}"] += n
        counts[f"refused_{status}"] += n * (status >= 400)
        counts["replays"] += n * (verdict == "replayed")
        counts["faults"] += n * verdict.startswith("fault ")
        counts["create_requests"] += n * (origin == "api" and method == "POST")
        counts["callbacks_delivered"] += n * (origin == "callback" and 200 <= status < 300)
        counts["authorization_on_files"] += keyed * (origin == "files")
    return {
        **_always(counts),
        "creates_accepted": store.count_all(),
        "charged_total": str(store.charged()),
        "peak_at_once": _peak(store.spans()),
    }


def _always(counts: Counter[str]) -> dict[str, int]:
    names = ("replays", "faults", "create_requests", "callbacks_delivered",
             "authorization_on_files", "requests_api", "requests_files", "requests_callback",
             "refused_429")  # fmt: skip
    return {**dict.fromkeys(names, 0), **{name: n for name, n in counts.items() if n}}


def _peak(spans: Iterable[tuple[float, float]]) -> int:
    """The most tasks of all accounts that were unfinished at one moment."""
    changes = [change for start, end in spans for change in ((start, 1), (end, -1))]
    running = peak = 0
    for _, change in sorted(changes):
        running += change
        peak = max(peak, running)
    return peak
