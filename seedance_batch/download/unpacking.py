"""Files that a host packs although that was not asked for: unpacked bit by bit, never a bomb."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from seedance_batch.download.answers import Cut, Ended
from seedance_batch.download.results import Failed

_PIECE: Final = 1 << 20
"""Bytes that come out at a time, however many they would be."""
_MOST_TIMES: Final = 50
_FREELY: Final = 32 << 20
"""Bytes up to which nothing is said about how far a file unpacks; videos hardly do."""
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


class Unpacker:
    """Takes the packed bytes as they come, and gives the file's own."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._inner = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._taken = self._given = 0

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """The bytes that ``chunk`` holds, piece by piece. Raises `Cut` or `Ended`."""
        self._taken += len(chunk)
        try:
            while chunk:
                piece = self._inner.decompress(chunk, _PIECE)
                self._given += len(piece)
                self._check_growth()
                yield piece
                chunk = self._inner.unconsumed_tail
        except zlib.error as error:
            message = f"the file is no {self._encoding}: {error}"
            raise Cut(message, distrusted=True) from error

    def end(self) -> None:
        """No more bytes come. Raises `Cut` where some are missing."""
        if not self._inner.eof:
            raise Cut(f"the file ended amid its {self._encoding}", distrusted=True)

    def _check_growth(self) -> None:
        if self._given > max(_FREELY, _MOST_TIMES * self._taken):
            message = f"the file grows beyond measure when it is unpacked ({self._encoding})"
            raise Ended(Failed(message, ours=True))
