"""The review page: one ``report.html`` beside the clips, to look at all of them and choose.

Writes the page and the posters it lacks. Reads nothing but the clips: what it says comes from the
outcomes, what a person chooses stays in their browser until they export it (see `page.marks`)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.clips.kept import Hands, KeptClips, stills
from seedance_batch.clips.stills import poster_name
from seedance_batch.core.attempt import Clip
from seedance_batch.core.outcome import Outcome, tally
from seedance_batch.core.text import redact
from seedance_batch.page.values import Offer, films, labels, page_rows, page_sums, values_json
from seedance_batch.publish import replacing, size_of

if TYPE_CHECKING:
    from jinja2 import Template

PAGE: Final = "report.html"


def write_report(
    kept: KeptClips,
    columns: tuple[str, ...],
    outcomes: Sequence[Outcome],
    *,
    title: str,
    prices_note: str,
    refresh: float | None = None,
    folder_id: str = "",
    flags: Sequence[str] = (),
    offers: Mapping[int, Offer] = MappingProxyType({}),
    made: Callable[[int, int], None] = lambda count, of: None,
    hands: Hands | None = None,
) -> Path:
    """Write the review page of a run folder, whole or not at all, and say where it is.

    With ``refresh`` the page loads itself anew every so many seconds, for as long as a run goes
    on. ``folder_id`` keeps a person's marks with a run folder that is moved or renamed; without
    it they go by its path. Commands on the page have the run folder's ``flags``, and what
    ``offers`` say of each row. ``made`` is told of each poster that was lacking: how many are made,
    of how many; ``hands`` make them. Raises ``OSError`` where the disk refuses.
    """
    clips = {clip.file: clip for clip in films(outcomes)}
    folder, stills = kept.folder, _stills(kept, clips, made, hands)
    data = {
        "store": store_name(folder, folder_id),
        "columns": columns,
        "rows": page_rows(columns, outcomes, stills, offers),
        "labels": labels(columns, outcomes),
        "folder": shlex.quote(_typed(folder)),
        "flags": flags,
        "refresh": refresh,
        "clips_in": "" if kept.store is None else kept.store.address(PAGE),
    }
    page = page_html(data, page_words(title, outcomes, prices_note))
    path = folder / PAGE
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return path


def page_words(title: str, outcomes: Sequence[Outcome], prices_note: str) -> dict[str, str]:
    """What the page says around its cards."""
    return {
        "title": redact(title),
        "sums": page_sums(tally(outcomes)),
        "prices": redact(prices_note),
    }


def _typed(folder: Path) -> str:
    """The folder as one types it where the command ran, for a page that is not opened as a file.

    Never more of the machine's paths than that: the page is sent around.
    """
    try:
        path = os.path.relpath(folder)
    except (ValueError, OSError):  # another drive; a working directory that is gone
        return folder.name
    return folder.name if path.startswith("..") else path


def _stills(
    kept: KeptClips,
    clips: Mapping[str, Clip],
    made: Callable[[int, int], None],
    hands: Hands | None,
) -> dict[str, str | None]:
    """Clip file → its poster, for the clips that are on disk or in the store."""
    there = kept.present(clips.values())
    present = {file: clip for file, clip in clips.items() if file in there}
    lacking = [clip for clip in present.values() if not size_of(kept.folder / poster_name(clip))]
    found: dict[str, str | None] = {file: poster_name(clip) for file, clip in present.items()}
    # Decoding leaves the interpreter free, so that a few at once are faster.
    posters = stills(kept, lacking, hands, here=min(4, os.cpu_count() or 1))
    for count, (clip, path) in enumerate(zip(lacking, posters, strict=True), 1):
        found[clip.file] = poster_name(clip) if path else None
        made(count, len(lacking))
    return found


def store_name(folder: Path, folder_id: str) -> str:
    """Under which name a browser keeps the marks; tells nothing about the folder."""
    identity = folder_id or str(folder.resolve())
    digest = hashlib.sha256(f"review page\n{identity}".encode(errors="replace")).hexdigest()
    return f"seedance-batch/2/{digest[:16]}"  # 2: the form of what is kept there


# ── The review page as one text: template, style, scripts and data in one file ────────────────────
# Pure, but for the package's own templates. Whatever stands in the data, nothing in the page can
# run but our own script: the policy names it by its hash.


_SCRIPTS: Final = (
    *("marks.js", "cards.js", "sheet.js", "large.js", "filters.js", "next.js", "review.js"),
    "live.js",
)
"""In the order in which they are joined; together they are one module."""

_UNSAFE: Final = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
"""What could end the script, what UTF-8 cannot hold, and what some parser may drop."""


def page_html(data: Mapping[str, Any], words: Mapping[str, str], *, served: bool = False) -> str:
    """The whole page: ``data`` for its script, ``words`` for its template, which escapes them.

    A ``served`` one may ask its own server for what is new.
    """
    from markupsafe import Markup

    style, script = _asset("review.css"), "\n".join(map(_asset, _SCRIPTS))
    return _template().render(
        words,
        policy=policy(style, script, served=served),
        # Our own files and escaped JSON: the only texts that are not escaped by the template.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(script_json(data)),  # noqa: S704
    )


@cache
def _template() -> Template:
    """Compiled once: a run writes its page every few seconds."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("seedance_batch.page", "static")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("review.html")


def policy(style: str, script: str, *, served: bool = False) -> str:
    """The content security policy of a page with this style and this script, and no other.

    ``file:`` stands beside ``'self'`` because some browsers hold that a local file has no self.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src 'self'" if served else "img-src 'self' file:",
            "media-src 'self'" if served else "media-src 'self' file:",
            *(["connect-src 'self'"] if served else []),
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def served_policy() -> str:
    """The policy of every page that is served."""
    return policy(_asset("review.css"), "\n".join(map(_asset, _SCRIPTS)), served=True)


def script_json(value: object) -> str:
    """JSON that can stand in a script element: the same value, and no character of markup."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", values_json(value))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "static" / name).read_text("utf-8")
