"""What the page says of a row: its takes, its words, its money; never a secret or a remote name."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from seedance_batch.core.attempt import Attempt, Kind, Phase
from seedance_batch.core.outcome import Outcome, outcomes, tally
from seedance_batch.page.page import PageRow, films, labels, page_rows, page_sums
from tests.writer.samples import PERSON, attempt, every_status, row

ROW = row(1)


def shown(*attempts: Attempt, of: Any = ROW, columns: tuple[str, ...] = PERSON) -> PageRow:
    [found] = page_rows(columns, outcomes([of] if of else [], attempts), {})
    return found


def test_rows_keep_their_order_and_their_own_columns() -> None:
    found = page_rows(PERSON, every_status(), {})
    assert [f"shot-{n:02}" for n in range(1, 11)] + ["old-shot"] == [one.id for one in found]
    assert ("1", "A cat, take 1", "Acme") == found[0].cells
    assert "media mismatch" in {one.status for one in found}


def test_drafts_come_before_finals_and_all_have_names_of_their_own() -> None:
    def named(*kinds: Kind) -> list[str]:
        takes = [attempt(ROW, kind=kind, number=n, id=n) for n, kind in enumerate(kinds, 1)]
        return [take.name for take in shown(*takes).takes]

    assert ["Take 1"] == named(Kind.FINAL)
    assert ["Take 1", "Take 2"] == named(Kind.FINAL, Kind.FINAL)
    assert ["Draft"] == named(Kind.DRAFT)
    assert ["Draft", "Final"] == named(Kind.FINAL, Kind.DRAFT)
    assert ["Draft 1", "Draft 2", "Final 1", "Final 2"] == named(
        Kind.DRAFT, Kind.FINAL, Kind.DRAFT, Kind.FINAL
    )


def test_the_take_of_the_results_sheet_is_told_apart() -> None:
    takes = shown(attempt(ROW, kind=Kind.DRAFT, id=1), attempt(ROW, id=2)).takes
    assert [False, True] == [take.shown for take in takes]
    assert ["480p · 4 s · 16:9", "720p · 5 s · 16:9"] == [take.asked for take in takes]


def test_a_card_says_what_its_clip_is_and_what_the_row_asks_for_where_that_is_another() -> None:
    row_asks, draft = "720p · 5 s · 16:9", attempt(ROW, kind=Kind.DRAFT)
    assert row_asks == shown().asked == shown(attempt(ROW)).asked
    assert "draft 480p · 4 s → final 720p · 5 s" == shown(draft).asked
    assert row_asks == shown(draft, attempt(ROW, id=200)).asked
    assert "draft 480p · 4 s · 16:9" == shown(draft, of=None).asked
    longer = replace(ROW, duration=8, content="edited")
    assert "720p · 5 s → 720p · 8 s" == shown(attempt(ROW), of=longer).asked
    upright = replace(ROW, aspect_ratio="9:16", content="edited")
    assert f"{row_asks} → 720p · 5 s · 9:16" == shown(attempt(ROW), of=upright).asked


def test_a_card_names_the_persons_first_two_short_columns() -> None:
    cells = {"seconds": "5", "treatment": "x" * 41, "scene": "010", "empty": "", "client": "Acme"}
    of = replace(ROW, cells={**cells, "shot": "7"})
    columns = tuple(of.cells)
    assert ["scene", "client"] == [columns[at] for at in labels(columns, outcomes([of], []))]
    assert [] == labels(("prompt", "treatment"), outcomes([of], []))


def test_a_cost_is_as_sure_as_it_is_known() -> None:
    assert "" == shown().cost
    assert "$0.71" == shown(attempt(ROW)).cost
    assert "up to $0.71" == shown(attempt(ROW, Phase.FAILED)).cost
    assert "up to $0.71" == shown(attempt(ROW, Phase.IN_FLIGHT)).cost
    assert "not charged" == shown(attempt(ROW, Phase.PLANNED)).cost
    assert "price unknown" == shown(attempt(ROW, est_cost=None)).cost
    both = shown(attempt(ROW, id=1), attempt(ROW, Phase.FAILED, id=2, number=2))
    assert ("up to $1.43", "$0.71") == (both.cost, both.takes[0].cost)
    assert float(Decimal("1.425")) == both.spent


def test_the_header_counts_rows_and_money() -> None:
    assert "0 rows · $0.00 for 0 clips" == page_sums(tally([]))
    words = page_sums(tally(every_status()))
    assert words.startswith("10 rows · $")
    assert "reserved" in words
    assert "without a clip" in words


def test_a_failed_row_says_why_and_what_next_and_a_done_one_says_nothing() -> None:
    failed = shown(attempt(ROW, Phase.FAILED))
    assert "TASK_FAILED: the prompt was refused by moderation" == failed.message
    assert ("prompt", "change the prompt, then run") == (failed.reason, failed.step)
    done = shown(attempt(ROW, error_message="an old trouble"))
    assert ("", "", "") == (done.message, done.step, done.takes[0].message)


def test_a_message_is_one_line_of_bounded_length() -> None:
    made = attempt(ROW, Phase.FAILED, error_code=None, error_message="<html>\n\n  x" + "y" * 5_000)
    message = shown(made).message
    assert message.startswith("<html> xyyy")
    assert 1_001 == len(message)


def test_a_message_of_a_service_turns_no_text_around() -> None:
    made = attempt(ROW, Phase.FAILED, error_code=None, error_message="see \u202egnp.exe")
    assert r"see \u202egnp.exe" == shown(made).message


def test_the_prompt_is_the_rows_own_and_a_take_tells_where_it_was_another() -> None:
    edited = replace(ROW, cells={**ROW.cells, "prompt": "A dog"})
    found = shown(attempt(ROW), of=edited)
    assert ("A dog", "A cat, take 1") == (found.prompt, found.takes[0].prompt)
    assert "" == shown(attempt(ROW)).takes[0].prompt


def test_without_a_prompt_column_the_attempt_tells_it_also_for_a_removed_row() -> None:
    unnamed = replace(ROW, cells={"text": "A cat, take 1"})
    assert "A cat, take 1" == shown(attempt(ROW), of=unnamed, columns=("text",)).prompt
    removed = shown(attempt(ROW), of=None)
    assert ("removed", "A cat, take 1", ()) == (removed.status, removed.prompt, removed.cells)


def test_no_secret_and_no_remote_address_is_among_the_values() -> None:
    cells = {"prompt": "x data:image/png;base64,QUJD", "frame": "https://a.example/f.png?sign=S3"}
    of = replace(ROW, cells=cells)
    made = attempt(ROW, Phase.FAILED, error_message="key sk-s3cret, https://b.example/?token=S3")
    text = repr(shown(attempt(ROW), made, of=of, columns=tuple(cells)))
    for secret in ("QUJD", "S3", "s3cret", "cdn.example"):
        assert secret not in text
    assert "https://a.example/f.png?[hidden]" in text


def test_a_clip_without_its_file_has_no_address_and_one_without_poster_has_none() -> None:
    [outcome] = outcomes([ROW], [attempt(ROW)])
    [clip] = films([outcome])

    def film(stills: dict[str, str | None]) -> tuple[str, str]:
        found = page_rows(PERSON, [outcome], stills)[0].takes[0].film
        assert found
        return found.src, found.poster

    assert ("", "") == film({})
    assert ("videos/shot-01.mp4", "") == film({clip.file: None})
    assert ("videos/shot-01.mp4", "posters/a%20b.jpg") == film({clip.file: "posters/a b.jpg"})


@given(st.text(min_size=1).filter(lambda text: text not in {".", ".."}))
def test_an_address_is_always_relative_and_below_the_folder(name: str) -> None:
    [outcome] = renamed(f"videos/{name}.mp4")
    [clip] = films([outcome])
    film = page_rows(PERSON, [outcome], {clip.file: None})[0].takes[0].film
    assert film
    parts = urlsplit(film.src)
    assert ("", "", "", "") == (parts.scheme, parts.netloc, parts.query, parts.fragment)
    assert "videos" == parts.path.split("/")[0]
    assert not {"", ".", ".."} & set(parts.path.split("/"))
    if "/" not in name and not any("\ud800" <= sign <= "\udfff" for sign in name):
        assert f"videos/{name}.mp4" == unquote(parts.path)


def renamed(file: str) -> list[Outcome]:
    made = attempt(ROW)
    assert made.state.clip
    clip = replace(made.state.clip, file=file)
    return outcomes([ROW], [replace(made, state=replace(made.state, clip=clip))])
