"""A manifest at an address: fetched once a command, known by its link, never followed anywhere."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import seedance_batch as sb
from seedance_batch.api.addresses import Answered
from seedance_batch.batch import open as opening
from seedance_batch.errors import Exit, UsageError
from seedance_batch.reader.source import address_of
from tests.cli.shop import Shop, say

DOC = "1AbCdEfGhIjKlMnOpQrStUvWxYz"
EXPORT = f"https://docs.google.com/spreadsheets/d/{DOC}/export?format=csv"
HEAD = "id,prompt,duration,resolution\n"


class Web:
    """A web server on this machine; `pages` are what it has, `asked` what was wanted."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                status, headers, body = web.pages.get(self.path, (404, {}, b"none"))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def put(self, path: str, text: str | bytes, status: int = 200, **headers: str) -> str:
        body = text if isinstance(text, bytes) else text.encode()
        self.pages[path] = (status, {n.replace("_", "-"): v for n, v in headers.items()}, body)
        return self.url + path


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.02,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def rows(*prompts: str) -> str:
    return HEAD + "".join(f"s{n},{prompt},4,480p\n" for n, prompt in enumerate(prompts, 1))


# ── what it comes to ────────────────────────────────────────────────────────────────────────────


def test_a_batch_of_an_address_is_bought_once_and_known_by_its_link(shop: Shop, web: Web) -> None:
    url = web.put("/lists/My%20shots.csv", rows("a calm lake", "a calm sea"))
    folder = shop.folder / "runs" / "My-shots"

    assert shop.run(of=url).code == Exit.OK
    assert len(web.asked) == 1
    assert sorted(p.name for p in (folder / "videos").iterdir()) == ["s1.mp4", "s2.mp4"]
    assert "2" in say("status", url).out

    web.put("/lists/My%20shots.csv", rows("a calm lake", "a wild sea"))
    assert "~ changed          1 row" in shop.plan(of=url).out
    assert shop.run(of=folder).code == Exit.OK
    assert len(shop.tasks()) == 3


def test_a_saved_plan_is_refused_once_what_lies_there_has_changed(shop: Shop, web: Web) -> None:
    url = web.put("/shots.csv", rows("a calm lake"))
    said = shop.plan("--save", "plan.json", of=url)
    assert "The manifest was fetched just now" in said.out

    web.put("/shots.csv", rows("a wild lake"))
    assert shop.run("--plan", "plan.json", of=url).code == Exit.DRIFTED
    web.put("/shots.csv", rows("a calm lake"))
    assert shop.run("--plan", "plan.json", of=url).code == Exit.OK


def test_python_reads_and_plans_it_too(shop: Shop, web: Web) -> None:
    url = web.put("/shots.csv", gzip.compress(rows("a lake").encode()), Content_Encoding="gzip")

    assert sb.plan(url, api_url=shop.service.api_url).new_rows == 1


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://user:secret@127.0.0.1/x.csv",
        "file:///etc/passwd",
        "/again",
    ],
)
def test_a_link_that_leads_elsewhere_is_judged_at_each_hop(
    shop: Shop, web: Web, target: str
) -> None:
    web.put("/again", "", 302, Location="/again")
    said = shop.plan(of=web.put("/shots.csv", "", 302, Location=target))

    assert said.code == Exit.USAGE
    assert "Nothing was sent." in said.err
    assert "secret" not in said.err


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"none", "answers 404"),
        (200, b"<!doctype html><title>Sign in", "is a web page, and no manifest"),
        (200, b"", "is empty"),
        (200, b"\0" * (33 << 20), "has more than 33,554,432 bytes"),
        (200, gzip.compress(bytes(33 << 20), 1), "has more than 33,554,432 bytes"),
    ],
)
def test_what_is_no_manifest_is_said_in_a_sentence(
    shop: Shop, web: Web, status: int, body: bytes, words: str
) -> None:
    packed = {"Content_Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    said = shop.plan(of=web.put("/shots.csv", body, status, **packed))

    assert said.code == Exit.USAGE
    assert words in said.err


def test_this_machines_own_addresses_are_asked_only_beside_an_api_of_its_own(
    shop: Shop, web: Web
) -> None:
    url = web.put("/shots.csv", rows("a calm lake"))

    assert say("check", url).code == Exit.USAGE
    assert say("check", url.replace("http:", "https:")).code == Exit.USAGE
    assert web.asked == []
    assert say("plan", url, "--sandbox").code == Exit.OK


def test_a_server_that_is_not_there_is_named(shop: Shop, web: Web) -> None:
    said = shop.plan(of="http://127.0.0.1:9/shots.csv")

    assert said.err.startswith("error: http://127.0.0.1:9/shots.csv cannot be reached")


# ── links ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("link", "url", "name"),
    [
        (f"https://docs.google.com/spreadsheets/d/{DOC}/edit#gid=0", f"{EXPORT}&gid=0", "sheet-"),
        (f"https://docs.google.com/spreadsheets/d/{DOC}/edit?usp=sharing", EXPORT, "sheet-"),
        (f"https://docs.google.com/spreadsheets/d/{DOC}", EXPORT, "sheet-"),
        (f"https://docs.google.com/spreadsheets/u/1/d/{DOC}/view", EXPORT, "sheet-"),
        (
            f"https://docs.google.com/a/studio.tv/spreadsheets/d/{DOC}/edit?gid=77#gid=77",
            f"{EXPORT}&gid=77",
            "sheet-SrUvWxYz-77",
        ),
        (f"{EXPORT}&gid=77", f"{EXPORT}&gid=77", "sheet-SrUvWxYz-77"),
        (
            "https://docs.google.com/spreadsheets/d/e/2PACX-1vAbCdEfGhIj/pubhtml?gid=5&single=true",
            "https://docs.google.com/spreadsheets/d/e/2PACX-1vAbCdEfGhIj/pub?output=csv&gid=5",
            "sheet-CdEfGhIj-5",
        ),
        (
            f"https://drive.google.com/file/d/{DOC}/view?usp=drive_link",
            f"https://drive.google.com/uc?export=download&id={DOC}",
            "drive-",
        ),
        (
            "https://x.org/a/Shots%20v2.xlsx?v=1#top",
            "https://x.org/a/Shots%20v2.xlsx?v=1",
            "Shots-v2",
        ),
        ("https://x.org/", "https://x.org/", "manifest"),
        ("https://x.org/../..%2f..%2fetc", "https://x.org/../..%2f..%2fetc", "etc"),
    ],
)
def test_a_link_as_it_is_copied_leads_to_the_table(link: str, url: str, name: str) -> None:
    found = address_of(link)

    assert found.url == url
    assert found.name.startswith(name.replace("SrUvWxYz", DOC[-8:]))
    assert "/" not in found.name
    assert address_of(found.path).name == found.name


def test_a_sheet_that_is_named_or_filtered_comes_as_a_workbook() -> None:
    found = address_of(EXPORT, workbook=True)

    assert found.url.endswith("export?format=xlsx")
    assert found.path == EXPORT
    assert found.file.endswith(".xlsx")


def test_no_signature_of_a_link_is_kept() -> None:
    link = "https://x.org/shots.csv?X-Amz-Signature=0123456789abcdef0123456789abcdef"

    assert address_of(link).path == "https://x.org/shots.csv"


@pytest.mark.parametrize(
    "answer",
    [
        Answered("https://accounts.google.com/ServiceLogin", 200, b"<!doctype html>"),
        Answered(EXPORT, 401, b"Unauthorized"),
        Answered(EXPORT, 403, b""),
    ],
)
def test_a_sheet_that_is_not_shared_is_told_from_others(answer: Answered) -> None:
    with pytest.raises(UsageError, match="not shared with everybody who has the link") as caught:
        opening.check_answer(address_of(EXPORT), answer)
    assert "Anyone with the link" in str(caught.value.hint)


def test_relative_files_begin_in_the_working_directory(shop: Shop, web: Web) -> None:
    from PIL import Image

    Image.new("RGB", (640, 360)).save(Path.cwd() / "a.png")
    url = web.put("/shots.csv", "prompt,first_frame_url\na calm lake,a.png\n")
    assert "+ new              1 row" in shop.plan(of=url).out
