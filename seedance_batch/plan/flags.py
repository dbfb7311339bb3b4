"""Flags that change bodies: which rows were made with which, and what that means for them.

Flags speak for the rows that they buy. Such a row keeps them until other flags ask otherwise, and
is then made anew only on demand; an edited cell is another matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from seedance_batch.manifest import Job
from seedance_batch.plan.changes import changed_fields
from seedance_batch.state import Attempt

BodyFlags = Mapping[str, str]
"""Names as `batch.opening.body_flags` gives them (``set resolution``, ``model``), and values."""


def _plain(_: Attempt) -> BodyFlags:
    return {}


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of a command, and those that earlier attempts were made with."""

    now: BodyFlags = field(default_factory=dict)
    made_with: Callable[[Attempt], BodyFlags] = _plain
    remake: bool = False
    """Rows that were made with other flags are made anew."""

    def alone(self, job: Job, last: Attempt) -> bool:
        """Whether flags, and no edit, tell the row from what it was last sent as."""
        differing = {name for name, _, _ in self._differences(last)}
        changed = changed_fields(last.intent.template, job)
        return not self.remake and bool(changed) and changed <= differing

    def asked(self, job: Job, last: Attempt) -> tuple[str, ...]:
        """What today's flags ask of the row that its attempt is not, in words; empty: nothing."""
        changed = changed_fields(last.intent.template, job)
        return tuple(
            f"--{'model' if name == 'model' else f'set {name}'} {old or 'unset'} → {new}"
            for name, old, new in self._differences(last)
            if new is not None and name in changed
        )

    def _differences(self, last: Attempt) -> list[tuple[str, str | None, str | None]]:
        """Input fields that are set otherwise, then and now."""
        then, now = _by_field(self.made_with(last)), _by_field(self.now)
        names = sorted(then.keys() | now.keys())
        return [(n, then.get(n), now.get(n)) for n in names if then.get(n) != now.get(n)]


def _by_field(flags: BodyFlags) -> dict[str, str]:
    return {name.removeprefix("set "): value for name, value in flags.items()}
