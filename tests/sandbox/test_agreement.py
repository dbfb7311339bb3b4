"""Two readings of one contract: the package's own model and the sandbox agree on every input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from seedance_batch.core.model import TaskInput
from seedance_batch.sandbox.answers import Refusal
from seedance_batch.sandbox.engine import Engine
from seedance_batch.sandbox.ledger import Ledger

from .conftest import config
from .test_validation import BAD, GOOD

ENGINE = Engine(config(), Ledger(None), clock=lambda: 0.0)

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 30),
    st.sampled_from([5.0, 4.5, -0.0, 2**31, 2**31 - 1, 2**63, 10**30, "5", "true", "", " "]),
    WORDS,
    st.lists(st.none() | WORDS | st.integers(), max_size=3),
    st.dictionaries(WORDS, WORDS, max_size=2),
)
HOSTS = st.sampled_from(
    [
        "a", "example.com", "例え.jp", "127.0.0.1", "[::1]", "", "a b", "a:80", "a:0", "a:65535",
        "a:65536", "a:", "a:x", "u:p@a", "u@", "@", "[", "a\n", "A.B", "%41", "-", "a:00080", "..",
    ]
)  # fmt: skip
PATHS = st.sampled_from(
    ["", "/", "/x.png", "?q=1", "#f", "/a b", "/é", "/a\tb", "\\", "//", "/\x7f"]
)
BASE64 = st.sampled_from(
    ["AAAA", "AAA=", "AA==", "A===", "", "AAA", "AAAA\n", "AA=A", "_-__", "AAAAA", "AAAAAA=="]
)


@st.composite
def _addresses(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(["http", "https", "asset", "ftp", "file", "HTTP", ""]))
    return f"{scheme}://{draw(HOSTS)}{draw(PATHS)}"


@st.composite
def _data_uris(draw: st.DrawFn) -> str:
    kind = draw(
        st.sampled_from(["image/png", "video/mp4", "audio/mpeg", "text/plain", "image/x y"])
    )
    mark = draw(st.sampled_from([";base64,", ",", ";base64;", ";charset=utf-8;base64,"]))
    return f"data:{kind}{mark}{draw(BASE64)}"


GOOD_MEDIA = {
    kind: st.sampled_from(
        [
            f"data:{kind}/{form};base64,AAAA",
            "https://example.com/a",
            "asset://a",
            "http://127.0.0.1",
        ]
    )
    for kind, form in (("image", "png"), ("video", "mp4"), ("audio", "mpeg"))
}


def _media(kind: str) -> st.SearchStrategy[Any]:
    return st.one_of(GOOD_MEDIA[kind], GOOD_MEDIA[kind], _addresses(), _data_uris(), ODD)


def _mostly(good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = ODD) -> Any:
    return st.one_of(good, good, good, odd)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "aspect_ratio": _mostly(
        st.sampled_from(["1:1", "4:3", "3:4", "16:9", "9:16", "21:9", "adaptive", "4:5", "1:1 "])
    ),
    "duration": _mostly(st.integers(2, 17)),
    "resolution": _mostly(st.sampled_from(["480p", "720p", "1080p", "4k", "480P", "720"])),
    "first_frame_url": _media("image"),
    "last_frame_url": _media("image"),
    "reference_image_urls": _mostly(st.lists(_media("image"), max_size=11)),
    "reference_video_urls": _mostly(st.lists(_media("video"), max_size=4)),
    "reference_audio_urls": _mostly(st.lists(_media("audio"), max_size=4)),
    "return_last_frame": _mostly(st.booleans()),
    "generate_audio": _mostly(st.booleans()),
    "web_search": _mostly(st.booleans()),
    "nsfw_checker": _mostly(st.booleans()),
    "seed": _mostly(st.integers(-1, 2**31)),
    "callback_url": WORDS,
}
PROMPTS = _mostly(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=12),
        st.sampled_from(
            ["🚲" * 2, "🚲" * 3, "x" * 20_000, "x" * 20_001, "   ", "\n\n\n", "abc\x00"]
        ),
    )
)


@st.composite
def _inputs(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4, unique=True))
    fields = {name: draw(FIELDS[name]) for name in names}
    return {"prompt": draw(PROMPTS), **fields} if draw(st.integers(0, 30)) else fields


def _sandbox_takes(fields: dict[str, Any]) -> bool:
    body = json.dumps({"model": "seedance-2-0", "input": fields}).encode()
    try:
        ENGINE.read_order("account", body, None)
    except Refusal:
        return False
    return True


def _model_takes(fields: dict[str, Any]) -> bool:
    try:
        TaskInput.model_validate(fields)
    except ValidationError:
        return False
    return True


def _agree(fields: dict[str, Any]) -> None:
    assert _sandbox_takes(fields) == _model_takes(fields)


@given(_inputs())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@example({})
@example({"prompt": "abc", "duration": 5.0})
def test_model_and_sandbox_agree_on_every_input(fields: dict[str, Any]) -> None:
    _agree(fields)


@pytest.mark.slow
@given(_inputs())
@settings(max_examples=20_000, suppress_health_check=[HealthCheck.too_slow])
def test_model_and_sandbox_agree_on_very_many_inputs(fields: dict[str, Any]) -> None:
    _agree(fields)


def test_model_and_sandbox_agree_on_the_known_cases() -> None:
    for fields in GOOD:
        assert _model_takes({"prompt": "abc", **fields}), fields
    for fields, _ in BAD:
        assert not _model_takes({"prompt": "abc", **fields}), fields
