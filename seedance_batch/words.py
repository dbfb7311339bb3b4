"""Counts, lengths of time, sizes and moments in words for people; light to import."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil


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
