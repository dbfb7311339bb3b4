"""Whether a row may be sent: every rule of the contract, with and without the overrides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import ValidationError

from seedance_batch.identity import content_hash
from seedance_batch.manifest import LocalMedia, Place
from seedance_batch.model import LONGEST_REFERENCE, Allow, MediaKind, TaskInput
from seedance_batch.reader.advice import advice
from seedance_batch.reader.layout import Column, Layout
from seedance_batch.reader.media_files import (
    LENGTH_SLACK,
    Found,
    encoded_size,
)
from seedance_batch.reader.noted import Noted
from seedance_batch.reader.table import Table
from seedance_batch.reader.wording import PLACEHOLDERS, refusals

_BODY_OVERHEAD: Final = 2_000
"""Bytes of a request besides its texts: names, quotes, a callback's address."""


@dataclass(slots=True)
class Reading:
    """A row while it is read: what its cells say, by input field."""

    table: Table
    index: int
    layout: Layout
    fields: dict[str, Any] = field(default_factory=dict)
    """Typed values; addresses as texts, local files as tokens."""
    refused: dict[str, str] = field(default_factory=dict)
    """Field → why its cell cannot be read."""
    found: dict[str, list[Found]] = field(default_factory=dict)
    """Media field → what it names."""

    def place(self, name: str) -> Place:
        """The cell of that field; the row where no column feeds it."""
        column = self.layout.column_of(name)
        return self.table.place(self.index) if column is None else self.cell(column)

    def cell(self, column: Column) -> Place:
        """The cell in that column."""
        return self.table.place(self.index, column.position, column.heading)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What flags set in every row. ``fields`` are typed; None takes a field away."""

    fields: Mapping[str, Any]
    found: Mapping[str, list[Found]]
    model: str | None = None

    def __bool__(self) -> bool:
        return bool(self.fields) or self.model is not None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided about a row; without an input it is not sent.

    The two hashes differ only where flags (``--set``, ``--model``) change a row: the key of a row
    without an id must not change with a flag, or its history would be lost and it would be bought
    anew; whether it is the same order must.
    """

    model: str
    base: str
    """Of the row as it is written: its key comes from this."""
    content: str = ""
    """Of what would be sent: equal ones are the same order. Empty where nothing is."""
    task_input: TaskInput | None = None
    media: tuple[LocalMedia, ...] = ()


class Judge:
    """Judges rows, and notes problems and advice with their places."""

    def __init__(self, noted: Noted, allow: Allow, max_body: int, overrides: Overrides) -> None:
        self._noted = noted
        self._allow = replace(allow, blobs=True)
        self._max_body = max_body
        self._overrides = overrides

    def judge(self, reading: Reading, model: str) -> Judgement:
        """The judgement of a row whose cells have been read."""
        written = reading.fields
        base = None
        if self._overrides:
            base = self._base(written, model)
            model = self._overrides.model or model
            reading.fields = self._overridden(reading)
        task_input = self._validated(reading)
        if task_input is None:
            return Judgement(model, base or _raw_hash(written, model))
        content = content_hash(model, task_input)
        for name, words in advice(task_input, model, reading.found):
            self._noted.warning(reading.place(name), words)
        return Judgement(model, base or content, content, task_input, _media(reading.found))

    def _base(self, fields: Mapping[str, Any], model: str) -> str:
        try:
            return content_hash(model, TaskInput.model_validate(fields, context=self._allow))
        except ValidationError:
            return _raw_hash(fields, model)

    def _overridden(self, reading: Reading) -> dict[str, Any]:
        fields = {**reading.fields, **self._overrides.fields}
        for name in self._overrides.fields:
            reading.refused.pop(name, None)
            reading.found.pop(name, None)
        reading.found.update(self._overrides.found)
        return {name: value for name, value in fields.items() if value is not None}

    def _validated(self, reading: Reading) -> TaskInput | None:
        if reading.found:
            self._refuse_media(reading)
        if not reading.refused:
            try:
                return TaskInput.model_validate(reading.fields, context=self._allow)
            except ValidationError as error:
                self._refuse(reading, error)
        self._look_on(reading)
        for name, why in reading.refused.items():
            self._noted.problem(reading.place(name), why)
        return None

    def _look_on(self, reading: Reading) -> None:
        """Check the rest of a row with stand-ins for what was refused, so as to say all at once."""
        for _ in range(2):
            sound = {k: v for k, v in reading.fields.items() if k not in reading.refused}
            stand_ins = {k: v for k, v in PLACEHOLDERS.items() if k in reading.refused}
            try:
                TaskInput.model_validate(sound | stand_ins, context=self._allow)
            except ValidationError as error:
                self._refuse(reading, error)
            else:
                return

    def _refuse(self, reading: Reading, error: ValidationError) -> None:
        for name, why in refusals(error):
            reading.refused.setdefault(name, why)

    def _refuse_media(self, reading: Reading) -> None:
        for name, found in reading.found.items():
            self._refuse_files(reading, name, found)
        size = _body_size(reading)
        if size > self._max_body:
            largest = max(reading.found, key=lambda n: sum(map(_wire_size, reading.found[n])))
            reading.refused.setdefault(
                largest,
                f"makes the request {size:,} bytes long, and it may have {self._max_body:,} "
                "(--max-body raises that)",
            )

    def _refuse_files(self, reading: Reading, name: str, several: list[Found]) -> None:
        for found in several:
            if found.problem:
                reading.refused.setdefault(name, found.problem)
            if found.receipt:
                self._noted.receipt(reading.place(name), found.receipt)
            if found.warning:
                self._noted.warning(reading.place(name), found.warning)
        timed = [f.media.seconds or 0.0 for f in several if f.media and f.kind != MediaKind.IMAGE]
        if sum(timed) > LONGEST_REFERENCE + LENGTH_SLACK * len(timed):
            reading.refused.setdefault(
                name, f"lasts {sum(timed):.1f} s in all, where {LONGEST_REFERENCE} are the most"
            )


def _media(found: Mapping[str, list[Found]]) -> tuple[LocalMedia, ...]:
    if not found:
        return ()
    files = {
        one.media.token: one.media for several in found.values() for one in several if one.media
    }
    return tuple(files.values())


def _body_size(reading: Reading) -> int:
    prompt = str(reading.fields.get("prompt", ""))
    media = sum(_wire_size(found) for several in reading.found.values() for found in several)
    return _BODY_OVERHEAD + 2 * len(prompt.encode(errors="replace")) + media


def _wire_size(found: Found) -> int:
    return encoded_size(found.media.size) if found.media else len(found.address)


def _raw_hash(fields: Mapping[str, Any], model: str) -> str:
    text = json.dumps([model, fields], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
