"""What a person may say about how a manifest is to be read. Values only, and light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from seedance_batch.model import Allow

MAX_BODY: Final = 10 * 1024 * 1024
"""Bytes of a request that an old page of HiAPI's allows; newer tools assume more."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Flags of `read`; the defaults read any manifest that needs no explanation."""

    sheet: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    column_map: Mapping[str, str] = field(default_factory=dict)
    """Input field → heading, for headings that are not recognised by themselves."""
    model: str | None = None
    """Sent for every row, whatever the row says."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Input field → text, set in every row; an empty text takes the field away.

    They change what is sent (`Job.content`), not who a row is (`Job.key`).
    """
    allow: Allow | None = None
    """None allows what the documentation allows."""
    allow_outside: bool = False
    """Let rows name files outside the manifest's folder."""
    max_body: int = MAX_BODY
    """Bytes that one request may have, local media included."""
    folder: Path | None = None
    """Where relative paths begin; None means the manifest's own folder."""
