"""How soon the review page shows itself: ``python -m tests.benchmarks.page [ROWS]``.

Wants Chromium, as the browser tests do. Each figure is a fresh visit.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from seedance_batch.clips.posters import poster, poster_name
from seedance_batch.core.outcome import Outcome, outcomes
from seedance_batch.page.page import write_report
from tests.browser.conftest import VIEWPORT, launched
from tests.writer.samples import PERSON, attempt, clip, playable, row

PROMPT = "A cat walks through scene {}, slow push-in, rain on the window, warm light, no text."
VISITS = 5
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


def main(argv: list[str]) -> None:
    """Print each visit's milliseconds until its first paint, and until its pictures are there."""
    count = int(argv[0]) if argv else 2_000
    with tempfile.TemporaryDirectory() as name, launched() as browser:
        folder = Path(name)
        words = {"title": "storyboard", "prices_note": "Sandbox prices."}
        page = write_report(folder, tuple(PERSON), sample(folder, count), **words)
        print(f"{count:,} rows, {page.stat().st_size / 2**20:.1f} MiB")  # noqa: T201
        for _ in range(VISITS):
            tab: Any = browser.new_context(viewport=VIEWPORT).new_page()
            tab.goto(page.as_uri())
            tab.wait_for_selector("img[src]")
            first, pictures = tab.evaluate(PAINTED)
            print(f"first paint {first:5} ms, pictures {pictures:5} ms")  # noqa: T201
            tab.close()


if __name__ == "__main__":
    main(sys.argv[1:])
