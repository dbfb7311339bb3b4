"""The review page in a headless Chromium; every test here is skipped where there is none."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.clips.kept import KeptClips
from seedance_batch.core.outcome import Outcome
from seedance_batch.page.page import write_report
from tests.writer.samples import PERSON, add_clips

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = (
    "--no-sandbox",  # the tests may run as root, where Chromium's own sandbox does not start
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# Not for the session: Playwright keeps an event loop running in this thread for as long as it is
# open, and other tests start their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The browser."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if _program() is None:
        pytest.skip("there is no Chromium on this machine")
    with launched() as browser:
        yield browser


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """Chromium, for the length of a block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=_program(), args=list(_QUIET))
        yield browser
        browser.close()


def _program() -> str | None:
    return next(filter(None, map(shutil.which, _NAMES)), None)


VIEWPORT = {"width": 1280, "height": 900}


@pytest.fixture(scope="package")
def profile(chromium: Any) -> Any:
    """One profile for most tests: a run folder of its own gives each of them its own marks."""
    return chromium.new_context(viewport=VIEWPORT)


@pytest.fixture
def tab(lasting_tab: Any) -> Iterator[Any]:
    """A tab that is as good as new; the test fails where the page breaks, or is refused something.

    A run folder of its own gives each test its own marks.
    """
    yield from emptied(lasting_tab)


def faultless_tab(profile: Any) -> Iterator[Any]:
    """What `tab` says, in any profile."""
    with faultless(profile.new_page()) as page:
        yield page
        for opened in profile.pages:
            opened.close()


@pytest.fixture(scope="package")
def lasting_tab(chromium: Any) -> Any:
    """One tab for most tests."""
    return chromium.new_context(viewport=VIEWPORT).new_page()


def emptied(page: Any) -> Iterator[Any]:
    """What `tab` says, of a tab that lasts: a new one takes 0.2 s of CPU."""
    page.goto("about:blank")
    with faultless(page):
        yield page
        for opened in page.context.pages:
            if opened is not page:
                opened.close()
        if page.viewport_size != VIEWPORT:
            page.set_viewport_size(VIEWPORT)
        page.emulate_media(media="null", color_scheme="null", reduced_motion="null")


@contextlib.contextmanager
def faultless(page: Any) -> Iterator[Any]:
    """The page, which must not break or be refused something in the block."""
    page.set_default_timeout(120_000)
    faults: list[str] = []

    def broke(error: Any) -> None:
        faults.append(str(error))

    def said(entry: Any) -> None:
        if entry.type == "error":
            faults.append(entry.text)

    page.on("pageerror", broke)
    page.on("console", said)
    yield page
    page.remove_listener("pageerror", broke)
    page.remove_listener("console", said)
    assert [] == faults


Review = Callable[..., Path]


@pytest.fixture
def review(tmp_path: Path, tab: Any) -> Review:
    """Write the page of some outcomes, with real clips, and open it in the tab."""

    def write(
        outcomes: Sequence[Outcome],
        columns: Sequence[str] = PERSON,
        *,
        clips: bool = True,
        open_it: bool = True,
        **more: Any,
    ) -> Path:
        if clips:
            add_clips(tmp_path, outcomes)
        words = {"title": "storyboard", "prices_note": "Sandbox prices."} | more
        path = write_report(KeptClips(tmp_path), tuple(columns), outcomes, **words)
        if open_it:
            tab.goto(path.as_uri())
        return path

    return write


def ids(tab: Any) -> list[str]:
    """The rows in sight, in order."""
    found: list[str] = tab.locator(".card .id").all_text_contents()
    return found


def current(tab: Any) -> str:
    """The row that keys act on."""
    return str(tab.locator(".card.current .id").text_content())


def press(tab: Any, keys: str) -> None:
    """Press single keys one after another; a blank is the space bar."""
    for key in keys:
        tab.keyboard.press("Space" if key == " " else key)


def until(tab: Any, expression: str) -> None:
    """Wait until the page says that ``expression`` is true.

    Playwright's own way evaluates texts inside the page, which the page's policy forbids.
    """
    for _ in range(2_400):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never came true: {expression}")
