"""Findings as people and programs read them: one line per cause, or JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

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
    """One line per cause: ``shots.xlsx!Sheet1!D17 and 41 more: …``, in order of first sight."""
    groups: dict[tuple[str, str, str | None, str | None, str], list[Place]] = {}
    for found in findings:
        place = found.place
        cause = (found.severity.value, place.file, place.sheet, place.column, found.message)
        groups.setdefault(cause, []).append(place)
    return [f"{_places(places)}: {cause[-1]}" for cause, places in groups.items()]


def _places(places: list[Place]) -> str:
    others = len(set(places)) - 1
    return f"{places[0]} and {others:,} more" if others else str(places[0])
