"""Where tasks stand in the service's list, newest first, as far as creates and pages tell."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final

PAGE_SIZE: Final = 100
"""The most that the service shows on a page."""


@dataclass(slots=True)
class Places:
    """Every create pushes older tasks one place down, so one sighting tells all later places.

    Tasks that others make on the same account push as well, unseen; then a page lacks a task,
    which is looked for further down.
    """

    size: int = PAGE_SIZE
    """Entries on a page, as the service last returned it: it need not be what was asked for."""
    _made: int = 0
    _number: dict[str, int] = field(default_factory=dict)
    """By task: how many tasks were made up to it, in our count."""

    def made(self, task_id: str) -> None:
        """A create was accepted: the task is the newest."""
        self._made += 1
        self._number[task_id] = self._made

    def shown(self, page: int, task_ids: Iterable[str], size: int, ours: Container[str]) -> None:
        """A list page, the size that the service says it has, and which tasks matter here."""
        if size > 0:
            self.size = size
        for place, task_id in enumerate(task_ids, (page - 1) * self.size):
            if task_id in ours:
                self._number[task_id] = self._made - place

    def page_of(self, task_id: str) -> int | None:
        """The page, from 1, on which a task should stand; None where nothing is known."""
        number = self._number.get(task_id)
        return None if number is None else (self._made - number) // self.size + 1

    def missed(self, task_id: str, page: int) -> None:
        """The task was not on that page: it should be on the next."""
        self._number[task_id] = self._made - page * self.size

    def forget(self, task_id: str) -> None:
        """The task ended, or cannot be found in the list."""
        self._number.pop(task_id, None)
