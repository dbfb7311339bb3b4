"""``check --net`` looks at each address once, politely, and never at a private one."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import anyio
import pytest
from PIL import Image

from seedance_batch.api.addresses import file_client
from seedance_batch.batch import preflight
from seedance_batch.batch.preflight import AddressLook, expires_at, look
from seedance_batch.core.model import MediaKind
from seedance_batch.reader.read import read_manifest

NOW = 1_800_000_000.0


def picture(size: tuple[int, int] = (640, 360)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (40, 60, 80)).save(file, "PNG")
    return file.getvalue()


class _Site(BaseHTTPRequestHandler):
    """A file host with a page for every way in which an address can disappoint."""

    asked: ClassVar[Counter[str]] = Counter()
    ranges: ClassVar[set[str]] = set()
    at_once = 0
    most_at_once = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        with self.lock:
            _Site.asked[self.path] += 1
            _Site.ranges.add(self.headers.get("Range", ""))
            _Site.at_once += 1
            _Site.most_at_once = max(_Site.most_at_once, _Site.at_once)
        status, body, headers = self._page()
        time.sleep(0.005)
        with self.lock:
            _Site.at_once -= 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", headers.get("X-Claims", str(len(body))))
        self.end_headers()
        self.wfile.write(body)

    def _page(self) -> tuple[int, bytes, dict[str, str]]:
        match self.path.partition("?")[0]:
            case "/good.png" | "/also-good.png":
                return 200, picture(), {}
            case "/part.png":
                size = str(10**9)
                return 206, picture(), {"Content-Range": f"bytes 0-65535/{size}"}
            case "/small.png":
                return 200, picture((64, 64)), {}
            case "/page.png":
                return 200, b"<!doctype html><title>sign in</title>", {}
            case "/text.png":
                return 200, b"hello", {}
            case "/busy.png":
                return 503, b"", {}
            case "/moved.png":
                return 302, b"", {"Location": "/good.png"}
            case "/inwards.png":
                return 302, b"", {"Location": "http://169.254.169.254/latest/meta-data"}
            case "/round.png":
                return 302, b"", {"Location": "/round.png"}
            case "/nowhere.png":
                return 302, b"", {}
            case "/half-an-address.png":
                return 302, b"", {"Location": "http://["}
            case "/odd-name.png":
                return 302, b"", {"Location": "http://xn--/"}
            case "/endless.png":
                return 200, picture() + b"\0" * 10_000_000, {}
            case _:
                return 404, b"", {}

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[str]:
    _Site.asked, _Site.ranges, _Site.most_at_once = Counter(), set(), 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def looks(*urls: str, kind: MediaKind = MediaKind.IMAGE, private: bool = True) -> list[AddressLook]:
    async def main() -> list[AddressLook]:
        async with file_client(allow_private=private) as http:
            return await look(
                dict.fromkeys(urls, kind),
                http,
                now=NOW,
                needed_until=NOW + 3600,
                allow_private=private,
            )

    return anyio.run(main)


def test_a_good_image_has_nothing_to_say(site: str) -> None:
    good, moved, endless = looks(*(f"{site}/{n}.png" for n in ("good", "moved", "endless")))

    assert (good.problems, good.warnings) == ((), ())
    assert (moved.problems, moved.warnings) == ((), ())
    assert (endless.problems, endless.warnings) == ((), ())


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("none", "answers 404: it cannot be fetched"),
        ("page", "is a web page, not image"),
        ("text", "is something else, not image"),
        ("inwards", "169.254.169.254 is not an address that files can come from"),
        ("round", "redirects more than 4 times"),
        ("nowhere", "answers 302: it cannot be fetched"),
        ("half-an-address", "is, or redirects to, an address that cannot be read"),
        ("odd-name", "is, or redirects to, an address that cannot be read"),
    ],
)
def test_what_cannot_be_an_image_is_a_problem(site: str, page: str, words: str) -> None:
    (found,) = looks(f"{site}/{page}.png")

    assert [words in problem for problem in found.problems] == [True]


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("busy", "answers 503 right now"),
        ("small", "has 64×64 pixels; sides of 300 to 6000 are safe"),
        ("part", "has 1,000,000,000 bytes"),
    ],
)
def test_what_may_still_work_is_a_warning(site: str, page: str, words: str) -> None:
    (found,) = looks(f"{site}/{page}.png")

    assert found.problems == ()
    assert [words in warning for warning in found.warnings] == [True]


def test_an_image_is_no_video(site: str) -> None:
    (found,) = looks(f"{site}/good.png", kind=MediaKind.VIDEO)

    assert found.problems == (f"{site}/good.png is image, but video is needed",)


def test_each_address_is_asked_once_for_its_first_bytes_and_one_at_a_time_of_a_host(
    site: str,
) -> None:
    urls = [f"{site}/good.png?{number}" for number in range(12)]
    assert len(looks(*urls, *urls)) == 12

    assert set(_Site.asked.values()) == {1}
    assert _Site.ranges == {"bytes=0-65535"}
    assert _Site.most_at_once == 1


def test_a_private_address_is_never_asked(site: str) -> None:
    (found,) = looks(f"{site}/good.png", private=False)

    assert "is a private address" in found.problems[0]
    assert not _Site.asked


def test_a_host_that_does_not_answer_is_a_warning() -> None:
    (found,) = looks("http://127.0.0.1:9/a.png")

    assert found.problems == ()
    assert "cannot be reached" in found.warnings[0]


AMZ = "https://b.example.com/a.png?X-Amz-Date=20270115T080000Z&X-Amz-Expires={}&X-Amz-Signature=canary"


def test_a_signed_address_must_outlive_the_batch(site: str) -> None:
    (early,) = looks(f"{site}/good.png?Expires={int(NOW) + 60}&Signature=canary")
    (late,) = looks(f"{site}/also-good.png?Expires={int(NOW) + 7200}&Signature=canary")
    (over,) = looks(AMZ.format(0))

    assert "before the last row is expected to be made" in early.warnings[0]
    assert late == AddressLook(f"{site}/also-good.png?Expires={int(NOW) + 7200}&Signature=canary")
    assert "expired at 2027-01-15 08:00 UTC" in over.problems[0]
    assert "canary" not in early.warnings[0] + over.problems[0]


@pytest.mark.parametrize(
    ("url", "seconds"),
    [
        (AMZ.format(3600), 1_800_000_000 + 3600),
        ("https://x.example/a?X-Goog-Date=20270115T080000Z&X-Goog-Expires=60", 1_800_000_060),
        ("https://x.example/a?se=2027-01-15T08%3A00%3A00Z&sig=abc", 1_800_000_000),
        ("https://x.example/a?Expires=1800000000&OSSAccessKeyId=x", 1_800_000_000),
        ("https://x.example/a?expires=soon", None),
        ("https://x.example/a?expires=5", None),
        ("https://x.example/a?X-Amz-Date=never&X-Amz-Expires=60", None),
        ("https://x.example/a", None),
    ],
)
def test_the_common_signatures_tell_when_they_end(url: str, seconds: float | None) -> None:
    assert expires_at(url) == seconds


def test_looks_come_back_at_every_row_that_names_the_address(tmp_path: Path) -> None:
    url = "https://example.com/a.png"
    path = tmp_path / "shots.csv"
    path.write_text(f"prompt,first_frame_url\nA lamp wakes,{url}\nA cat walks,{url}\nA dog,\n")
    manifest = read_manifest(path)

    assert preflight.addresses(manifest) == {url: MediaKind.IMAGE}
    found = preflight.findings([AddressLook(url, ("is gone",))], manifest)
    assert [str(one) for one in found] == [
        "shots.csv:2:first_frame_url: is gone",
        "shots.csv:3:first_frame_url: is gone",
    ]
