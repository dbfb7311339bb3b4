"""The served page: what it hands out, to whom, and that a run goes on beside it."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedance_batch.core.attempt import Phase
from seedance_batch.errors import UsageError
from seedance_batch.page.marks import read_marks
from seedance_batch.page.serving import is_loopback_bind, listening
from seedance_batch.run_folder import RunFolder, held
from tests.page.served import Kept, Page, kept, served
from tests.writer.samples import attempt, row

ROWS = [row(number) for number in range(1, 4)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Kept]:
    with kept(tmp_path / "run") as found:
        found.rows(ROWS)
        found.add(attempt(ROWS[0]), attempt(ROWS[1], Phase.IN_FLIGHT))
        yield found


@pytest.fixture
def page(folder: Kept) -> Iterator[Page]:
    with served(folder.path) as found:
        yield found


def test_the_page_its_posters_and_its_clips_are_served_and_nothing_else(
    page: Page, folder: Kept
) -> None:
    assert 200 == page.get().status_code
    clip = page.get("videos/shot-01.mp4", range="bytes=0-99")
    assert (206, "video/mp4", 100) == (
        clip.status_code, clip.headers["content-type"], len(clip.content),
    )  # fmt: skip
    poster = page.news()["rows"][0]["takes"][0]["film"]["poster"]
    assert not (folder.path / poster).exists()
    assert page.get(poster).content.startswith(b"\xff\xd8"), "made when it was first asked for"
    (folder.path / "videos" / "other.mp4").write_bytes(b"not on the page")
    for name in (
        "journal.db", "report.html", "videos/other.mp4", "videos/shot-02.mp4", "videos/",
        "../run/journal.db", "..%2fjournal.db", "videos/../journal.db", "%2e%2e/%2e%2e/etc/passwd",
        "videos/shot-01.mp4%00.png", "/etc/passwd", "marks.db", "marks",
    ):  # fmt: skip
        assert page.get(name).status_code in {404, 405}, name
    target = f"GET /{page.where.token}/videos/../journal.db HTTP/1.1\r\n"
    host = f"Host: 127.0.0.1:{page.where.port}\r\n\r\n"
    assert b" 404 " in page.raw((target + host).encode())


def test_a_link_in_a_clips_place_leads_nowhere(page: Page, folder: Kept, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"elsewhere")
    (folder.path / "videos" / "shot-01.mp4").unlink()
    (folder.path / "videos" / "shot-01.mp4").symlink_to(secret)
    assert 404 == page.get("videos/shot-01.mp4").status_code


def test_without_the_token_there_is_nothing(page: Page) -> None:
    for path in ("", "news", "videos/shot-01.mp4", page.where.token[:-1] + "/"):
        answer = page.raw(
            f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{page.where.port}\r\n\r\n".encode()
        )
        assert b" 404 " in answer.splitlines()[0]
        assert page.where.token.encode() not in answer


def test_what_is_served_may_do_nothing_and_be_read_by_nobody_else(page: Page) -> None:
    for answer in (page.get(), page.get("videos/shot-01.mp4"), page.get("news"), page.get("no")):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "same-origin" == answer.headers["cross-origin-resource-policy"]
        assert "no-referrer" == answer.headers["referrer-policy"]
        assert "nosniff" == answer.headers["x-content-type-options"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1.evil.example:{port}", "localhost:1", "a@127.0.0.1"]
)
def test_a_name_that_was_turned_to_this_machine_is_refused(page: Page, host: str) -> None:
    """DNS rebinding: the browser takes the foreign page for one of this server's own."""
    assert 403 == page.get(host=host.format(port=page.where.port)).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
def test_a_foreign_page_cannot_mark(page: Page, folder: Kept, headers: dict[str, str]) -> None:
    body = '{"id": "shot-01", "take": "final 1", "said": {"mark": "redo"}}'
    assert page.post(body, **headers).status_code in {403, 415}
    assert [] == read_marks(folder.path)
    embedded = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert 403 == page.get("videos/shot-01.mp4", **embedded).status_code
    opened = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert 200 == page.get(**opened).status_code, "a link in a letter may be followed"


def test_marks_are_of_takes_that_there_are(page: Page, folder: Kept) -> None:
    assert 200 == page.mark("shot-01", "final 1", mark="keep", seen=True, stars=5).status_code
    for key, take in (("shot-01", "final 2"), ("shot-9", "final 1"), ("../x", "")):
        assert 400 == page.mark(key, take, mark="keep").status_code
    for body in ("", "[]", "{}", "null", '{"id": 1, "take": "", "said": {}}', "[" * 100_000):
        assert 400 == page.post(body).status_code
    assert ["shot-01"] == [mark.key for mark in read_marks(folder.path)]


def test_a_note_of_10_mb_is_refused_and_one_with_markup_is_a_text(page: Page, folder: Kept) -> None:
    assert 413 == page.mark("shot-01", "final 1", note="x" * 10_000_000).status_code
    note = "</script><img src=x onerror=alert(1)>\u2028\ud800"
    assert 200 == page.mark("shot-01", "final 1", note=note).status_code
    assert "<img src" not in page.get().text
    assert note[:-1] + "?" == page.news()["marks"][0][4]


def test_news_are_what_changed_and_a_run_holds_the_folder_meanwhile(
    page: Page, folder: Kept
) -> None:
    with held(RunFolder(folder.path)):
        first = page.news()
        assert ["shot-01", "shot-02", "shot-03"] == first["order"]
        at = first["at"]
        nothing = page.news(at)
        assert ([], None, None) == (nothing["rows"], nothing["order"], nothing["course"])
        folder.add(attempt(ROWS[2]))
        told = until_news(page, at)
        assert (["shot-03"], None) == ([of["id"] for of in told["rows"]], told["order"])
        folder.rows([*ROWS, row(9)])
        assert 4 == len(until_news(page, told["at"])["order"])


def until_news(page: Page, at: int) -> dict[str, object]:
    while not (told := page.news(at))["rows"]:
        threading.Event().wait(0.05)
    return dict(told)


def test_the_course_of_a_run_in_another_terminal_is_told_while_it_lives(
    page: Page, folder: Kept
) -> None:
    at = page.news()["at"]
    assert page.news()["course"] is None
    with held(RunFolder(folder.path)):
        folder.facts(run_open=1.0, run_rows=3)
        folder.add(attempt(ROWS[2]))
        told = until_news(page, at)
        assert (3, 2) == (told["course"]["rows"], told["course"]["ended"])  # type: ignore[index]
        assert "1 in flight" in told["course"]["words"]  # type: ignore[index]
    assert page.news()["course"] is None, "nobody holds the folder"


def test_two_hundred_connections_keep_nobody_out(page: Page) -> None:
    idle = [socket.create_connection(("127.0.0.1", page.where.port)) for _ in range(200)]
    try:
        for half in idle[:100]:
            half.sendall(b"GET /")
        assert 200 == page.get().status_code
        assert 200 == page.mark("shot-01", "final 1", stars=1).status_code
    finally:
        for each in idle:
            each.close()


@pytest.mark.slow
def test_connections_on_which_nothing_comes_make_room(page: Page) -> None:
    held = [socket.create_connection(("127.0.0.1", page.where.port)) for _ in range(450)]
    try:
        for half in held:
            half.sendall(b"GET /")
        assert 503 == page.get().status_code
        for half in held:
            half.settimeout(60)
            half.recv(1000)  # until the server hangs up, or says that it is busy
        assert 200 == page.get().status_code
    finally:
        for each in held:
            each.close()


def test_its_end_leaves_no_connection_open(folder: Kept) -> None:
    (folder.path / "videos" / "shot-01.mp4").write_bytes(bytes(50_000_000))
    with contextlib.ExitStack() as stack:
        with served(folder.path) as page:
            connection = socket.create_connection(("127.0.0.1", page.where.port), timeout=60)
            stack.enter_context(connection)
            target = f"GET /{page.where.token}/videos/shot-01.mp4 HTTP/1.1\r\n"
            host = f"Host: 127.0.0.1:{page.where.port}\r\n\r\n"
            connection.sendall((target + host).encode())
            assert b" 200 " in connection.recv(1000)
        gc.collect()  # what is left open warns
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1 << 20):
                pass


def test_a_folder_that_is_away_is_said_in_words_and_shown_once_it_is_back(
    page: Page, folder: Kept
) -> None:
    away = folder.path.with_name("away")
    folder.path.rename(away)
    while (gone := page.get()).status_code == 200:  # between two looks at the journal
        threading.Event().wait(0.05)
    assert (503, True) == (gone.status_code, "Load this page again" in gone.text)
    assert "error" in page.news()
    assert 507 == page.mark("shot-01", "final 1", stars=1).status_code
    away.rename(folder.path)
    while page.get().status_code == 503:
        threading.Event().wait(0.05)
    (folder.path / "marks.db").write_bytes(b"no database, and longer than a header of one" * 99)
    assert (503, 503) == ((said := page.get()).status_code, page.get("news").status_code)
    assert "marks.db cannot be used" in said.text


def test_a_count_that_is_none_is_refused(page: Page) -> None:
    for count in ("-1", "9" * 30, "1e3", "x"):
        assert 400 == page.get(f"news?marks={count}").status_code


def test_a_port_that_is_taken_is_told() -> None:
    with listening("127.0.0.1", 0).sock as taken:
        with pytest.raises(UsageError, match="cannot be served"):
            listening("127.0.0.1", taken.getsockname()[1])


def test_an_address_for_the_network_is_known_as_such() -> None:
    assert [True, True, True] == [*map(is_loopback_bind, ("127.0.0.1", "localhost", "::1"))]
    assert [False, False, False] == [*map(is_loopback_bind, ("192.0.2.1", "::", "studio"))]
