"""Rows of a table into jobs to be: read each cell, judge the whole, say what is wrong where.

A row that has a problem is still read to its end, so that every row has its number and its key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from seedance_batch.core.manifest import Code, Job, LocalMedia, Place, Row, Told, content_hash
from seedance_batch.core.model import (
    DEFAULT_MODEL,
    HIGHEST_SEED,
    INPUT_FIELDS,
    LIST_FIELDS,
    LONGEST_CLIP,
    LONGEST_PROMPT,
    LONGEST_REFERENCE,
    MEDIA_FIELDS,
    PREVIOUS,
    SHORTEST_CLIP,
    SHORTEST_PROMPT,
    Allow,
    Link,
    MediaKind,
    TaskInput,
    family_model,
)
from seedance_batch.reader.advice import NAMED, advice, named_kind
from seedance_batch.reader.cells import (
    Cell,
    Table,
    Value,
    is_blank,
    parser,
    placeholder,
    quoted,
    text_of,
)
from seedance_batch.reader.headings import Layout, ManifestColumn
from seedance_batch.reader.media_files import LENGTH_SLACK, Found, MediaFiles, encoded_size
from seedance_batch.reader.source import Noted, ReadOptions

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MOST_REMEMBERED: Final = 4_096
_REMOVED: Final = "removed"
"""Status of a paid row that had left the manifest when our sheet was written."""


@dataclass(slots=True)
class RowReading:
    """One row of a `Table` while it is read.

    It adds to the table what each cell means, by input field, and then what the judge made of it.
    """

    table: Table
    index: int
    layout: Layout
    row: Row
    id: str | None = None
    model: str = DEFAULT_MODEL
    fields: dict[str, Any] = field(default_factory=dict)
    """Typed values; addresses as texts, local files as tokens."""
    refused: dict[str, str] = field(default_factory=dict)
    """Field → why its cell cannot be read."""
    found: dict[str, list[Found]] = field(default_factory=dict)
    """Media field → what it names."""
    told: Told | None = None
    """In a sheet of ours, what it says of the row."""
    base: str = ""
    """Hash of the row as it is written, without flags: its key comes from this.

    A flag (``--set``, ``--model``) must not change the key of a row without an id, or its history
    would be lost and it would be bought anew; `content` tells whether it is the same order.
    """
    content: str = ""
    """Hash of what would be sent: equal ones are the same order. Empty where nothing is."""
    input: TaskInput | None = None
    """None where the row has a problem, and is no job."""
    media: tuple[LocalMedia, ...] = ()

    def place(self, name: str) -> Place:
        """The cell of that field; the row where no column feeds it."""
        column = self.layout.column_of(name)
        return self.table.place(self.index) if column is None else self.cell(column)

    def cell(self, column: ManifestColumn) -> Place:
        """The cell in that column."""
        return self.table.place(self.index, column.position, column.heading)

    def job(self, key: str) -> Job | None:
        """The row under its key, ready to send; None where it has a problem."""
        if self.input is None:
            return None
        return Job(self.row, key, self.model, self.input, self.content, self.media)


class RowReader:
    """Reads the rows of a manifest's tables, one table after the other."""

    def __init__(self, noted: Noted, files: MediaFiles, judge: Judge) -> None:
        self._noted = noted
        self._files = files
        self._judge = judge
        self._number = 0
        self._ids: dict[str, Place] = {}

    def read(self, table: Table, layout: Layout) -> Iterator[RowReading]:
        """What each row says; removed rows of our sheets are left out. Empties the table."""
        readers = [(column, _remembering(column)) for column in layout.inputs]
        for index, values in enumerate(table.rows):
            table.rows[index] = ()  # a large manifest need not stand in memory twice
            if _is_removed(values, layout.status):
                continue
            if len(values) < len(table.headings):
                values = [*values, *[None] * (len(table.headings) - len(values))]
            self._number += 1
            row = Row(self._number, table.place(index), _texts(values, layout))
            yield self._read(RowReading(table, index, layout, row), values, readers)

    def _read(
        self,
        reading: RowReading,
        values: Sequence[Value],
        readers: Sequence[tuple[ManifestColumn, Callable[[Value], Cell]]],
    ) -> RowReading:
        for column, read in readers:
            value = values[column.position]
            if value is not None and value != "":
                self._take(reading, column, read(value))
        if reading.table.flaws:
            self._take_flaws(reading)
        reading.told = _told(values, reading.layout.told)
        reading.id = self._id(reading)
        if reading.id and "prompt" not in reading.fields:
            words = "is empty, but the row has an id: fill it, or delete the row"
            reading.refused.setdefault("prompt", words)
        reading.model = reading.fields.pop("model", None) or reading.model
        if reading.layout.has_media:
            self._find_media(reading)
        self._judge.judge(reading)
        if not self._is_text(reading):
            reading.input = None
        nothing: dict[str, Any] = {}  # many rows stay until the last one was read
        reading.fields = reading.refused = reading.found = nothing
        return reading

    def _id(self, reading: RowReading) -> str | None:
        row_id: str | None = reading.fields.pop("id", None)
        if row_id:
            here, earlier = reading.place("id"), self._ids.get(row_id)
            self._ids[row_id] = earlier or here
            if earlier is here:  # a value for all rows, or of a matrix
                words = f"{quoted(row_id)} would be the id of several rows; each needs its own"
                self._noted.problem(here, words, Code.DUPLICATE_ID)
            elif earlier is not None:
                words = f"{quoted(row_id)} is already the id in {earlier.seen_from(here)}"
                self._noted.problem(here, words, Code.DUPLICATE_ID)
        return row_id or None

    def _take(self, reading: RowReading, column: ManifestColumn, cell: Cell) -> None:
        name = str(column.field)
        if cell.problem is not None:
            reading.refused[name] = cell.problem
        elif cell.value is not None:
            reading.fields[name] = cell.value
        if cell.receipt is not None:
            self._noted.receipt(reading.place(name), cell.receipt)

    def _take_flaws(self, reading: RowReading) -> None:
        for column in dict.fromkeys((*reading.layout.inputs, *reading.layout.own)):
            words = reading.table.flaws.get((reading.index, column.position))
            if words and column.field:
                reading.refused[column.field] = words
            elif words:
                self._noted.warning(reading.cell(column), words)

    def _find_media(self, reading: RowReading) -> None:
        for name, kind in MEDIA_FIELDS.items():
            texts = reading.fields.get(name)
            if texts is None:
                continue
            reading.found[name] = [self._files.find(text, kind) for text in texts]
            reading.fields[name] = addressed(name, reading.found[name])

    def _is_text(self, reading: RowReading) -> bool:
        """Whether every cell of the person's is text that any file can hold."""
        texts = reading.row.cells
        joined = "".join(texts.values())
        if (joined.isascii() and "\0" not in joined) or not _NO_TEXT.search(joined):
            return True
        for column in reading.layout.own:
            text = texts[column.heading]
            if _NO_TEXT.search(text):
                why = "a NUL character" if "\0" in text else "half a character (a lone surrogate)"
                self._noted.problem(reading.cell(column), f"contains {why}")
        return False


_NO_TEXT: Final = re.compile(r"[\0\ud800-\udfff]")
"""Characters that no file can hold as text."""


def _texts(values: Sequence[Value], layout: Layout) -> dict[str, str]:
    return {
        column.heading: value if type(value := values[column.position]) is str else text_of(value)
        for column in layout.own
    }


def addressed(name: str, found: Sequence[Found]) -> str | list[str]:
    """What a media field holds: one address, or a list where the field takes one."""
    addresses = [one.address for one in found]
    return addresses if name in LIST_FIELDS else addresses[0]


def _is_removed(values: Sequence[Value], status: int | None) -> bool:
    return status is not None and status < len(values) and values[status] == _REMOVED


def _told(values: Sequence[Value], columns: Sequence[tuple[str, int]]) -> Told | None:
    """What a sheet of ours says of a row; None in any other manifest."""
    if not columns:
        return None
    texts = {name: text_of(values[position]) for name, position in columns}
    return Told(
        texts.get("status", ""),
        texts.get("kind", ""),
        texts.get("task_id", ""),
        _moment(texts.get("submitted_at", "")),
    )


def _moment(text: str) -> float | None:
    """Unix seconds of a time as our sheets write it; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
        return found.timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def read_cell(name: str, value: Value) -> Cell:
    """A value as the field of that name takes it."""
    if name == "prompt":
        return _prompt(value)
    return Cell() if is_blank(value) else parser(name)(value)


def _remembering(column: ManifestColumn) -> Callable[[Value], Cell]:
    """The field's parser; texts that repeat down a column are parsed once."""
    if column.field == "prompt":
        return _prompt
    parse = parser(str(column.field))

    @lru_cache(_MOST_REMEMBERED)
    def of_text(text: str) -> Cell:
        return Cell() if is_blank(text) else parse(text)

    return lambda value: of_text(value) if isinstance(value, str) else parse(value)


def _prompt(value: Value) -> Cell:
    """The text as it stands: a prompt is never repaired."""
    if isinstance(value, tuple):
        return Cell(problem="is a list, but one text is needed")
    text = text_of(value)
    if text.isspace():
        return Cell(problem="contains only white space")
    if why := placeholder(text):
        return Cell(problem=why)
    return Cell(text)


# ── Whether a row may be sent: every rule of the contract, with and without the overrides ─────────


_BODY_OVERHEAD: Final = 2_000
"""Bytes of a request besides its texts: names, quotes, a callback's address."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What flags set in every row. ``fields`` are typed; None takes a field away."""

    fields: Mapping[str, Any]
    found: Mapping[str, list[Found]]
    model: str | None = None

    def __bool__(self) -> bool:
        return bool(self.fields) or self.model is not None


class Judge:
    """Judges rows, and notes problems and advice with their places."""

    def __init__(self, noted: Noted, options: ReadOptions, overrides: Overrides) -> None:
        self._noted = noted
        self._options = options
        self._allow = replace(options.allow or Allow(), blobs=True)
        self._overrides = overrides

    def judge(self, reading: RowReading) -> None:
        """Say what would be sent for a row whose cells have been read, and who the row is."""
        written, model = reading.fields, reading.model
        if self._overrides:
            reading.base = self._base(written, model)
            reading.model = self._overrides.model or model
            reading.fields = self._overridden(reading)
        if self._options.fix_mixed and _is_mixed(reading.fields):
            reading.base = reading.base or _raw_hash(written, model)
            self._unmix(reading)
        reading.input = self._validated(reading)
        if reading.input is None:
            reading.base = reading.base or _raw_hash(written, model)
            return
        reading.content = content_hash(reading.model, reading.input)
        reading.base = reading.base or reading.content
        reading.media = _media(reading.found)
        for name, words in advice(reading.input, reading.model, reading.found):
            self._noted.warning(reading.place(name), words, Code.ADVICE)

    def _unmix(self, reading: RowReading) -> None:
        """Make reference images of a row's frames, and say in its prompt which they are."""
        fields, images = dict(reading.fields), "reference_image_urls"
        frames = [name for name in _FRAMES if name in fields]
        prompt, references = str(fields.get("prompt", "")), list(fields.get(images, ()))
        found = reading.found.get(images, [])
        # Where the prompt counts images, those that it means keep their numbers.
        last = references and any(named_kind(named) == "image" for named in NAMED.finditer(prompt))
        first = len(references) + 1 if last else 1
        moved = [fields.pop(name) for name in frames]
        looked = [one for name in frames for one in reading.found.pop(name, [])]
        fields[images] = [*references, *moved] if last else [*moved, *references]
        reading.found[images] = [*found, *looked] if last else [*looked, *found]
        numbered = enumerate((_FRAMES[name] for name in frames), first)
        words = " ".join(f"Image {n} is the {which} frame." for n, which in numbered)
        fields["prompt"] = f"{prompt.rstrip()}\n{words}"
        reading.fields = fields
        receipt = f"is sent among {images}, since frames and references cannot be combined; the "
        self._noted.receipt(reading.place(frames[0]), f"{receipt}prompt ends with ‘{words}’")

    def _base(self, fields: Mapping[str, Any], model: str) -> str:
        try:
            return content_hash(model, TaskInput.model_validate(fields, context=self._allow))
        except ValidationError:
            return _raw_hash(fields, model)

    def _overridden(self, reading: RowReading) -> dict[str, Any]:
        own = {name for name in self._overrides.fields if self._leads_nowhere(name, reading)}
        set_ = {n: value for n, value in self._overrides.fields.items() if n not in own}
        for name in set_:
            reading.refused.pop(name, None)
            reading.found.pop(name, None)
        reading.found.update({n: f for n, f in self._overrides.found.items() if n not in own})
        return {n: value for n, value in (reading.fields | set_).items() if value is not None}

    def _leads_nowhere(self, name: str, reading: RowReading) -> bool:
        """Whether a link that a flag sets in every row has no sense in this one: in the first row
        of a long take, and in the row that feeds the others."""
        value = self._overrides.fields[name]
        link = Link.parse(value) if isinstance(value, str) else None
        if link is None:
            return False
        return link.row == reading.id or (link.row == PREVIOUS and reading.row.number == 1)

    def _validated(self, reading: RowReading) -> TaskInput | None:
        if reading.found:
            self._refuse_media(reading)
        if not reading.refused:
            try:
                found = TaskInput.model_validate(reading.fields, context=self._allow)
                model = family_model(reading.model)
                reading.refused.update(model.objections(found) if model else ())
            except ValidationError as error:
                self._refuse(reading, error)
            else:
                if not reading.refused:
                    return found
        self._look_on(reading)
        for name, why in reading.refused.items():
            self._noted.problem(reading.place(name), why)
        return None

    def _look_on(self, reading: RowReading) -> None:
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

    def _refuse(self, reading: RowReading, error: ValidationError) -> None:
        for name, why in refusals(error):
            reading.refused.setdefault(name, why)

    def _refuse_media(self, reading: RowReading) -> None:
        for name, found in reading.found.items():
            self._refuse_files(reading, name, found)
        size = _body_size(reading)
        if size > self._options.max_body:
            largest = max(reading.found, key=lambda n: sum(map(_wire_size, reading.found[n])))
            reading.refused.setdefault(
                largest,
                f"makes the request {size:,} bytes long; the limit is {self._options.max_body:,} "
                "(--max-body raises that)",
            )

    def _refuse_files(self, reading: RowReading, name: str, several: list[Found]) -> None:
        for found in several:
            if found.problem:
                reading.refused.setdefault(name, found.problem)
            if found.receipt:
                self._noted.receipt(reading.place(name), found.receipt, Code.MEDIA)
            if found.warning:
                self._noted.warning(reading.place(name), found.warning, Code.MEDIA)
        timed = [f.media.seconds or 0.0 for f in several if f.media and f.kind != MediaKind.IMAGE]
        if sum(timed) > LONGEST_REFERENCE + LENGTH_SLACK * len(timed):
            reading.refused.setdefault(
                name, f"lasts {sum(timed):.1f} s in all; the limit is {LONGEST_REFERENCE} s"
            )


def _media(found: Mapping[str, list[Found]]) -> tuple[LocalMedia, ...]:
    if not found:
        return ()
    files = {
        one.media.token: one.media for several in found.values() for one in several if one.media
    }
    return tuple(files.values())


def _body_size(reading: RowReading) -> int:
    prompt = str(reading.fields.get("prompt", ""))
    media = sum(_wire_size(found) for several in reading.found.values() for found in several)
    return _BODY_OVERHEAD + 2 * len(prompt.encode(errors="replace")) + media


def _wire_size(found: Found) -> int:
    return encoded_size(found.media.size) if found.media else len(found.address)


_FRAMES: Final = {"first_frame_url": "opening", "last_frame_url": "closing"}


def _is_mixed(fields: Mapping[str, Any]) -> bool:
    """Whether a row has frames and references, and a prompt to say which is which."""
    has_both = not (fields.keys().isdisjoint(_FRAMES) or fields.keys().isdisjoint(LIST_FIELDS))
    return has_both and "prompt" in fields


def _raw_hash(fields: Mapping[str, Any], model: str) -> str:
    text = json.dumps([model, fields], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


# ── What `TaskInput` refuses, in the words of somebody who fills in a spreadsheet ─────────────────


def refusals(error: ValidationError) -> list[tuple[str, str]]:
    """(field, what is wrong) for everything that a validation refused, each once."""
    found = [_refusal(detail) for detail in error.errors(include_url=False, include_context=True)]
    return list(dict.fromkeys(found))


def _refusal(detail: ErrorDetails) -> tuple[str, str]:
    location = detail["loc"]
    if not location:
        return _field_in(detail["msg"]), detail["msg"]
    field = str(location[0])
    words = _WORDS.get((field, detail["type"])) or _WORDS.get((None, detail["type"]))
    if detail["type"] == "media_address":
        return field, f"{_shown(detail['input'])} {detail['msg']}"
    if words is None:
        return field, f"{_shown(detail['input'])}: {detail['msg']}"
    return field, words(detail["input"], detail.get("ctx", {}))


def _field_in(message: str) -> str:
    """The field that a rule about several fields names first; references where it names none."""
    named = [field for field in INPUT_FIELDS if field in message]
    return min(named, key=message.find) if named else "reference_image_urls"


def _shown(value: object) -> str:
    return quoted(str(value))


_Words = Callable[[Any, Mapping[str, Any]], str]


def _whole_seconds(value: Any, _: Mapping[str, Any]) -> str:
    return f"{_shown(value)} is not {SHORTEST_CLIP} to {LONGEST_CLIP} (whole seconds)"


def _seed(value: Any, _: Mapping[str, Any]) -> str:
    return f"{_shown(value)} is not 0 to {HIGHEST_SEED}"


def _too_many(_: Any, context: Mapping[str, Any]) -> str:
    return f"has {context['actual_length']} items; the limit is {context['max_length']}"


_WORDS: Final[dict[tuple[str | None, str], _Words]] = {
    ("prompt", "missing"): lambda _value, _context: "is empty: fill it, or delete the row",
    ("prompt", "string_too_short"): lambda value, _: (
        f"{_shown(value)} is too short; a prompt has at least {SHORTEST_PROMPT} characters"
    ),
    ("prompt", "string_too_long"): lambda value, _: (
        f"has {len(value):,} characters; a prompt has at most {LONGEST_PROMPT:,}"
    ),
    ("duration", "greater_than_equal"): _whole_seconds,
    ("duration", "less_than_equal"): _whole_seconds,
    ("seed", "greater_than_equal"): _seed,
    ("seed", "less_than_equal"): _seed,
    (None, "string_unicode"): lambda _value, _context: (
        "contains half a character (a lone surrogate)"
    ),
    (None, "too_long"): _too_many,
}


PLACEHOLDERS: Final[dict[str, object]] = {
    "prompt": "---",
    "first_frame_url": "asset://-",
    "last_frame_url": "asset://-",
    **{field: ["asset://-"] for field in LIST_FIELDS},
}
"""Stands for a refused value, so that the rules about the row's other fields are still checked."""
