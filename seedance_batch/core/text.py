"""Texts for people and programs: counts and sizes in words, foreign words fit to be shown, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
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


_PART: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,]*?))\s*(?:,|$)')


def comma_parts(text: str) -> list[str]:
    """The parts of ``a, b, "c, at dusk"``: quotes are around one with a comma, as in CSV."""
    found = (match[2] or (match[1] or "").replace('""', '"') for match in _PART.finditer(text))
    return [part.strip() for part in found if part.strip()]


def with_commas(parts: Iterable[str]) -> str:
    """What `comma_parts` reads as these parts."""
    return ",".join(map(_quoted, parts))


def _quoted(part: str) -> str:
    return '"' + part.replace('"', '""') + '"' if re.search('[,"]', part) else part


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
