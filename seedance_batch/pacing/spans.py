"""How long generations take, learned from those that ended: a survival curve over their age."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import Final

_FIRST: Final = 0.25
"""Seconds: the end of the first bin."""
_GROWTH: Final = math.log(1.12)
_BINS: Final = 100
"""Up to 20,000 s in steps of 12 %, half of what generations of one size scatter."""
_KERNEL: Final = (0.1, 0.2, 0.4, 0.2, 0.1)
"""A measured length speaks for its neighbours as well."""
_KEEP: Final = 0.98
"""What a new length leaves of the older ones: about the last fifty count."""
_DOUBT: Final = 0.02
"""Share of tasks that end at any age at all: those that fail early, those that take ages."""
_TRUST: Final = 1.5
"""Lengths of which half is believed."""
_EDGES: Final = tuple(_FIRST * math.exp(number * _GROWTH) for number in range(_BINS + 1))


@dataclass(slots=True)
class Spans:
    """Lengths of generations of one kind, in seconds."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    _bins: list[float] = field(default_factory=lambda: [0.0] * _BINS)
    _curve: list[float] = field(default_factory=list)
    """Share of generations that are not over, at each edge; drawn when it is asked for."""
    _area: list[float] = field(default_factory=list)
    """The area below that curve, up to each edge."""

    def learned(self, seconds: float) -> None:
        """One more ended after so long."""
        self.recent.append(seconds)
        self._bins = [weight * _KEEP for weight in self._bins]
        for number, weight in enumerate(_KERNEL, _bin(seconds) - 2):
            self._bins[min(max(number, 0), _BINS - 1)] += weight
        self._curve.clear()

    def typical(self) -> float:
        """The median; there must be one length at least."""
        return median(self.recent)

    def waited(self, then: float, now: float) -> float:
        """Seconds that a generation has been over, on average, at the age ``now``.

        It was known not to be over at the age ``then``. With S the curve, it is over by the age a
        with probability 1 - S(a)/S(then); what it has waited is that, summed over all ages from
        ``then`` to ``now``: their distance, less the area below S between them, over S(then).
        """
        area, alive = self._below(then)
        return (now - then) - (self._below(now)[0] - area) / alive

    def _below(self, age: float) -> tuple[float, float]:
        """Area below the curve up to an age, and the curve's height there."""
        if age <= _FIRST:
            return age, 1.0
        if not self._curve:
            self._draw()
        number = _bin(age)
        rest = age - _EDGES[number]
        here, there = self._curve[number], self._curve[min(number + 1, _BINS)]
        slope = (there - here) / (_EDGES[number] * (math.exp(_GROWTH) - 1.0))
        height = here + slope * rest
        return self._area[number] + rest * (here + height) / 2, height

    def _draw(self) -> None:
        """The curve: what was learned, and doubt where little was.

        A mixture: after n lengths doubt weighs 1.5/(1.5 + n), so that the first of them do not
        decide alone, and never less than 2 %, so that the curve never falls to nothing. The area
        is summed in trapezoids, one a bin.
        """
        total = left = sum(self._bins)
        doubt = max(_DOUBT, _TRUST / (_TRUST + total))
        self._curve, self._area = [1.0], [_FIRST]
        for number in range(_BINS):
            left = max(0.0, left - self._bins[number])
            known = left / total if total else 1.0
            self._curve.append((1 - doubt) * known + doubt * _UNKNOWN[number + 1])
            width = _EDGES[number + 1] - _EDGES[number]
            self._area.append(self._area[-1] + width * sum(self._curve[-2:]) / 2)


def _bin(seconds: float) -> int:
    """The bin that a length falls into; the last one takes all that are longer."""
    return min(max(0, int(math.log(max(seconds, _FIRST) / _FIRST) / _GROWTH)), _BINS)


_UNKNOWN: Final = tuple(
    max(1e-6, 1.0 - math.log(edge / _FIRST) / math.log(2 * _EDGES[-1] / _FIRST)) for edge in _EDGES
)
"""Survival where nothing is known: every order of magnitude is as likely as any other."""
