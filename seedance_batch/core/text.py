"""Texts as they are shown: in words for people, as JSON for programs, in the cells of our sheets.

Pure, and light to import."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil
from typing import Any, Final

# ── Counts, lengths of time, sizes and moments in words for people; light to import ───────────────


def some(count: int, noun: str) -> str:
    """A count with its noun: ``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def first_few(names: Sequence[str], most: int) -> str:
    """Names in a row, ``most`` of them at most: ``a, b and 3 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def spaced(name: str) -> str:
    """A status or phase as people write it: ``in flight``."""
    return name.replace("_", " ")


def span(seconds: float) -> str:
    """A length of time for people: ``40 s``, ``7 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{ceil(seconds)} s"
    hours, minutes = divmod(ceil(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


def size(count: int) -> str:
    """A number of bytes for people, in powers of a thousand: ``3.2 MB``."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        shown = f"{amount:.3g}"
        if float(shown) < 1000:  # rounded first: 999,999 bytes are 1 MB
            return f"{shown} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def moment(at: float) -> str:
    """Unix seconds as events name them: ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def clock_words(at: float) -> str:
    """Unix seconds for people: ``2026-11-27 12:03:44 UTC``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# ── What programs are told, as `cli/output.schema.json` has it ────────────────────────────────────


OUTPUT_VERSION: Final = 1
"""Of the objects that ``--json`` prints; raised where a field goes, or means something else."""


def enveloped(event: str, at: float, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An object of the kind ``event``, made at ``at``, in Unix seconds."""
    return {"event": event, "version": OUTPUT_VERSION, "time": moment(at), **fields}


def in_usd(amount: Decimal | None) -> str | None:
    """An amount of US dollars, exact and without an exponent; None where it is not known."""
    return None if amount is None else f"{amount:f}"


def json_line(value: Mapping[str, Any]) -> str:
    """An object on one line that UTF-8 can hold, whatever its texts are."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON can escape it
        return json.dumps(value)
    return text


# ── Words that came from elsewhere, fit to be seen: without secrets, printable, cut where long ────
# Pure. What is hidden: API keys, webhook secrets, bearer tokens, user and password in a URL, the
# query and fragment of every URL (signatures live there), the content of data URIs.


HIDDEN: Final = "[hidden]"

_END: Final = r"[^\s\"'<>]"
"""What a URL or a token goes on with."""

_RULES: Final = (
    (rf"\bdata:[\w.+-]*/?[\w.+-]*(?:;[\w.+=-]+)*,{_END}*", f"data:{HIDDEN}"),
    (r"\b([a-z][a-z0-9+.-]*://)[^\s/?#@\"'<>]+@", rf"\1{HIDDEN}@"),
    (rf"\b([a-z][a-z0-9+.-]*://[^\s?#\"'<>]*)[?#]{_END}+", rf"\1?{HIDDEN}"),
    (rf"\b(authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic)\s+)?{_END}+", rf"\1{HIDDEN}"),
    # Without that word before it: a token has more in it than letters, unlike "basic lighting".
    (
        r"\b(bearer|basic)(?:\s+|%20)(?=[\w.~+/=-]*(?:[\d._+/=-]|(?-i:[a-z][A-Z])))[\w.~+/=-]{6,}",
        rf"\1 {HIDDEN}",
    ),
    (r"(?<![\w-])((?:hi-)?sk-|whsec_)[\w.+/=-]+", rf"\1{HIDDEN}"),
    (
        r"\b([\w-]*(?:signature|token|secret|password|api[_-]?key)|(?:[\w-]*[_-])?sig(?:n)?)"
        r"(=|[\"']\s*:\s*[\"'])(?!sk-…(?:\s|$))[^\s&\"'<>]+",
        rf"\1\2{HIDDEN}",
    ),
)
_PATTERNS: Final = tuple((re.compile(rule, re.IGNORECASE), shown) for rule, shown in _RULES)


def redact(text: str) -> str:
    """The text with every secret replaced."""
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


_READ: Final = 40
"""How much of a text is looked at, in multiples of what may be shown: redacting shortens it."""


def shown(text: str, longest: int | None = None, *, one_line: bool = False) -> str:
    """Text from elsewhere, safe to print: no secrets, control characters escaped.

    ``longest`` cuts it, in characters; ``one_line`` makes all white space single blanks.
    """
    plain = redact(text if longest is None else text[: _READ * longest])
    if one_line:
        plain = " ".join(plain.split())
    if longest is not None:
        plain = plain[: longest + 1]
    if not plain.isprintable():
        plain = "".join(map(_escaped, plain))
    return plain if longest is None or len(plain) <= longest else f"{plain[:longest]}…"


def _escaped(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


# ── The columns of our own sheets: names, order, and how a header that has them is known ──────────
# The writer lays sheets out by it, the reader recognises them by it.


RESULT_COLUMNS: Final = (
    "row",
    "id",
    "status",
    "error_class",
    "reason",
    "message",
    "next_step",
    "attempts",
    "task_id",
    "model",
    "resolution",
    "duration",
    "aspect_ratio",
    "kind",
    "est_cost_usd",
    "row_cost_usd",
    "charged",
    "video_file",
    "last_frame_file",
    "video_url",
    "url_expires_at",
    "media_ok",
    "got_duration",
    "got_resolution",
    "bytes",
    "sha256",
    "submitted_at",
    "finished_at",
    "made_from",
)
"""Our block, in the order in which it follows the person's own columns, without a gap."""

INPUT_COLUMNS: Final = ("id", "model", "resolution", "duration", "aspect_ratio")
"""Those of our columns that are a row's inputs: an edit there is an edit of the row."""

PREFIX: Final = "sb_"
"""Set before one of our names where the person has a column of that name."""

_ENOUGH: Final = 10
"""So many of our names, in our order, make a header one of ours; people delete columns."""


def folded(heading: str) -> str:
    """How two headings are compared: NFC, without case and outer white space."""
    return unicodedata.normalize("NFC", heading).strip().casefold()


def result_columns(
    person_columns: Iterable[str], given_inputs: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Our block beside these columns: (name, heading) pairs in order.

    An input that the person has is left out: theirs is the one. ``given_inputs`` names those that
    they have under a heading of another name (``seconds`` read as ``duration``). Of another name
    of ours, theirs keeps it, and ours has a prefix more than theirs.
    """
    theirs: dict[str, int] = {}
    for prefixes, name in map(_unprefixed, person_columns):
        theirs[name] = max(prefixes, theirs.get(name, 0))
    given = {name for name in INPUT_COLUMNS if name in given_inputs or name in theirs}
    return [
        (name, PREFIX * (theirs.get(name, -1) + 1) + name)
        for name in RESULT_COLUMNS
        if name not in given
    ]


def our_columns(header: Sequence[str]) -> dict[int, str]:
    """Where a sheet's header holds our block: index → our name, empty if it is no sheet of ours.

    What is not in the answer is the person's own, also where it bears one of our names. Columns
    may have been deleted, or put in between; one that was moved counts as the person's. The names
    in `INPUT_COLUMNS` are to be read as inputs, the rest was written by us and is no input.
    """
    chain = _longest_chain(_candidates(header))
    known = sum(name not in INPUT_COLUMNS for name in chain.values())
    return chain if known >= _ENOUGH else {}


def _candidates(header: Sequence[str]) -> list[tuple[int, str]]:
    """The (index, our name) of headings that may be ours: of one name the most prefixed."""
    found = [(i, *_unprefixed(heading)) for i, heading in enumerate(header)]
    most = {name: prefixes for prefixes, name in sorted(f[1:] for f in found)}
    return [(i, name) for i, prefixes, name in found if name in _ORDER and most[name] == prefixes]


def _unprefixed(heading: str) -> tuple[int, str]:
    """How many prefixes a heading has, and what stands behind them; inputs never have one."""
    whole = name = folded(heading)
    prefixes = 0
    while name.startswith(PREFIX):
        name, prefixes = name.removeprefix(PREFIX), prefixes + 1
    return (0, whole) if name in INPUT_COLUMNS else (prefixes, name)


_ORDER: Final = {name: position for position, name in enumerate(RESULT_COLUMNS)}


_Chain = tuple[tuple[int, str], ...]
"""(index in the header, our name) pairs that keep our order."""


def _longest_chain(candidates: Sequence[tuple[int, str]]) -> dict[int, str]:
    """The longest run of candidates that keeps our order; of equals the one furthest right.

    The person's columns come first, so a ``status`` of theirs never wins over ours behind it.
    """
    best: dict[int, _Chain] = {}
    """Our position → the best chain that begins with it, looking from the right."""
    for index, name in reversed(candidates):
        here = _ORDER[name]
        tail = max((best[p] for p in best if p > here), default=(), key=len)
        if len(tail) + 1 > len(best.get(here, ())):
            best[here] = ((index, name), *tail)
    longest = max(best.values(), default=(), key=lambda chain: (len(chain), chain[0][0]))
    return dict(longest)


# ── What a cell of our own sheets does to a text: the CSV's guard, the workbook's limits ──────────
# The writer guards and marks, the reader takes the guard off again and refuses a marked text.
# Nobody else's sheets carry either.


_APOSTROPHE: Final = "'"

_RISKY: Final = re.compile(
    r"""'*(?:                       # apostrophes count along, so that typed ones stay reversible
        [\x00-\x1f]                 # TAB, CR, LF: some programs drop these, and then look again
        | [ \xa0]*[=@＝＠]          # spreadsheets also take the full-width forms
        | [ \xa0]*[+\-＋－](?!(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?\Z)
    )""",
    re.VERBOSE,
)
"""A cell that a spreadsheet program could evaluate; plain numbers with a sign are none."""


def guarded(text: str) -> str:
    """The text as it stands in a CSV cell: an apostrophe before what could be a formula.

    Nothing is lost: ``unguarded(guarded(text)) == text`` for every text, also for ``'=x``.
    """
    return _APOSTROPHE + text if _RISKY.match(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given; only for cells of our own CSV sheets."""
    if text.startswith(_APOSTROPHE) and _RISKY.match(text, 1):
        return text[1:]
    return text


CELL_LIMIT: Final = 32_767
"""UTF-16 code units that a cell of a workbook can hold."""

_MARK: Final = " […not as it was: a workbook's cell cannot hold this text, results.csv does]"

_UNSTORABLE: Final = re.compile(r"[\ud800-\udfff\ufffe\uffff]")
"""No spelling that a workbook knows; its own for the control characters is xlsxwriter's work."""


def stored(text: str) -> str:
    """The text as a workbook's cell can hold it, with a mark at its end where it is another."""
    kept = _UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if len(kept) > CELL_LIMIT // 2 and _units(kept) > CELL_LIMIT:
        room = 2 * (CELL_LIMIT - len(_MARK))
        kept = kept.encode("utf-16-le")[:room].decode("utf-16-le", "ignore")
    return text if kept == text and not _taken_for_markup(text) else kept + _MARK


def was_altered(text: str) -> bool:
    """Whether `stored` marked this text; such a cell must never be read as an input."""
    return text.endswith(_MARK)


def _taken_for_markup(text: str) -> bool:
    # xlsxwriter writes such a text unescaped, as a rich string that it takes for its own; with
    # the mark behind it, it is text like any other.
    return text.startswith("<r>") and text.endswith("</r>")


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def is_part(name: str) -> bool:
    """Whether a sheet of ours of that name holds only the rows that have no good clip."""
    return name.startswith("failed")
