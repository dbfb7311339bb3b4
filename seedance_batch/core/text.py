"""Texts for people: counts, times and sizes in words, and foreign words made fit to be shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import ceil
from typing import Final

# ── Counts, lengths of time, sizes and moments in words for people; light to import ───────────────


def some(count: int, noun: str) -> str:
    """A count with its noun: ``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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
