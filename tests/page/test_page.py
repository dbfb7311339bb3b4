"""The file itself: whole, self-contained, and closed to every script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedance_batch.clips.kept import KeptClips
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.page.page import PAGE, script_json, write_report
from tests.writer.samples import PERSON, add_clips, attempt, every_status, row

TEMPLATES = Path(__file__).parents[2] / "seedance_batch" / "page" / "static"


class Parts(HTMLParser):
    """The texts of scripts and styles, and all attributes, as a browser finds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside = dict(attrs).get("id") or tag if tag in {"script", "style"} else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside] = self.texts.get(self._inside, "") + data


def written(folder: Path, found: list[Outcome], **more: Any) -> str:
    words = {"title": "storyboard", "prices_note": "Sandbox prices."} | more
    return write_report(KeptClips(folder), PERSON, found, **words).read_text("utf-8")


def test_the_page_lies_beside_the_clips_with_a_poster_for_each(tmp_path: Path) -> None:
    found = every_status()
    add_clips(tmp_path, found)
    written(tmp_path, found)
    clips = [a.state.clip for o in found for a in o.attempts if a.state.clip]
    assert len({clip.sha256 for clip in clips}) == len(list((tmp_path / "posters").iterdir()))
    names = {path.name for path in tmp_path.iterdir()}
    assert {PAGE, "videos", "drafts", "posters"} == names


def test_the_same_outcomes_give_the_same_page(tmp_path: Path) -> None:
    assert written(tmp_path, every_status()) == written(tmp_path, every_status())


def test_posters_that_are_lacking_are_counted_while_they_are_made(tmp_path: Path) -> None:
    found = every_status()
    add_clips(tmp_path, found)
    told: list[tuple[int, int]] = []
    written(tmp_path, found, made=lambda count, of: told.append((count, of)))
    everyone = len(list((tmp_path / "posters").iterdir()))
    assert told == [(count, everyone) for count in range(1, everyone + 1)]
    next((tmp_path / "posters").iterdir()).write_bytes(b"")  # as a disk without power leaves it
    written(tmp_path, found, made=lambda count, of: told.append((count, of)))
    assert told[everyone:] == [(1, 1)]
    assert all(path.stat().st_size for path in (tmp_path / "posters").iterdir())


def test_a_clip_that_is_no_video_has_a_page_without_its_poster(tmp_path: Path) -> None:
    of = row(1)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/shot-01.mp4").write_bytes(b"not a video")
    [one] = rows_of(written(tmp_path, outcomes([of], [attempt(of)])))
    assert ("videos/shot-01.mp4", "") == (
        one["takes"][0]["film"]["src"],
        one["takes"][0]["film"]["poster"],
    )


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(tmp_path, [])
    monkeypatch.setattr("seedance_batch.publish.fsync_file", full)
    with pytest.raises(OSError, match="no space"):
        written(tmp_path, every_status())
    assert before == (tmp_path / PAGE).read_text("utf-8")
    assert [PAGE] == [path.name for path in tmp_path.iterdir()]


def full(path: Path) -> None:
    raise OSError("no space left")


def rows_of(page: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(Parts(page).texts["data"])["rows"]
    return rows


def test_the_policy_names_our_script_and_our_style_and_nothing_else(tmp_path: Path) -> None:
    parts = Parts(written(tmp_path, every_status()))
    policy = next(v for tag, name, v in parts.attributes if tag == "meta" and "default-src" in v)
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(parts.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"unsafe|https?:|data:|blob:|\*", policy)


def test_nothing_in_the_page_comes_from_anywhere_else(tmp_path: Path) -> None:
    parts = Parts(written(tmp_path, every_status()))
    inline = [name for _, name, _ in parts.attributes if name.startswith("on") or name == "style"]
    assert [] == inline
    assert {"src", "href", "action", "srcset"}.isdisjoint({n for _, n, _ in parts.attributes})
    own = "".join(path.read_text("utf-8") for path in TEMPLATES.iterdir())
    for forbidden in (
        "http:",
        "https:",
        "innerHTML",
        "insertAdjacentHTML",
        "eval(",
        "document.write",
    ):
        assert forbidden not in own


def test_only_the_data_differs_between_two_pages_of_one_version(tmp_path: Path) -> None:
    """So that their policies are equal: nothing of the data is in the script."""
    first, second = Parts(written(tmp_path, [])), Parts(written(tmp_path, every_status()))
    assert (first.texts["script"], first.texts["style"]) == (
        second.texts["script"],
        second.texts["style"],
    )


def test_title_and_prices_are_text(tmp_path: Path) -> None:
    page = written(
        tmp_path, [], title="<b>&amp;", prices_note="<i>https://a.example/?sign=S-3-C-R-E-T</i>"
    )
    assert '<h1 dir="auto">&lt;b&gt;&amp;amp;</h1>' in page
    assert "S-3-C" not in page  # no hash of the policy has a dash
    assert "<i>https" not in page


def test_marks_go_by_the_run_folders_identity_else_by_its_path(tmp_path: Path) -> None:
    def store(folder: Path, **more: str) -> str:
        folder.mkdir(exist_ok=True)
        data = json.loads(Parts(written(folder, [], **more)).texts["data"])
        return str(data["store"])

    a, b = tmp_path / "a", tmp_path / "b"
    assert store(a) == store(a) != store(b)
    assert store(a, folder_id="x") == store(b, folder_id="x") != store(a, folder_id="y")
    assert "x" * 8 not in store(a, folder_id="x" * 32)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner)))
@example("</script><!--<script>\u2028\ufeff\ud800&")
def test_any_value_survives_its_script_and_no_markup_is_in_it(value: object) -> None:
    text = script_json(value)
    assert value == json.loads(text)
    assert not set("<>&") & set(text)
    text.encode()


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))
