"""Who a row is: equal orders are equal however they are spelled, and positions mean nothing."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.manifest import (
    body_template,
    canonical_model,
    content_hash,
    fingerprint,
    idempotency_key,
    render_body,
    row_keys,
    tokens,
)
from seedance_batch.core.model import MODEL_SPELLINGS, Allow, TaskInput

BLOB = f"sha256:{'ab' * 32}"
OTHER = f"sha256:{'cd' * 32}"
URIS = {BLOB: "data:image/png;base64,AAAA", OTHER: "data:image/png;base64,BBBB"}


def given_input(**fields: Any) -> TaskInput:
    """A task's input, with local media allowed as tokens."""
    return TaskInput.model_validate({"prompt": "a boat", **fields}, context=Allow(blobs=True))


# ── content ─────────────────────────────────────────────────────────────────────────────────────


def test_both_spellings_of_the_model_are_one_order() -> None:
    assert canonical_model(" seedance-2.0 ") == canonical_model("seedance-2-0") == "seedance-2-0"
    assert canonical_model("another@pro") == "another@pro"
    same = content_hash("seedance-2.0", given_input())
    assert content_hash("seedance-2-0", given_input()) == same


def test_two_models_never_share_a_content_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODEL_SPELLINGS, "seedance-9.0", "seedance-9-0")
    monkeypatch.setitem(MODEL_SPELLINGS, "seedance-9-0", "seedance-9-0")
    by_hash: dict[str, set[str]] = {}
    for name in (*MODEL_SPELLINGS, "another-model"):
        by_hash.setdefault(content_hash(name, given_input()), set()).add(name)

    assert sorted(map(sorted, by_hash.values())) == [
        ["another-model"],
        ["seedance-2-0", "seedance-2.0"],
        ["seedance-2-0-fast"],
        ["seedance-2-0-mini"],
        ["seedance-2.0-fast"],
        ["seedance-2.0-mini"],
        ["seedance-9-0", "seedance-9.0"],
    ]


def test_every_spelling_leads_to_a_name_that_is_its_own_canonical_one() -> None:
    assert all(canonical_model(name) == name for name in MODEL_SPELLINGS.values())


def test_a_default_that_is_spelled_out_is_the_same_order() -> None:
    plain = content_hash("m", given_input())
    assert plain == content_hash(
        "m", given_input(duration=5, return_last_frame=False, nsfw_checker=False)
    )
    assert plain != content_hash("m", given_input(duration=6))
    assert plain != content_hash("m", given_input(web_search=False))
    assert plain != content_hash("n", given_input())


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_is_its_id_else_its_content_and_occurrence() -> None:
    one, two = "1" * 64, "2" * 64
    assert row_keys([("a", one), (None, one), (None, two), (None, one), ("", one)]) == [
        "a",
        "r-1111111111",
        "r-2222222222",
        "r-1111111111-2",
        "r-1111111111-3",
    ]


def test_a_derived_key_given_back_as_an_id_stays_the_same_row() -> None:
    one = "1" * 64
    assert row_keys([("r-1111111111", one), (None, one)]) == ["r-1111111111", "r-1111111111-2"]


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "r-1111111111"]), st.sampled_from("123"))))
def test_keys_without_ids_are_unique_and_independent_of_order(
    rows: list[tuple[str, str]],
) -> None:
    pairs = [(row_id, digit * 64) for row_id, digit in rows]
    derived = [key for key, (row_id, _) in zip(row_keys(pairs), pairs, strict=True) if not row_id]
    assert len(set(derived)) == len(derived)
    assert sorted(row_keys(pairs[::-1])) == sorted(row_keys(pairs))


def test_each_part_of_an_intent_changes_its_idempotency_key() -> None:
    parts: list[tuple[str, str, str, int, str]] = [
        ("f", "a", "final", 1, "b"),
        ("g", "a", "final", 1, "b"),
        ("f", "c", "final", 1, "b"),
        ("f", "a", "draft", 1, "b"),
        ("f", "a", "final", 2, "b"),
        ("f", "a", "final", 1, "d"),
    ]
    keys = [idempotency_key(*each) for each in parts]
    assert len(set(keys)) == len(parts)
    assert keys == [idempotency_key(*each) for each in parts]
    assert all(len(key.encode()) <= 255 and key.isascii() for key in keys)
    assert idempotency_key("f", "\ud800", "final", 1, "b")  # whatever a cell holds


def test_a_fingerprint_tells_keys_apart_and_shows_nothing_of_them() -> None:
    one = fingerprint("sk-secret", "salt")
    assert one == fingerprint("sk-secret", "salt")
    assert one not in {fingerprint("sk-other", "salt"), fingerprint("sk-secret", "pepper")}
    assert "secret" not in one


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────


def test_a_body_is_what_the_documentation_asks_for() -> None:
    body = body_template(
        "seedance-2-0",
        given_input(),
        callback_url="https://me.example/done",
        storage="persistent",
    )
    assert json.loads(body) == {
        "model": "seedance-2-0",
        "input": {
            "prompt": "a boat",
            "aspect_ratio": "16:9",
            "duration": 5,
            "resolution": "720p",
            "generate_audio": True,
        },
        "callback": {"url": "https://me.example/done", "when": "final"},
        "storage": "persistent",
    }
    assert {"callback", "storage"}.isdisjoint(json.loads(body_template("m", given_input())))


def test_tokens_of_local_media_become_data_uris_and_nothing_else_does() -> None:
    template = body_template(
        "m",
        given_input(
            prompt=f"like {BLOB}",
            reference_image_urls=[BLOB, "https://example.com/x.png", OTHER],
        ),
    )
    assert tokens(template) == [BLOB, OTHER]
    fields = json.loads(render_body(template, URIS))["input"]
    assert fields["prompt"] == f"like {BLOB}"
    assert fields["reference_image_urls"] == [URIS[BLOB], "https://example.com/x.png", URIS[OTHER]]
    frames = body_template(
        "m", given_input(first_frame_url=BLOB, last_frame_url="https://example.com/l.png")
    )
    assert tokens(frames) == [BLOB]
    fields = json.loads(render_body(frames, URIS))["input"]
    assert (fields["first_frame_url"], fields["last_frame_url"]) == (
        URIS[BLOB],
        "https://example.com/l.png",
    )


@given(st.text(min_size=3, max_size=200).filter(lambda text: len(text.strip()) >= 3))
def test_the_same_arguments_give_the_same_bytes_for_ever(prompt: str) -> None:
    template = body_template("m", given_input(prompt=prompt, first_frame_url=BLOB))
    first, second = (render_body(template, URIS) for _ in range(2))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert json.loads(first)["input"]["prompt"] == prompt
