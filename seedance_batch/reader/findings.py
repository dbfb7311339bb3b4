"""Findings as people and programs read them: one line per cause, or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypedDict

MOST_PLACES: Final = 12
"""Places that one line names; the rest is counted."""

if TYPE_CHECKING:
    from seedance_batch.manifest import Finding, Place


class FindingObject(TypedDict):
    """A finding as JSON."""

    severity: str
    file: str
    sheet: str | None
    line: int | None
    column: str | None
    message: str


def as_json(findings: Iterable[Finding]) -> list[FindingObject]:
    """One object per finding, ungrouped; ``column`` is the heading as the person wrote it."""
    return [
        FindingObject(
            severity=found.severity.value,
            file=found.place.file,
            sheet=found.place.sheet,
            line=found.place.line,
            column=found.place.column,
            message=found.message,
        )
        for found in findings
    ]


def grouped(findings: Iterable[Finding]) -> list[str]:
    """One line per cause: ``shots.xlsx!Sheet1!D17, D18: …``, in order of first sight."""
    groups: dict[tuple[str, str, str | None, str | None, str], list[Place]] = {}
    for found in findings:
        place = found.place
        cause = (found.severity.value, place.file, place.sheet, place.column, found.message)
        groups.setdefault(cause, []).append(place)
    return [f"{_places(places)}: {cause[-1]}" for cause, places in groups.items()]


def _places(places: list[Place]) -> str:
    """The first in full, then where else it is: cells of a sheet, lines of a text."""
    first, *others = dict.fromkeys(places)
    if not others:
        return str(first)
    shown = others[: MOST_PLACES - 1]
    if first.sheet is None:
        listed = f" and line{'s'[: len(others) > 1]} {', '.join(str(p.line or p) for p in shown)}"
    else:
        listed = "".join(f", {place.letter or ''}{place.line}" for place in shown)
    left = len(others) - len(shown)
    return f"{first}{listed}{f' and {left:,} more' if left else ''}"
