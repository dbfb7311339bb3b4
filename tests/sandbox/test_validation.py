"""Every rule of a create's body: what is taken, what is refused, and where the message points."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seedance_batch.sandbox.validation import Checker, specification

from .conftest import Served, order, serving

IMAGE = "data:image/png;base64,AAAA"
VIDEO = "data:video/mp4;base64,AAAA"
AUDIO = "data:audio/mpeg;base64,AAAA"

GOOD: list[dict[str, Any]] = [
    {"prompt": "abc"},
    {"prompt": "🚲🚲🚲"},
    {"prompt": "x" * 20_000},
    {"prompt": "🚲" * 20_000},
    {"duration": 4},
    {"duration": 15},
    {"aspect_ratio": "adaptive"},
    {"aspect_ratio": "21:9"},
    {"resolution": "1080p"},
    {"seed": 0},
    {"seed": 2_147_483_647},
    {"web_search": True, "nsfw_checker": False, "generate_audio": False},
    {"first_frame_url": "https://example.com/a.png"},
    {"first_frame_url": "asset://abc", "last_frame_url": IMAGE},
    {"reference_image_urls": [IMAGE] * 9},
    {"reference_image_urls": [IMAGE], "reference_video_urls": [VIDEO] * 3},
    {"reference_audio_urls": [AUDIO], "reference_image_urls": ["http://127.0.0.1/a.png"]},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "ab"}, "input.prompt"),
    ({"prompt": "🚲🚲"}, "input.prompt"),
    ({"prompt": "x" * 20_001}, "input.prompt"),
    ({"prompt": None}, "input.prompt"),
    ({"prompt": 12345}, "input.prompt"),
    ({"prompt": ["abc"]}, "input.prompt"),
    ({"duration": 3}, "input.duration"),
    ({"duration": 16}, "input.duration"),
    ({"duration": 5.0}, "input.duration"),
    ({"duration": True}, "input.duration"),
    ({"duration": "5"}, "input.duration"),
    ({"duration": None}, "input.duration"),
    ({"aspect_ratio": "4:5"}, "input.aspect_ratio"),
    ({"aspect_ratio": ""}, "input.aspect_ratio"),
    ({"aspect_ratio": None}, "input.aspect_ratio"),
    ({"resolution": "4k"}, "input.resolution"),
    ({"resolution": 720}, "input.resolution"),
    ({"seed": -1}, "input.seed"),
    ({"seed": 2_147_483_648}, "input.seed"),
    ({"seed": False}, "input.seed"),
    ({"generate_audio": 1}, "input.generate_audio"),
    ({"generate_audio": "true"}, "input.generate_audio"),
    ({"return_last_frame": None}, "input.return_last_frame"),
    ({"web_search": 0}, "input.web_search"),
    ({"nsfw_checker": "no"}, "input.nsfw_checker"),
    ({"first_frame_url": ""}, "input.first_frame_url"),
    ({"first_frame_url": "abc123"}, "input.first_frame_url"),
    ({"first_frame_url": "ftp://x/y.png"}, "input.first_frame_url"),
    ({"first_frame_url": "https://"}, "input.first_frame_url"),
    ({"first_frame_url": "https://a b/c"}, "input.first_frame_url"),
    ({"first_frame_url": "https://a:99999/c"}, "input.first_frame_url"),
    ({"first_frame_url": IMAGE + "\n"}, "input.first_frame_url"),
    ({"first_frame_url": "data:image/png,AAAA"}, "input.first_frame_url"),
    ({"first_frame_url": "data:image/png;base64,AAA"}, "input.first_frame_url"),
    ({"first_frame_url": VIDEO}, "input.first_frame_url"),
    ({"last_frame_url": IMAGE}, "first_frame_url"),
    ({"first_frame_url": IMAGE, "reference_image_urls": [IMAGE]}, "reference_image_urls"),
    ({"first_frame_url": IMAGE, "reference_audio_urls": [AUDIO]}, "reference_audio_urls"),
    ({"reference_image_urls": []}, "input.reference_image_urls"),
    ({"reference_image_urls": IMAGE}, "input.reference_image_urls"),
    ({"reference_image_urls": [IMAGE, None]}, "input.reference_image_urls[1]"),
    ({"reference_image_urls": [IMAGE] * 10}, "input.reference_image_urls"),
    ({"reference_video_urls": [VIDEO] * 4}, "input.reference_video_urls"),
    ({"reference_video_urls": [IMAGE]}, "input.reference_video_urls[0]"),
    ({"reference_audio_urls": [AUDIO] * 4}, "input.reference_audio_urls"),
    ({"reference_audio_urls": [AUDIO]}, "input.reference_audio_urls needs an image or a video"),
    ({"n": 1}, "input.n"),
    ({"callback": {"url": "https://example.com"}}, "input.callback"),
    ({"Prompt": "abc"}, "input.Prompt"),
]


@pytest.mark.parametrize("fields", GOOD, ids=lambda fields: json.dumps(fields)[:50])
def test_what_the_contract_allows_is_accepted(served: Served, fields: dict[str, Any]) -> None:
    assert served.create(**fields).json()["code"] == 200


@pytest.mark.parametrize(("fields", "place"), BAD, ids=lambda v: json.dumps(v)[:50])
def test_what_the_contract_forbids_is_refused_by_its_place(
    served: Served, fields: dict[str, Any], place: str
) -> None:
    answer = served.create(**fields)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_REQUEST")
    assert place in answer.json()["message"]
    assert answer.json()["data"] is None


BODIES = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'{"model": "seedance-2-0"}',
    b'{"input": {"prompt": "abc"}}',
    b'{"model": 7, "input": {"prompt": "abc"}}',
    b'{"model": "seedance-2-0", "input": []}',
    b'{"model": "seedance-2-0", "input": {}}',
    b'{"model": "seedance-2-0", "input": {"prompt": "abc"}, "extra": 1}',
    b'{"model": "seedance-2-0", "input": {"prompt": "abc"}, "storage": "forever"}',
    b'{"model": "seedance-2-0", "input": {"prompt": "abc", "seed": NaN}}',
    b'{"model": "seedance-2-0", "input": {"prompt": "abc\\ud800"}}',
    b'{"model": "seedance-2-0", "input": {"prompt": "abc\xff"}}',
    b"[" * 100_000,
    b'{"model": "seedance-2-0", "input": {"prompt": ' + b"[" * 400 + b"]" * 400 + b"}}",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_a_body_of_the_wrong_form_is_refused(served: Served, body: bytes) -> None:
    answer = served.client.post(
        "/v1/tasks", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400


CALLBACKS = [
    {"url": "http://example.com/hook"},
    {"url": "ftp://127.0.0.1/hook"},
    {"url": "https://10.0.0.1/hook"},
    {"url": "https://[::1]/hook"},
    {"url": "https://localhost/hook"},
    {"url": "https://host.internal/hook"},
    {"url": "https:///hook"},
    {"url": ""},
    {"url": "https://example.com/hook", "when": "progress"},
    {"url": "https://example.com/hook", "secret": "x"},
    {},
]


@pytest.mark.parametrize("callback", CALLBACKS, ids=str)
def test_a_callback_goes_to_a_public_https_host_or_to_loopback(
    served: Served, callback: dict[str, str]
) -> None:
    answer = served.client.post("/v1/tasks", json={**order(), "callback": callback})
    assert answer.status_code == 400


def test_nothing_refused_is_charged() -> None:
    with serving() as served:
        for fields, _ in BAD:
            served.create(**fields)
        assert served.ledger()["counters"]["creates_accepted"] == 0
        assert served.ledger()["tasks"] == []


def test_what_is_open_in_the_contract_can_be_allowed() -> None:
    mixed = {"first_frame_url": IMAGE, "reference_image_urls": [IMAGE] * 8}
    with serving(allow_4k=True, allow_mixed=True) as served:
        assert served.create(resolution="4k").is_success
        assert served.create(**mixed).is_success
        too_many = {**mixed, "last_frame_url": IMAGE}
        assert "more than 9" in served.create(**too_many).json()["message"]


def test_the_schema_knows_all_fourteen_fields() -> None:
    fields = specification()["components"]["schemas"]["Input"]["properties"]
    assert len(fields) == 14
    assert Checker().problems(order()) == []
