"""Nothing that a table, a server or a file name says can run, load or lead away from the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.core.text import redact
from tests.writer.samples import attempt, row

from .conftest import Review, ids, press

HOSTILE = (
    "<script>parent.pwned=1</script>",
    "</script><script>pwned=1</script>",
    "</ScRiPt ><ScRiPt>pwned=1</sCrIpT>",
    "<!--<script>",
    "--><script>pwned=1</script>",
    "<!--<script></script><script>pwned=1</script>-->",
    "]]><script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<img src=https://evil.example/i.png>",
    '"><img src=x onerror=pwned=1>',
    "'><svg onload=pwned=1>",
    "<svg/onload=pwned=1>",
    "<svg><script>pwned=1</script></svg>",
    "<math><mi//xlink:href='javascript:pwned=1'>",
    "<iframe src=javascript:pwned=1></iframe>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<object data=javascript:pwned=1>",
    "<embed src=https://evil.example/e.swf>",
    "<video src=x onerror=pwned=1 autoplay>",
    "<audio src=x onerror=pwned=1>",
    "<body onload=pwned=1>",
    "<input autofocus onfocus=pwned=1>",
    "<details open ontoggle=pwned=1>",
    "<a href=javascript:pwned=1 autofocus>x</a>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<link rel=stylesheet href=https://evil.example/s.css>",
    "<style>@import 'https://evil.example/s.css';</style>",
    "<style>*{background:url(https://evil.example/b)}</style>",
    "<form action=https://evil.example><button autofocus>",
    "</style><script>pwned=1</script>",
    "</title><script>pwned=1</script>",
    "</textarea><script>pwned=1</script>",
    "</template><script>pwned=1</script>",
    "</dialog></main><script>pwned=1</script>",
    "javascript:pwned=1",
    "{{ 7*7 }}{% raw %}{{ config }}",
    "${pwned=1}`+(pwned=1)+`",
    "\\u003cscript\\u003epwned=1",
    '",pwned=1,"',
    "\u2028pwned=1\u2029\u0000\u0007\ud800",
    "__proto__",
    "onload=pwned=1 x='\"`",
    "data:text/html,<script>pwned=1</script>",
    "../../../etc/passwd",
    "\u202egnp.exe",
    "&lt;script&gt;pwned=1&lt;/script&gt;&#60;img&#62;",
)


def hostile_outcomes() -> list[Outcome]:
    """Rows whose every text is hostile: cells, ids, messages, codes; half of them have a clip."""
    rows = [
        row(n, key=text, prompt=text, client=text, **{text: text}) for n, text in enumerate(HOSTILE)
    ]
    attempts: list[Attempt] = []
    for n, of in enumerate(rows):
        if n % 2:
            attempts.append(clip_named(attempt(of), f"videos/{n}.mp4"))
        else:
            attempts.append(
                attempt(of, Phase.FAILED, error_code=of.key, error_message=f"{of.key} {of.key}")
            )
    return outcomes(rows, attempts)


def clip_named(made: Attempt, file: str) -> Attempt:
    assert made.state.clip
    return replace(made, state=replace(made.state, clip=replace(made.state.clip, file=file)))


def test_no_hostile_text_runs_loads_or_changes_the_page(review: Review, tab: Any) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("dialog", lambda dialog: asked.append(dialog.message))
    found = hostile_outcomes()
    evil = HOSTILE[1]
    page = review(found, ("prompt", "client", *HOSTILE), title=evil, prices_note=evil)
    assert 40 <= len(HOSTILE) == tab.locator(".card").count()
    tab.keyboard.press("Enter")
    press(tab, "rj" * len(HOSTILE) + "e")
    tab.fill("#note", evil)
    tab.keyboard.press("Escape")
    tab.click("#by-column summary")
    assert "undefined" == tab.evaluate("typeof pwned")
    assert 2 == tab.locator("script").count()
    assert 0 == tab.locator("iframe, object, embed, base, svg, math, audio, link").count()
    folder = page.parent.as_uri()
    assert [] == [url for url in asked if not url.startswith(folder)]
    assert page.as_uri() == tab.url


def test_hostile_texts_are_shown_as_they_are(review: Review, tab: Any) -> None:
    review(hostile_outcomes(), ("prompt", "client"))
    plain = [text for text in HOSTILE if "\ud800" not in text]  # half a pair never leaves a browser
    assert plain == [text for text in ids(tab) if text in plain]
    prompts = tab.locator(".card .prompt").all_text_contents()
    assert [redact(text) for text in plain] == [
        text for text in prompts if "pwned=1\u2029" not in text
    ]


def test_hostile_file_names_play_from_their_own_folder(review: Review, tab: Any) -> None:
    names = (
        "<img src=x onerror=pwned=1>",
        "javascript:pwned=1",
        "'\"`><script>pwned=1<",
        "a?b#c%2e%2e",
        "..%2f..%2fsecret",
        "https:evil.example",
        "\\..\\x",
    )
    rows = [row(n) for n in range(len(names))]
    found = outcomes(
        rows,
        [
            clip_named(attempt(of), f"videos/{name}.mp4")
            for of, name in zip(rows, names, strict=True)
        ],
    )
    page = review(found)
    for number in range(1, len(names) + 1):
        press(tab, " ")
        tab.wait_for_selector(f".card:nth-child({number}) video")
        source = tab.evaluate("document.querySelector('video').src")
        assert source.startswith(f"{page.parent.as_uri()}/videos/")
        assert 0 == tab.locator("[data-gone]").count()
        press(tab, "j")
    assert "undefined" == tab.evaluate("typeof pwned")


def test_a_script_that_got_into_the_file_would_still_not_run(review: Review, tab: Any) -> None:
    page = review([], open_it=False)
    text = page.read_text("utf-8")
    intruder = "<script>pwned=1</script><img src=x onerror=pwned=1>"
    page.write_text(text.replace("<main", f"{intruder}<main"), "utf-8")
    refused: list[str] = []
    other = tab.context.new_page()
    other.on("console", lambda entry: refused.append(entry.text))
    other.goto(page.as_uri())
    assert "undefined" == other.evaluate("typeof pwned")
    assert 2 <= len([words for words in refused if "Content Security Policy" in words])
    sink = "try { document.body.innerHTML = '<b>x</b>'; 'taken' } catch { 'refused' }"
    assert "refused" == other.evaluate(sink)


def test_the_page_names_no_remote_address(review: Review, tmp_path: Path) -> None:
    of = row(1, prompt="x", first_frame_url="https://files.example/a.png?sign=s3cret")
    failed = attempt(of, Phase.FAILED, error_message="see https://cdn.example/b.mp4?sign=s3cret")
    page = review(outcomes([of], [attempt(of), failed]), tuple(of.cells), open_it=False)
    text = page.read_text("utf-8")
    assert "s3cret" not in text
    assert "a1b2" not in text
    assert "cdn.example/shot-01.mp4" not in text
