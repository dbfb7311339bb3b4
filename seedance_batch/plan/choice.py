"""Which rows a rerun makes again: failures by their class, and takes that a person wants anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from seedance_batch.state import ErrorClass, TakeName

_CONTENT: Final = frozenset({ErrorClass.INVALID, ErrorClass.REFUSED, ErrorClass.PERMANENT})
"""The row's own fault: the same again would fail again."""
_PAID: Final = frozenset({ErrorClass.EXPIRED, ErrorClass.MEDIA_MISMATCH})
"""Paid for already: only a person who names them pays again."""


@dataclass(frozen=True, slots=True)
class RerunChoice:
    """Which failed rows a rerun takes.

    ``classes`` None means transient and released failures (with ``force`` also those that are the
    row's own fault); given, these classes only. ``keys`` None means every row.
    """

    classes: frozenset[ErrorClass] | None = None
    force: bool = False
    keys: Collection[str] | None = None
    redo: Mapping[str, TakeName] = field(default_factory=dict)
    """Rows to make anew although they are done, each with the take that the wish was for. A later
    take answers it, however it was made; so the same wish never buys two."""

    def takes(self, error_class: ErrorClass) -> bool:
        """Whether an unchanged row that failed so is tried again."""
        if is_content(error_class) and not self.force:
            return False
        if self.classes is None:
            return not is_paid(error_class)
        return error_class in self.classes

    def only_redo(self) -> RerunChoice:
        """The same wishes for takes, and no failure: to see which of them were answered."""
        return replace(self, classes=frozenset(), force=False)


def is_content(error_class: ErrorClass) -> bool:
    """Whether a failure is the row's own fault."""
    return error_class in _CONTENT


def is_paid(error_class: ErrorClass) -> bool:
    """Whether a failure has surely cost money."""
    return error_class in _PAID
