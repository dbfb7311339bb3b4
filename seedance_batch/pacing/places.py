"""Where tasks stand in the service's list, newest first, as far as creates and pages tell."""

from __future__ import annotations

from collections.abc import Container, Sequence
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
    _held: int | None = None
    """The most entries that a page was seen to hold, where that is less than its size says."""
    _made: int = 0
    _number: dict[str, int] = field(default_factory=dict)
    """By task: how many tasks were made up to it, in our count."""

    def made(self, task_id: str) -> None:
        """A create was accepted: the task is the newest."""
        self._made += 1
        self._number[task_id] = self._made

    def shown(
        self, page: int, task_ids: Sequence[str], size: int, ours: Container[str], total: int = 0
    ) -> None:
        """A list page, the size that the service says it has, and which tasks matter here.

        ``total`` counts the tasks of all pages.
        """
        if size > 0:
            self.size = self._real_size(page, len(task_ids), size, total)
        for place, task_id in enumerate(task_ids, (page - 1) * self.size):
            if task_id in ours:
                self._number[task_id] = self._made - place

    def _real_size(self, page: int, count: int, size: int, total: int) -> int:
        """A page that is half empty although more tasks follow holds no more than that."""
        if self._held is not None and count > self._held:
            self._held = None
        held = self._held or size
        more_follow = total > (page - 1) * held + count
        if 0 < 2 * count <= size and more_follow:
            self._held = max(count, self._held or 0)
        return min(size, self._held or size)

    def is_last(self, page: int, count: int, total: int) -> bool:
        """Whether no page comes after one that holds so many tasks, of so many in all."""
        return not count or page * self.size >= total

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
