"""What paid tasks have brought in this run, and what that means for buying more. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from typing import Final

SEVERAL: Final = 3
"""Clips that do not arrive, from which buying waits while this run has brought none yet."""


class Useless(StrEnum):
    """How a paid task gave no good clip, in words that complete *3 of them …*."""

    FAILED = "failed"
    EXPIRED = "expired"
    MISMATCH = "not what was asked for"
    UNDELIVERED = "could not be fetched"


class Returns:
    """Counts, in a row, what was bought and gave no good clip; a clip that arrives ends the row.

    ``limit`` is ``--max-failures``: at so many buying ends. None: never. Buying waits meanwhile
    where clips that were paid do not arrive: more of them would share their fate.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._arrived = False
        self._failed_in_a_row = 0
        self._useless: dict[int, tuple[Useless, str]] = {}
        self._late: dict[int, str] = {}
        """Clips that were asked for in vain, and may still come; each counts once."""

    def arrived(self, attempt_id: int) -> None:
        """A good clip is on disk."""
        self._arrived = True
        self._failed_in_a_row = 0
        self._useless.clear()
        self._late.clear()

    def made(self) -> None:
        """A task succeeded; its clip is still to be fetched."""
        self._failed_in_a_row = 0

    def late(self, attempt_id: int, why: str) -> None:
        """A clip was asked for in vain, and is asked for again."""
        self._late[attempt_id] = why

    def useless(self, attempt_id: int, how: Useless, why: str) -> None:
        """A paid task gave no good clip, at least not in this run."""
        self._late.pop(attempt_id, None)
        self._failed_in_a_row += how is Useless.FAILED and attempt_id not in self._useless
        self._useless.setdefault(attempt_id, (how, why))

    def waits(self, coming: Collection[int]) -> bool:
        """Whether to buy nothing now; ``coming`` are paid clips that may still arrive in this run.

        Only while one of those can settle it.
        """
        if self._limit is None or not coming:
            return False
        late = len(self._late.keys() & set(coming))
        if not self._arrived and (late >= min(SEVERAL, self._limit) or len(coming) >= self._limit):
            return True
        return late + len(self._useless) >= self._limit

    def is_held(self, coming: Collection[int]) -> bool:
        """Whether `waits` has a reason that a person wants to know."""
        return bool(self._late) and self.waits(coming)

    def is_over(self, coming: Collection[int]) -> bool:
        """Whether to buy nothing more in this run.

        Failed tasks alone decide it at once; else a clip that was not asked for in vain yet may
        still end the row.
        """
        if self._limit is None or len(self._useless) < self._limit:
            return False
        return self._failed_in_a_row >= self._limit or not set(coming) - self._late.keys()

    @property
    def missing(self) -> str:
        """Which paid clips are waited for, and the last reason why one did not come."""
        return f"{len(self._late)} paid clips do not arrive ({list(self._late.values())[-1]})"

    @property
    def verdict(self) -> str:
        """What came in place of clips, and why that is of no use."""
        counts = Counter(how for how, _ in self._useless.values())
        whys = {how: f" ({why})" for how, why in self._useless.values() if why}
        if counts.keys() == {Useless.FAILED}:
            return f"{len(self._useless)} rows failed in a row{whys.get(Useless.FAILED, '')}"
        parts = ", ".join(f"{count} {how}{whys.get(how, '')}" for how, count in counts.items())
        return f"{len(self._useless)} rows in a row gave no good clip: {parts}"
