"""Where reading puts what it notices."""

from __future__ import annotations

from collections.abc import Iterator

from seedance_batch.manifest import Finding, Place, Severity


class Noted:
    """Everything noticed so far, in order."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def problem(self, place: Place, message: str) -> None:
        """Nothing may be sent while this stands."""
        self._findings.append(Finding(Severity.PROBLEM, place, message))

    def warning(self, place: Place, message: str) -> None:
        """It will be sent as it is; somebody should look first."""
        self._findings.append(Finding(Severity.WARNING, place, message))

    def receipt(self, place: Place, message: str) -> None:
        """What was repaired or assumed."""
        self._findings.append(Finding(Severity.RECEIPT, place, message))
