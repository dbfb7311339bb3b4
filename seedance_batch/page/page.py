"""The review page: one ``report.html`` beside the clips, to look at all of them and choose.

Writes the page and the posters it lacks. Reads nothing but the clips: what it says comes from the
outcomes, what a person chooses stays in their browser until they export it (see `page.marks`)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from seedance_batch.clips.kept import Hands, KeptClips, stills
from seedance_batch.clips.stills import poster_name
from seedance_batch.core.attempt import (
    Attempt,
    Charged,
    Clip,
    Intent,
    Kind,
    Phase,
    charged,
    reason_of,
)
from seedance_batch.core.columns import folded
from seedance_batch.core.outcome import (
    Outcome,
    RowRecord,
    Status,
    Tally,
    costs,
    message,
    next_step,
    spent,
    tally,
)
from seedance_batch.core.pricing import money
from seedance_batch.core.text import redact, some, spaced
from seedance_batch.publish import replacing, size_of
from seedance_batch.reader.headings import field_of

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


_STYLE: Final = "review.css"
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

    return _template().render(
        words,
        policy=policy(served=served),
        # Our own files and escaped JSON: the only texts that are not escaped by the template.
        style=Markup(_asset(_STYLE)),  # noqa: S704
        script=Markup(_script()),  # noqa: S704
        data=Markup(script_json(data)),  # noqa: S704
    )


@cache
def _template() -> Template:
    """Compiled once: a run writes its page every few seconds."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("seedance_batch.page", "static")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("review.html")


def policy(*, served: bool = False) -> str:
    """The content security policy of a page with our style and our script, and no other.

    ``file:`` stands beside ``'self'`` because some browsers hold that a local file has no self.
    """
    own = "'self'" if served else "'self' file:"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(_script())}'",
            f"style-src '{_hash(_asset(_STYLE))}'",
            f"img-src {own}",
            f"media-src {own}",
            *(["connect-src 'self'"] if served else []),
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def script_json(value: object) -> str:
    """JSON that can stand in a script element: the same value, and no character of markup."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", values_json(value))


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _script() -> str:
    return "\n".join(map(_asset, _SCRIPTS))


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "static" / name).read_text("utf-8")


# ── What the page shows: outcomes in, plain values for its JSON out ───────────────────────────────
# Pure. Everything in here ends up in a file that is sent around, so texts from elsewhere have their
# secrets taken out, and no remote address is among the values.


LONGEST_LABEL: Final = 40
"""Characters of a text that a card has room for."""


@dataclass(frozen=True, slots=True)
class Film:
    """A clip that can be watched. ``src`` and ``poster`` are relative URLs; empty where missing."""

    file: str
    src: str
    poster: str
    width: int
    height: int
    measured: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What a command would make of a take, in dollars by the kept price list; None: unknown."""

    flags: list[str]
    """Those that it was made with, as words of a command line."""
    again: float | None
    """Another take like it."""
    final: float | None
    """A final of the row."""


@dataclass(frozen=True, slots=True)
class PageTake:
    """One attempt of a row."""

    name: str
    """``Draft``, ``Final``, ``Take 2``: told apart within its row."""
    take: str
    """``final 2``: what marks and wishes call it."""
    kind: str
    status: str
    shown: bool
    asked: str
    cost: str
    reason: str
    """Why it was refused; empty where it was not."""
    message: str
    prompt: str
    """Only where it differs from the row's present one."""
    film: Film | None
    offer: Offer | None


@dataclass(frozen=True, slots=True)
class PageRow:
    """One card of the page."""

    id: str
    status: str
    reason: str
    """Why the shown attempt was refused; empty where it was not."""
    step: str
    """What a person would do next."""
    message: str
    prompt: str
    cells: tuple[str, ...]
    """The person's, in the order of their columns; none for a removed row."""
    asked: str
    cost: str
    spent: float
    """What the cost sorts by, in dollars."""
    clip: str
    """Which clip is shown, empty for none; a choice belongs to the clip that it was made of."""
    take: str
    """The take that is shown, ``final 2``; a wish for another one names it. Empty for none."""
    made: float
    """When the shown clip was made, in Unix seconds; 0 where there is none."""
    takes: tuple[PageTake, ...]
    """Drafts first, then finals, each oldest first."""
    follows: tuple[str, ...] = ()
    """Ids of the rows that it takes frames or clips from."""
    made_from: tuple[str, ...] = ()
    """The takes that the shown clip was made from: ``lamp-wakes final 1``."""
    stale: bool = False
    """Whether one of them was replaced since."""


def page_rows(
    columns: Sequence[str],
    outcomes: Iterable[Outcome],
    stills: Mapping[str, str | None],
    offers: Mapping[int, Offer] = MappingProxyType({}),
) -> list[PageRow]:
    """A card for each outcome, in their order.

    ``stills`` maps a clip's file to its poster (None where there is none); a file that is not in
    it does not exist on disk.
    """
    return [_row(columns, o, stills, offers) for o in outcomes]


def for_others(
    columns: Sequence[str], rows: Iterable[PageRow], *, prompts: bool, costs: bool
) -> tuple[list[str], list[PageRow]]:
    """The columns and cards that somebody else may see: of each row the shown clip alone.

    Inputs stay here, since they name files and addresses; so do messages and next steps. What a
    mark is of stays: it comes back with the list that is exported.
    """
    own = [at for at, name in enumerate(columns) if field_of(name) is None]
    unsaid: dict[str, Any] = {"reason": "", "message": ""} | ({} if costs else {"cost": ""})
    shared = [
        replace(
            row,
            **unsaid,
            status="done",
            step="",
            prompt=row.prompt if prompts else "",
            cells=tuple(row.cells[at] for at in own) if row.cells else (),
            spent=row.spent if costs else 0.0,
            takes=tuple(
                replace(take, **unsaid, prompt="", offer=None) for take in row.takes if take.shown
            ),
            follows=(),
            made_from=(),
            stale=False,
        )
        for row in rows
    ]
    return [columns[at] for at in own], shared


def values_json(value: object) -> str:
    """JSON of these shapes and of plain values; a number that JSON does not know is refused."""
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_of_fields
    )


def _of_fields(value: Any) -> dict[str, Any]:
    """One level of a dataclass: ``asdict`` copies all of it first, at twelve times the cost."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def labels(columns: Sequence[str], outcomes: Sequence[Outcome]) -> list[int]:
    """Which of the person's columns stand on a card: the first two of their own that are short."""
    cells = [outcome.row.cells for outcome in outcomes if outcome.row]
    texts = {c: [of[c] for of in cells if of.get(c)] for c in columns if field_of(c) is None}
    short = (c for c, found in texts.items() if found and max(map(len, found)) <= LONGEST_LABEL)
    return [columns.index(column) for column in islice(short, 2)]


def films(outcomes: Iterable[Outcome]) -> Iterable[Clip]:
    """Every clip that the page shows."""
    for outcome in outcomes:
        for attempt in outcome.attempts:
            if attempt.state.clip:
                yield attempt.state.clip


def page_sums(found: Tally) -> str:
    """Rows and money in one line."""
    return " · ".join([some(found.rows, "row"), *costs(found.money)])


def _row(
    columns: Sequence[str],
    outcome: Outcome,
    stills: Mapping[str, str | None],
    offers: Mapping[int, Offer],
) -> PageRow:
    shown = outcome.shown
    prompt = _prompt(outcome)
    filmed = shown if shown and shown.state.clip else None
    return PageRow(
        id=outcome.key,
        status=spaced(outcome.status),
        reason=_reason(shown),
        step=next_step(outcome),
        message=message(shown) if shown and outcome.status is not Status.DONE else "",
        prompt=redact(prompt),
        cells=_cells(columns, outcome),
        asked=_asked(outcome),
        cost=_cost(outcome.attempts),
        spent=float(spent(outcome.attempts)),
        clip=str(filmed.id) if filmed else "",
        take=str(shown.intent.take) if shown else "",
        made=(filmed.state.finished_at if filmed else None) or 0.0,
        takes=_takes(outcome, prompt, stills, offers),
        follows=outcome.row.follows if outcome.row else (),
        made_from=tuple(map(str, outcome.made_from)),
        stale=outcome.is_stale,
    )


def _reason(attempt: Attempt | None) -> str:
    return (reason_of(attempt.state) or "") if attempt else ""


def _asked(outcome: Outcome) -> str:
    """What the shown clip was asked to be, and what the row asks for where that is another."""
    row = _specification(outcome.row) if outcome.row else ""
    if outcome.shown is None:
        return row
    intent = outcome.shown.intent
    is_draft, clip = intent.kind is Kind.DRAFT, _specification(intent)
    if outcome.row and (is_draft or row != clip):
        if outcome.row.aspect_ratio == intent.aspect_ratio:  # a card is narrow
            clip, row = _size(intent), _size(outcome.row)
        return f"draft {clip} → final {row}" if is_draft else f"{clip} → {row}"
    return f"draft {clip}" if is_draft else clip


def _specification(asked: RowRecord | Intent) -> str:
    return f"{_size(asked)} · {asked.aspect_ratio}"


def _size(asked: RowRecord | Intent) -> str:
    return f"{asked.resolution} · {asked.duration} s"


def _cells(columns: Sequence[str], outcome: Outcome) -> tuple[str, ...]:
    if outcome.row is None:
        return ()
    cells = outcome.row.cells
    return tuple(redact(cells.get(column, "")) for column in columns)


def _prompt(outcome: Outcome) -> str:
    """The row's present prompt; that of its attempt where no column says it."""
    cells = outcome.row.cells if outcome.row else {}
    written = next((text for name, text in cells.items() if folded(name) == "prompt"), None)
    if written is not None:
        return written.strip()
    return outcome.shown.intent.prompt.strip() if outcome.shown else ""


# ── takes ───────────────────────────────────────────────────────────────────────────────────────


def _takes(
    outcome: Outcome,
    prompt: str,
    stills: Mapping[str, str | None],
    offers: Mapping[int, Offer],
) -> tuple[PageTake, ...]:
    drafts = [a for a in outcome.attempts if a.intent.kind is Kind.DRAFT]
    finals = [a for a in outcome.attempts if a.intent.kind is Kind.FINAL]
    final = "Final" if drafts else "Take"
    return tuple(
        _take(attempt, name, outcome, prompt, stills, offers.get(attempt.id))
        for word, group in (("Draft", drafts), (final, finals))
        for name, attempt in _numbered(word, group)
    )


def _numbered(word: str, group: Sequence[Attempt]) -> Iterable[tuple[str, Attempt]]:
    for number, attempt in enumerate(group, 1):
        yield (f"{word} {number}" if len(group) > 1 or word == "Take" else word), attempt


def _take(
    attempt: Attempt,
    name: str,
    outcome: Outcome,
    prompt: str,
    stills: Mapping[str, str | None],
    offer: Offer | None,
) -> PageTake:
    intent = attempt.intent
    made_from = intent.prompt.strip()
    return PageTake(
        name=name,
        take=str(intent.take),
        kind=intent.kind.value,
        status=spaced(attempt.state.phase),
        shown=attempt is outcome.shown,
        asked=_specification(intent),
        cost=_cost([attempt]),
        reason=_reason(attempt),
        message=message(attempt) if attempt.state.phase is not Phase.DONE else "",
        prompt="" if made_from == prompt else redact(made_from),
        film=_film(attempt.state.clip, stills) if attempt.state.clip else None,
        offer=offer,
    )


def _film(clip: Clip, stills: Mapping[str, str | None]) -> Film:
    sound = "sound" if clip.has_audio else "no sound"
    return Film(
        file=clip.file,
        src=_url(clip.file) if clip.file in stills else "",
        poster=_url(stills.get(clip.file) or ""),
        width=clip.width,
        height=clip.height,
        measured=f"{clip.width}×{clip.height} · {clip.seconds:.1f} s · {sound}",
    )


def _url(path: str) -> str:
    """A path below the run folder as a relative URL: no scheme, no query, no way upwards."""
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    return "/".join(quote(part, safe="", errors="replace") for part in parts)


# ── money ───────────────────────────────────────────────────────────────────────────────────────


def _cost(attempts: Sequence[Attempt]) -> str:
    """What some attempts cost, as sure as it is known; empty where nothing was sent."""
    if not attempts:
        return ""
    counted = [a for a in attempts if charged(a.state) is not Charged.NO]
    if not counted:
        return "not charged"
    if any(a.intent.est_cost is None for a in counted):
        return "price unknown"
    sure = all(charged(a.state) is Charged.YES for a in counted)
    return f"{'' if sure else 'up to '}{money(spent(counted))}"
