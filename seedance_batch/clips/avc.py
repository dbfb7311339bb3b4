"""H.264 in an MP4: its parameter sets, and encoded frames as they stand between copied ones.

Copied and encoded frames in one track have parameter sets of different numbers, so that a player
that reads the track's head once knows both (ISO/IEC 14496-15, 5.2.4.1; ITU-T H.264, 7.3.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SEQUENCE: Final = 7
_PICTURE: Final = 8
_HIGH: Final = frozenset({100, 110, 122, 144})
"""Profiles whose head goes on with the depth of colours."""
_PLAIN_420: Final = bytes([0xFD, 0xF8, 0xF8, 0])
"""4:2:0 of 8 bits, which is what is copied and encoded here."""
_START: Final = re.compile(rb"\x00{2,3}\x01")


@dataclass(frozen=True, slots=True)
class Parameters:
    """A track's parameter sets, each a whole unit with its first byte."""

    sequence: tuple[bytes, ...]
    picture: tuple[bytes, ...]

    @classmethod
    def of_track(cls, head: bytes) -> Parameters | None:
        """Of an MP4's ``avcC``; None for what is none, or has units of another kind of length."""
        if len(head) < 7 or head[0] != 1 or head[4] & 3 != 3:
            return None
        try:
            sequence, at = _units(head, 6, head[5] & 31)
            picture, _ = _units(head, at + 1, head[at])
        except IndexError:
            return None
        return cls(sequence, picture) if sequence and picture else None

    @classmethod
    def of_encoder(cls, stream: bytes) -> Parameters:
        """Of units with start codes, as an encoder gives them."""
        units = _units_of(stream)
        return cls(
            tuple(unit for unit in units if unit[0] & 31 == _SEQUENCE),
            tuple(unit for unit in units if unit[0] & 31 == _PICTURE),
        )

    @property
    def free_number(self) -> int:
        """The lowest number that no set has."""
        taken = {_exp_golomb(unit[4:]) for unit in self.sequence}
        taken |= {_exp_golomb(unit[1:]) for unit in self.picture}
        return next(number for number in range(32) if number not in taken)

    def with_others(self, others: Parameters) -> Parameters:
        """Both together."""
        return Parameters(self.sequence + others.sequence, self.picture + others.picture)

    def as_track(self) -> bytes:
        """An ``avcC`` that promises the highest profile and level among them."""
        profile = max(unit[1] for unit in self.sequence)
        constraints, level = 0xFF, max(unit[3] for unit in self.sequence)
        for unit in self.sequence:
            constraints &= unit[2]
        out = bytes([1, profile, constraints, level, 0xFF, 0xE0 | len(self.sequence)])
        out += b"".join(_with_length(unit, 2) for unit in self.sequence)
        out += bytes([len(self.picture)])
        out += b"".join(_with_length(unit, 2) for unit in self.picture)
        return out + (_PLAIN_420 if profile in _HIGH else b"")


def in_track(packet: bytes) -> bytes:
    """An encoder's packet as an MP4 holds it: each unit after its length."""
    return b"".join(_with_length(unit, 4) for unit in _units_of(packet))


def _units_of(stream: bytes) -> list[bytes]:
    """The units between start codes; no unit can hold one (H.264, 7.4.1)."""
    return [unit for unit in _START.split(stream) if unit]


def _with_length(unit: bytes, width: int) -> bytes:
    return len(unit).to_bytes(width) + unit


def _units(head: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    """So many units, and where they end."""
    found = []
    for _ in range(count):
        length = int.from_bytes(head[at : at + 2])
        unit = head[at + 2 : at + 2 + length]
        if len(unit) < length or length < 2:
            raise IndexError
        found.append(unit)
        at += 2 + length
    return tuple(found), at


def _exp_golomb(content: bytes) -> int:
    """The number that a unit's content begins with (H.264, 9.1)."""
    bits = f"{int.from_bytes(content[:8].ljust(8, bytes(1))):064b}"
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
