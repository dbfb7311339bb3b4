"""How long things take: a task's phases as a pure function of its times and now."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """A task's status as HiAPI documents it."""

    QUEUED = "queued"
    HANDLING = "handling"
    ARCHIVING = "archiving"
    SUCCESS = "success"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class GenerationTime:
    """A fixed number of seconds (sigma 0), or log-normal around a median."""

    median: float
    sigma: float = 0.0

    @classmethod
    def parse(cls, text: str) -> GenerationTime:
        """Reads ``130`` or ``lognormal:130:0.25``; raises ValueError."""
        kind, _, rest = text.partition(":")
        median, sigma = rest.split(":") if kind == "lognormal" else (text, "0")
        made = cls(float(median), float(sigma))
        if not (0 <= made.median < math.inf and 0 <= made.sigma < math.inf):
            raise ValueError("a generation time is finite and not negative")
        return made

    def sample(self, seed: str) -> float:
        """The seconds that belong to this seed."""
        if not self.sigma:
            return self.median
        normal = random.Random(seed).normalvariate(0, self.sigma)  # noqa: S311  (repeatable)
        return self.median * math.exp(normal)


@dataclass(frozen=True, slots=True)
class Times:
    """When a task enters each phase (Unix seconds)."""

    created: float
    handling: float
    archiving: float
    final: float

    def status(self, now: float, *, failed: bool) -> Status:
        """The phase at ``now``."""
        if now >= self.final:
            return Status.FAIL if failed else Status.SUCCESS
        if now >= self.archiving:
            return Status.ARCHIVING
        return Status.HANDLING if now >= self.handling else Status.QUEUED


_QUEUED_SHARE: Final = 8 / 130
"""Measured once: 8 of 130 seconds were queueing."""
_ARCHIVING_SHARE: Final = 4 / 130


def phases(created: float, seconds: float) -> Times:
    """The phases of a task that takes so many seconds in all."""
    return Times(
        created,
        created + seconds * _QUEUED_SHARE,
        created + seconds * (1 - _ARCHIVING_SHARE),
        created + seconds,
    )
