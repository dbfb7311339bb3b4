"""The state outlives the process: restarts on other ports, kill -9, foreign files."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from seedance_batch.sandbox.ledger import StateError
from seedance_batch.sandbox.server import build, running
from tests import patient

from .conftest import KEY, config, order, serving


def test_tasks_keys_and_ledger_go_on_after_a_restart_on_other_ports(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with serving(state) as first:
        task_id = first.create(key="k").json()["data"]["taskId"]
        old = first.finished(task_id)["output"][0]
        content = patient.get(old["url"]).content
        before = first.ledger()
    with serving(state) as second:
        assert second.address.api_url != first.address.api_url
        replay = second.create(key="k")
        assert replay.headers["idempotent-replay"] == "true"
        assert replay.json()["data"]["taskId"] == task_id
        new = second.task(task_id)["output"][0]
        assert new["url"] != old["url"]
        assert new["expireAt"] == old["expireAt"]
        assert patient.get(new["url"]).content == content
        assert second.ledger()["requests"][: len(before["requests"])] == before["requests"]
        assert second.ledger()["counters"]["creates_accepted"] == 1


def test_two_sandboxes_never_share_a_task_id() -> None:
    ids = set()
    for _ in range(2):
        with serving() as served:
            ids.add(served.task_id())
    assert len(ids) == 2


def test_faults_go_on_counting_tries_after_a_restart(tmp_path: Path) -> None:
    faults = {"create": {"500": 1.0}, "tries": 2}
    statuses = []
    for _ in range(3):
        with serving(tmp_path / "state.db", faults=faults) as served:
            statuses.append(served.create(key="k").status_code)
    assert statuses == [500, 500, 200]


def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.db"
    foreign.write_bytes(b"not a database, surely" * 100)
    with pytest.raises(StateError, match=r"notes\.db"):
        build(config(), state=foreign)
    assert foreign.read_bytes().startswith(b"not a database")


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with sqlite3.connect(state) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(StateError, match="another version"):
        build(config(), state=state)


def fill(state: Path, tasks: int) -> None:
    """Accepts so many tasks."""
    sandbox = build(config(), state=state)
    account = sandbox.engine.account(f"Bearer {KEY}")
    for number in range(tasks):
        made = sandbox.engine.read_order(account, json.dumps(order(seed=number)).encode(), None)
        sandbox.engine.accept(made, sandbox.engine.price(made))
    sandbox.close()


def _start(state: Path) -> tuple[subprocess.Popen[str], dict[str, str]]:
    code = (
        "import sys; from seedance_batch.cli.preparing import sandbox; "
        "sandbox(['--json', '--clips', 'plain', '--generation-time', '0', '--state', sys.argv[1]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(state)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def _send_until_death(address: dict[str, str], round_: int, told: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=address["api_url"], headers=headers, timeout=120) as client:
        for n in range(100_000):
            key = f"{round_}-{n}"
            try:
                answer = client.post("/v1/tasks", json=order(), headers={"Idempotency-Key": key})
            except httpx.TransportError:
                return
            told[key] = answer.json()["data"]["taskId"]


def _wait_for(told: dict[str, str], count: int) -> None:
    deadline = time.monotonic() + 120
    while len(told) < count:
        assert time.monotonic() < deadline, "the sandbox does not answer"
        time.sleep(0.001)


@pytest.mark.slow
def test_what_was_answered_is_remembered_after_kill_9(tmp_path: Path) -> None:
    """Every create that was answered is in the ledger; at most the one in the air is besides."""
    state, told = tmp_path / "state.db", {}
    for round_ in range(4):
        process, address = _start(state)
        sender = threading.Thread(target=_send_until_death, args=(address, round_, told))
        sender.start()
        _wait_for(told, 8 * (round_ + 1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        sender.join()
        assert process.stdout is not None
        process.stdout.close()
    with running(config(), state=state) as address_now:
        ledger: dict[str, Any] = patient.get(f"{address_now.api_url}/sandbox/ledger").json()
    known = {task["idempotency_key"]: task["task_id"] for task in ledger["tasks"]}
    assert len(told) >= 32
    assert told.items() <= known.items()
    assert len(known) - len(told) <= 4
    assert len({task["task_id"] for task in ledger["tasks"]}) == len(ledger["tasks"])
