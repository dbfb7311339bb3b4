"""Hostile callbacks change nothing, are refused within a second, and every row still ends once."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from seedance_batch.core.attempt import Attempt, Phase
from tests.api.sending import Headers, Slowly, encoded, finished, path_of, send, signed
from tests.benchmarks.world import SECRET, Case, Played, World, play

ROWS = 4


@dataclass
class Attack:
    """A request to the receiver."""

    path: str
    body: bytes | Slowly
    headers: Headers = field(default_factory=dict)
    method: str = "POST"


def flip(text: str) -> str:
    """A hexadecimal text with one bit changed."""
    return ("0" if text[0] != "0" else "1") + text[1:]


def against_signatures(a: Attempt, b: Attempt, now: float) -> dict[str, Attack]:
    """Attacks on rows ``a`` and ``b``, both in flight, of a run that has a signing key."""
    path, task = path_of(a), finished(a.state.task_id or "")
    body = encoded(task)
    good = signed(body, now)
    stamp, signature = good["x-hiapi-timestamp"], good["x-hiapi-signature"]
    other = encoded(finished(b.state.task_id or ""))
    big = encoded({**task, "model": "x" * (2 << 20)})
    unheard_of = encoded(finished("tk-hiapi-unheard-of"))

    def with_signature(text: str) -> Attack:
        return Attack(path, body, {"x-hiapi-timestamp": stamp, "x-hiapi-signature": text})

    def with_stamp(text: str) -> Attack:
        return Attack(path, body, signed(body, text))

    def with_body(content: bytes) -> Attack:
        return Attack(path, content, signed(content, now))

    return {
        "unsigned": Attack(path, body),
        "no timestamp": Attack(path, body, {"x-hiapi-signature": signature}),
        "no signature": Attack(path, body, {"x-hiapi-timestamp": stamp}),
        "forged": Attack(path, body, signed(body, now, key="not-the-signing-key")),
        "signed with nothing": Attack(path, body, signed(body, now, key="")),
        "one bit of the body changed": Attack(path, bytes([body[0] ^ 1]) + body[1:], good),
        "one bit of the task id changed": Attack(path, body.replace(b"tk-", b"uk-"), good),
        "one bit of the signature changed": with_signature(flip(signature)),
        "re-serialised": Attack(path, json.dumps(task, indent=1).encode(), good),
        "another row's signature": Attack(path, body, signed(other, now)),
        "another row's body": Attack(path, other, good),
        "short": with_signature(signature[:-1]),
        "long": with_signature(signature + "0"),
        "empty": with_signature(""),
        "upper case": with_signature(signature.upper()),
        "named algorithm": with_signature(f"sha256={signature}"),
        "not hexadecimal": with_signature("g" * 64),
        "301 s old": with_stamp(str(int(now) - 301)),
        "301 s ahead": with_stamp(str(int(now) + 301)),
        "NaN": with_stamp("nan"),
        "infinite": with_stamp("inf"),
        "fraction": with_stamp(f"{int(now)}.0"),
        "negative": with_stamp(f"-{int(now)}"),
        "in milliseconds": with_stamp(str(int(now * 1000))),
        "endless digits": with_stamp("9" * 400),
        "hexadecimal time": with_stamp(hex(int(now))),
        "another timestamp than was signed": Attack(
            path, body, {**good, "x-hiapi-timestamp": str(int(now) + 1)}
        ),
        "two signatures": Attack(
            path, body, [*good.items(), ("x-hiapi-signature", flip(signature))]
        ),
        "two timestamps": Attack(path, body, [*good.items(), ("x-hiapi-timestamp", "0")]),
        "signed without its timestamp": Attack(
            path, body, {**signed(body, ""), "x-hiapi-timestamp": stamp}
        ),
        "2 MiB": with_body(big),
        "2 MiB in pieces": Attack(path, Slowly(big, 0.0), signed(big, now)),
        "a length beyond all measure": Attack(path, body, {**good, "content-length": "9" * 30}),
        "a length that is no number": Attack(path, body, {**good, "content-length": "-1"}),
        "slow": Attack(path, Slowly(body, 30.0), good),
        "GET": Attack(path, body, good, "GET"),
        "PUT": Attack(path, body, good, "PUT"),
        "DELETE": Attack(path, b"", {}, "DELETE"),
        "another row's task": Attack(path_of(b), body, good),
        "an unknown task at a row that has one": with_body(unheard_of),
        "no JSON": with_body(b"status=success"),
        "a list": with_body(encoded([task])),
        "no task id": with_body(encoded({**task, "taskId": None})),
        "a number for a task id": with_body(encoded({**task, "taskId": 5})),
        "NaN in the body": with_body(body.replace(b"1800000010", b"NaN")),
        "no UTF-8": with_body(b"\xff\xfe" + body),
        "nested without end": with_body(b"[" * 200_000),
        "nothing": with_body(b""),
        "the metadata service as URL host": with_body(
            encoded(finished(a.state.task_id or "", "http://169.254.169.254/latest/meta-data"))
        ),
        "a number in disguise as URL host": with_body(
            encoded(finished(a.state.task_id or "", "http://2852039166/latest"))
        ),
    }


def against_tokens(a: Attempt, b: Attempt, now: float) -> dict[str, Attack]:
    """Attacks of a run that has no signing key, where only the token proves anything."""
    path, task = path_of(a), finished(a.state.task_id or "")
    body = encoded(task)
    token = path.rpartition("/")[2]
    return {
        "no token": Attack("/hiapi/", body),
        "no path": Attack("/", body),
        "wrong token": Attack(f"/hiapi/cb-{'A' * 32}", body),
        "one character changed": Attack(path[:-1] + ("A" if path[-1] != "A" else "B"), body),
        "short token": Attack(path[:-1], body),
        "token in the query": Attack(f"/hiapi/?token={token}", body),
        "token in capitals": Attack(path.swapcase(), body),
        "token in the middle": Attack(f"/{token}/more", body),
        "another row's token": Attack(path_of(b), body),
        "an unknown task": Attack(path, encoded(finished("tk-hiapi-unheard-of"))),
        "a metadata service as URL host": Attack(
            path, encoded(finished(a.state.task_id or "", "http://169.254.169.254/"))
        ),
        "signed where there is no key": Attack(f"/hiapi/cb-{'A' * 32}", body, signed(body, now)),
        "2 MiB": Attack(path, encoded({**task, "model": "x" * (2 << 20)})),
        "slow": Attack(path, Slowly(body, 30.0)),
        "junk": Attack(path, b"\0" * 100),
        "GET": Attack(path, body, {}, "GET"),
    }


Found = list[tuple[str, int, float, bool]]
"""Attack, status, seconds, whether any attempt's state changed."""


def attacked(attacks: Any, found: Found, **settings: Any) -> Played:
    """A run that is attacked while all its rows are in flight."""

    async def script(world: World) -> None:
        await anyio.sleep(10.0)  # generations take at least fifty
        a, b, *_ = world.attempts.by_id.values()
        for name, each in attacks(a, b, world.wall()).items():
            before = dict(world.attempts.by_id)
            status, took = await send(world, each.path, each.body, each.headers, each.method)
            await anyio.sleep(0.01)
            found.append((name, status, took, dict(world.attempts.by_id) != before))

    return play(Case(ROWS, settings=settings, script=script, callbacks=True))


def assert_every_row_ended_once(played: Played) -> None:
    assert len(played.tasks) == played.case.rows
    attempts = played.world.attempts.by_id.values()
    assert [a.state.phase for a in attempts] == [Phase.DONE] * played.case.rows


@pytest.mark.parametrize(
    ("attacks", "settings", "at_least"),
    [(against_signatures, {"webhook_secret": SECRET}, 40), (against_tokens, {}, 15)],
    ids=["with a signing key", "with tokens only"],
)
def test_no_hostile_callback_changes_a_row_and_each_is_refused_within_a_second(
    attacks: Any, settings: dict[str, Any], at_least: int
) -> None:
    found: Found = []
    played = attacked(attacks, found, **settings)
    assert len(found) >= at_least
    assert [name for name, status, *_ in found if not 400 <= status < 500] == []
    assert [name for name, _, took, _ in found if took > 1.0] == []
    assert [name for name, *_, changed in found if changed] == []
    assert_every_row_ended_once(played)


def test_whatever_random_callbacks_hold_no_row_changes() -> None:
    dice = random.Random(20260117)
    found: Found = []

    def noise(size: int) -> bytes:
        return bytes(dice.randrange(256) for _ in range(dice.randrange(size)))

    def some_json(depth: int = 0) -> Any:
        choices = [None, True, -1, 1e400, "success", "tk-hiapi-1", noise(9).decode("latin-1")]
        if depth > 3 or dice.random() < 0.4:
            return dice.choice(choices)
        names = ["taskId", "status", "output", "url", "type", "error", "code", "created"]
        if dice.random() < 0.3:
            return [some_json(depth + 1) for _ in range(3)]
        return {name: some_json(depth + 1) for name in dice.sample(names, 4)}

    def attacks(a: Attempt, b: Attempt, now: float) -> dict[str, Attack]:
        made = {}
        for number in range(400):
            body = noise(300) if number % 3 else encoded(some_json())
            key = dice.choice(["", "x", SECRET[:-1]])
            headers = signed(body, now + dice.randrange(-900, 900), key)
            path = dice.choice([path_of(a), path_of(b), "/", "/" + noise(20).hex()])
            made[f"{number}"] = Attack(path, body, headers)
        return made

    played = attacked(attacks, found, webhook_secret=SECRET)
    assert len(found) == 400
    assert all(400 <= status < 500 and not changed for _, status, _, changed in found)
    assert_every_row_ended_once(played)


def test_signed_noise_changes_no_row_either() -> None:
    dice = random.Random(7)
    found: Found = []

    def attacks(a: Attempt, b: Attempt, now: float) -> dict[str, Attack]:
        made = {}
        for number in range(200):
            task = finished(f"tk-hiapi-{dice.randrange(10**9)}")
            body = encoded(task) if number % 2 else encoded(task)[: dice.randrange(200)]
            made[f"{number}"] = Attack("/elsewhere", body, signed(body, now))
        return made

    played = attacked(attacks, found, webhook_secret=SECRET)
    assert {status for _, status, *_ in found} == {200, 400}  # held, or no task at all
    assert not any(changed for *_, changed in found)
    assert_every_row_ended_once(played)
