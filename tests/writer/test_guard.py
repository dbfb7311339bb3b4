"""Guards are reversible, and secrets leave no trace."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedance_batch.core.columns import CELL_LIMIT, guarded, stored, unguarded, was_altered
from seedance_batch.core.text import redact

EDGES = st.text("'=+-@\t\r\n ＝1.5eE\0a", max_size=8)


@given(EDGES | st.text())
@example("'=x")
@example("''=x")
@example("'-3.5")
def test_the_guard_comes_off_exactly(text: str) -> None:
    assert text == unguarded(guarded(text))


@pytest.mark.parametrize(
    "text", ["=1", "+a", "- a", "@x", "\t=1", "\r=1", "\n=1", " =1", "＝1", "-"]
)
def test_what_could_be_a_formula_is_guarded(text: str) -> None:
    assert f"'{text}" == guarded(text)


@pytest.mark.parametrize(
    "text", ["-3.5", "+1", "-1,5", "-2e-3", "-.5", "it's", "'", "a=b", "", "'-3"]
)
def test_plain_numbers_and_harmless_texts_are_not(text: str) -> None:
    assert text == guarded(text)


@pytest.mark.parametrize("text", ["a" * CELL_LIMIT, "plain", "\x00\x1f _x0041_", "<r>open"])
def test_a_workbook_holds_it_as_it_is(text: str) -> None:
    assert text == stored(text)
    assert not was_altered(stored(text))


@pytest.mark.parametrize(
    "text", ["a" * (CELL_LIMIT + 1), "😀" * 20_000, "half \ud800", "\uffff", "<r><t>x</t></r>"]
)
def test_what_a_workbook_cannot_hold_is_marked(text: str) -> None:
    shown = stored(text)
    assert was_altered(shown)
    assert len(shown.encode("utf-16-le")) // 2 <= CELL_LIMIT
    assert shown.isprintable()


SECRETS = [
    ("key sk-live_0123-abc refused", "sk-live_0123-abc"),
    ("hi-sk-CANARY is unknown", "CANARY"),
    ("whsec_Zm9vYmFy+/= does not match", "Zm9vYmFy"),
    ("Authorization: Bearer eyJh.b-c_d", "eyJh"),
    ("Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("GET https://cdn.example/a.mp4?sign=CANARY&x=1 403", "CANARY"),
    ("'https://cdn.example/a.mp4?X-Amz-Signature=CANARY#t' gone", "CANARY"),
    ("https://user:CANARY@proxy:8080/ is down", "CANARY"),
    ("first_frame_url data:image/png;base64,CANARY+/== is too large", "CANARY"),
    ("DATA:,CANARY", "CANARY"),
    ("signature=CANARY&expires=3", "CANARY"),
    ("api_key=CANARY", "CANARY"),
    ("api_key=sk-…CANARY", "CANARY"),
    ('{"token": "CANARY"}', "CANARY"),
    ("{'Authorization': 'Bearer CANARY'}", "CANARY"),
    ("authorization: CANARY", "CANARY"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_secrets_are_hidden(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert "[hidden]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "the prompt was refused: why? #1 of a-sk-b",
        "task tk-hiapi-12 at https://api.example/v1/tasks failed",
        "16:9 is no ratio; data: none",
        "Bearer of the ring under basic lighting, flat design=no",
        "did you mean https://example.com/a.png?",
        "or: export HIAPI_API_KEY=sk-…",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert text == redact(text)
