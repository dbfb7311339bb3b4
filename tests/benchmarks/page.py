"""How soon the review page shows itself, written and served, what a frame of scrolling costs, and
what the tab then holds:
``python -m tests.benchmarks.page [ROWS]``.

Wants Chromium, as the browser tests do. Each figure is a fresh visit.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from seedance_batch.clips.kept import KeptClips
from seedance_batch.clips.stills import poster, poster_name
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.page.page import write_report
from tests.browser.conftest import VIEWPORT, launched
from tests.page.served import kept, served
from tests.writer.samples import PERSON, attempt, clip, playable, row

PROMPT = "A cat walks through scene {}, slow push-in, rain on the window, warm light, no text."
VISITS = 3
PAINTED = """async () => {
  const painted = (image) => image.complete && image.naturalWidth > 0;
  const frame = () => new Promise(requestAnimationFrame);
  while (![...document.querySelectorAll("img[src]")].every(painted)) await frame();
  await frame();
  await frame();
  const first = performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
  return [Math.round(first), Math.round(performance.now())];
}"""


def sample(folder: Path, count: int) -> list[Outcome]:
    """Rows with a clip and a poster each, all of them links to one."""
    rows = [row(n, shot=str(n), prompt=PROMPT.format(n), client="Acme") for n in range(count)]
    for name in ("videos", "posters"):
        (folder / name).mkdir()
    original = folder / "original.mp4"
    original.write_bytes(playable((320, 180)))
    os.link(original, folder / clip(rows[0]).file)
    still = poster(folder, clip(rows[0]))
    assert still
    for of in rows[1:]:
        os.link(original, folder / clip(of).file)
        os.link(still, folder / poster_name(clip(of)))
    return outcomes(rows, [attempt(of) for of in rows])


SCROLLED = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const times = [];
  let before = await frame();
  while (scrollY + innerHeight < document.documentElement.scrollHeight - 5 && times.length < 300) {
    scrollBy(0, 120);
    const now = await frame();
    times.push(now - before);
    before = now;
  }
  times.sort((a, b) => a - b);
  const at = (share) => Math.round(times[Math.floor(times.length * share)] * 10) / 10;
  return [at(0.5), at(0.95), times.length];
}"""


def visit(browser: Any, address: str) -> None:
    """Print what one fresh visit comes to."""
    tab: Any = browser.new_context(viewport=VIEWPORT).new_page()
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(address)
    tab.wait_for_selector("img[src]")
    first, pictures = tab.evaluate(PAINTED)
    opened = _busy(session)
    middle, slow, frames = tab.evaluate(SCROLLED)
    main = 1000 * (_busy(session) - opened) / frames
    nodes = tab.evaluate("document.querySelectorAll('*').length")
    used = session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    print(  # noqa: T201
        f"first paint {first:5} ms, pictures {pictures:5} ms after {opened * 1000:.0f} ms of CPU;"
        f" {frames} frames of scrolling: median {middle} ms, 95 % below {slow} ms,"
        f" {main:.1f} ms of CPU each; {nodes} elements, script's heap {used:.0f} MiB,"
        f" renderer at most {_largest_renderer() / 2**20:.0f} MiB",
        flush=True,
    )
    tab.close()


def _busy(session: Any) -> float:
    """Seconds of CPU that the tab's main thread has spent on the page."""
    told = {
        each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]
    }
    return float(told["TaskDuration"])


def _largest_renderer() -> int:
    """Bytes that the largest of our browser's tabs holds for itself alone; 0 where nobody tells."""
    found = [0]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_tab = b"--type=renderer" in (process / "cmdline").read_bytes()
            if is_tab and _is_below(process, os.getpid()):
                rollup = (process / "smaps_rollup").read_text()
                private = re.findall(r"^Private_\w+: +(\d+) kB", rollup, flags=re.M)
                found.append(sum(map(int, private)) * 1024)
    return max(found)


def _is_below(process: Path, ancestor: int) -> bool:
    """Whether a process was started by another one, by any number of steps."""
    pid = int(process.name)
    while pid not in {0, 1, ancestor}:
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return pid == ancestor


def keep(path: Path, found: list[Outcome]) -> None:
    """A journal for these outcomes, whose clips lie there."""
    with kept(path) as folder:
        folder.rows([outcome.row for outcome in found if outcome.row])
        folder.add(*(outcome.attempts[0] for outcome in found), clips=False)


def main(argv: list[str]) -> None:
    """Print what visits come to, of the page as a file and of the served one."""
    count = int(argv[0]) if argv else 2_000
    with tempfile.TemporaryDirectory() as name, launched() as browser:
        folder = Path(name)
        words = {"title": "storyboard", "prices_note": "Sandbox prices."}
        found = sample(folder, count)
        page = write_report(KeptClips(folder), tuple(PERSON), found, **words)
        print(f"{count:,} rows, {page.stat().st_size / 2**20:.1f} MiB, written")  # noqa: T201
        for _ in range(VISITS):
            visit(browser, page.as_uri())
        keep(folder, found)
        print("served")  # noqa: T201
        with served(folder) as live:
            for _ in range(VISITS):
                visit(browser, live.address)


if __name__ == "__main__":
    main(sys.argv[1:])
