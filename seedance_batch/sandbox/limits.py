"""The request budget of a key: so many requests in any minute.

HiAPI's documentation (read in November 2026) names 60 requests a minute, polls included, ten tasks
at once, and the ``X-RateLimit-*`` headers; that the minute is a rolling one is our assumption.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Window:
    """The times of the requests that were let through within the last window."""

    times: deque[float] = field(default_factory=deque)

    def admit(self, now: float, limit: int, seconds: float) -> float:
        """0 if one more request may pass (and counts it), else how long until one may."""
        while self.times and self.times[0] <= now - seconds:
            self.times.popleft()
        if len(self.times) < limit:
            self.times.append(now)
            return 0.0
        return self.times[len(self.times) - limit] + seconds - now

    def headers(self, now: float, limit: int, seconds: float) -> dict[str, str]:
        """``X-RateLimit-*``: limit, what is left, and when the oldest request is forgotten."""
        reset = self.times[0] + seconds if self.times else now
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(max(limit - len(self.times), 0)),
            "x-ratelimit-reset": str(math.ceil(reset)),
        }
