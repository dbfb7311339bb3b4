"""What a manifest is once it is read: rows, jobs, findings with a place; and who a row is.

Values only; reading files is `seedance_batch.reader`'s work. Two rows with equal content are the
same order; a row's key never depends on its position; one intent has one idempotency key and one
exact body for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypedDict

from seedance_batch.core.model import BLOB_PREFIX, MEDIA_FIELDS, MODEL_SPELLINGS, Link, TaskInput
from seedance_batch.core.text import redact


@dataclass(frozen=True, slots=True)
class Place:
    """A cell as its user would point at it: ``shots.xlsx!Sheet1!D17`` or ``shots.csv:7:prompt``."""

    file: str
    sheet: str | None = None
    line: int | None = None
    """1-based: the sheet's row number, or the line of a text file where the row begins."""
    column: str | None = None
    """The heading as the person wrote it."""
    letter: str | None = None
    """The column's letter in a workbook (``D``)."""

    def __str__(self) -> str:
        if self.sheet is not None:
            cell = f"{self.letter or ''}{self.line or ''}"
            return "!".join(part for part in (self.file, self.sheet, cell) if part)
        parts = (self.file, str(self.line) if self.line else None, self.column)
        return ":".join(part for part in parts if part)

    def seen_from(self, other: Place) -> str:
        """How a finding at ``other`` points here: ``A5``, ``line 9``, or whole where far away."""
        if (self.file, self.sheet) != (other.file, other.sheet) or self.line is None:
            return str(self)
        return f"{self.letter}{self.line}" if self.letter else f"line {self.line:,}"


class Severity(StrEnum):
    """How much a finding matters."""

    PROBLEM = "problem"
    """Nothing is sent while there is one."""
    WARNING = "warning"
    """Sent as it is; worth a look first."""
    RECEIPT = "receipt"
    """What was repaired or assumed while reading."""


class Code(StrEnum):
    """What a finding is about, in a word for programs."""

    ADVICE = "advice"
    """What the service may take otherwise than it is meant."""
    CELL = "cell"
    """A cell whose value cannot be used, or was repaired."""
    DUPLICATE_ID = "duplicate_id"
    DUPLICATE_ORDER = "duplicate_order"
    """A row that orders the same clip as another one."""
    FILE = "file"
    FLAG = "flag"
    HIDDEN_ROW = "hidden_row"
    LINK = "link"
    """A row that is to be fed by another one, and cannot be."""
    LEFT_OUT = "left_out"
    """A line that was taken for no row."""
    MEDIA = "media"
    """A file or an address that a row names."""
    MERGED = "merged"
    """A cell that several rows share."""
    NOT_SENT = "not_sent"
    """A column that looks like an input, and is none."""
    ROW = "row"
    RULES = "rules"
    """What HiAPI publishes of a model says otherwise."""


class ReadAs(StrEnum):
    """Parts of `Manifest.source` that a plan tells too."""

    FETCHED = "fetched"
    IDS = "ids"
    """The column that would name rows which have no ids."""
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that reading noticed, with its place."""

    severity: Severity
    place: Place
    message: str
    rows: tuple[int, ...] = ()
    """The rows that it concerns, as `Row.number` counts them; empty where that is not one's own."""
    cause: Code | None = None
    """What it is about, where its place does not say that: see `code`."""

    @property
    def code(self) -> Code:
        """What it is about."""
        if self.cause is not None:
            return self.cause
        if self.place.line is None:
            return Code.FLAG if self.place.file.startswith("--") else Code.FILE
        return Code.ROW if self.place.column is None else Code.CELL

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        """The finding as programs are told it, with its place as a text and in parts."""
        return {
            "severity": self.severity,
            "code": self.code,
            "place": redact(str(self.place)),
            "file": self.place.file,
            "sheet": self.place.sheet,
            "line": self.place.line,
            "row": self.rows[0] if self.rows else None,
            "column": self.place.column,
            "message": redact(self.message),
        }


@dataclass(frozen=True, slots=True)
class LocalMedia:
    """A file named by a row; it is sent as a data URI and known by its bytes."""

    path: str
    """Absolute, symlinks resolved."""
    sha256: str
    mime: str
    size: int
    """Bytes on disk."""
    seconds: float | None = None
    """Length of a video or an audio, where it could be measured."""

    @property
    def token(self) -> str:
        """Stands for the bytes in a `TaskInput` until the body is sent."""
        return f"{BLOB_PREFIX}{self.sha256}"


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Another row of the manifest, of whose clip a row takes something."""

    link: Link
    """As the row says it."""
    key: str
    """The other row's."""
    seconds: int
    """The length that the other row asks for."""

    @property
    def token(self) -> str:
        """Stands for the frame or clip in a `TaskInput` until that is made."""
        return str(self.link)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the manifest as the person wrote it: its number, its place, their own columns."""

    number: int
    """1-based position among the manifest's rows."""
    place: Place
    cells: Mapping[str, str]
    """The person's columns, in their order, text unchanged."""

    @property
    def line(self) -> object:
        """Equal for the takes of one line; a row's own where its place has no line."""
        return self.number if self.place.line is None else self.place


class Asked(TypedDict):
    """What a job, an intent and the journal's record of a row say alike, by field."""

    key: str
    content: str
    model: str
    resolution: str
    duration: int
    aspect_ratio: str


@dataclass(frozen=True, slots=True)
class Job:
    """A row that may be sent. It adds to the `Row` its key, and what is sent for it."""

    row: Row
    key: str
    """Its id, else made from its content and occurrence; never its position."""
    model: str
    input: TaskInput
    """Local media stand as ``sha256:…`` tokens, see `media`."""
    content: str
    """sha256 of model and effective input: equal content is the same order."""
    media: tuple[LocalMedia, ...] = ()
    sources: tuple[SourceRow, ...] = ()
    """The rows that it waits for, by `core.chains.linked`; each link once."""

    @property
    def asked(self) -> Asked:
        """What an intent and the journal's record of the row take over from the job."""
        return {
            "key": self.key,
            "content": self.content,
            "model": self.model,
            "resolution": self.input.resolution.value,
            "duration": self.input.duration,
            "aspect_ratio": self.input.aspect_ratio.value,
        }


@dataclass(frozen=True, slots=True)
class Trouble:
    """A link that leads nowhere, or too far."""

    job: Job
    field: str
    words: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a results sheet of ours says of a row's last attempt, in its own words."""

    status: str
    kind: str
    """``final`` or ``draft``; empty where it is not said."""
    task_id: str
    sent_at: float | None
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, whole: what could be read, and what was found wrong."""

    path: str
    """Absolute path, or ``-`` for standard input."""
    name: str
    """File name without folder and ending; names the run folder."""
    columns: tuple[str, ...]
    """The person's columns, in their order."""
    jobs: tuple[Job, ...]
    findings: tuple[Finding, ...] = ()
    source: Mapping[str, str] = field(default_factory=dict)
    """How it was read, for people: format, encoding, delimiter, sheet, column map."""
    given_inputs: tuple[str, ...] = ()
    """Input fields among the person's columns, whatever their headings."""
    told: Mapping[str, Told] = field(default_factory=dict)
    """In a results sheet of ours: row key → what it says of the row."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that forbid sending."""
        return tuple(f for f in self.findings if f.severity is Severity.PROBLEM)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that somebody should look at before the rows are paid for."""
        return tuple(f for f in self.findings if f.severity is Severity.WARNING)

    def warnings_of(self, jobs: Iterable[Job]) -> list[Finding]:
        """The warnings that concern some of the jobs: those of other rows are left out."""
        wanted = {job.row.number for job in jobs}
        own = (f for f in self.warnings if not f.rows or not wanted.isdisjoint(f.rows))
        return list(own) if wanted else []


# ── Who a row is: content hashes, row keys, idempotency keys, request bodies ──────────────────────


_DERIVED_PREFIX: Final = "r-"

SANDBOX_ORIGIN: Final = "sandbox"
"""What a run folder of the sandbox belongs to, whatever its port."""


def canonical_model(model: str) -> str:
    """The model's name with white space trimmed and its spellings made equal."""
    name = model.strip()
    return MODEL_SPELLINGS.get(name, name)


def content_hash(model: str, task_input: TaskInput) -> str:
    """Sha256 of what decides the clip; spelling, callback, key and address stay out of it."""
    content = {"model": canonical_model(model), "input": task_input.effective()}
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


_LINE_END: Final = re.compile(r"[^\S\r\n]*(?:\r\n?|\n)")


def loosened(text: str) -> str:
    """The text without what git, editors and spreadsheets change unasked: one kind of line end, no
    blanks at the ends of its lines, none around it."""
    return _LINE_END.sub("\n", text).strip()


def row_keys(rows: Iterable[tuple[str | None, str]]) -> list[str]:
    """A key for each (id or None, content hash): the id, else content and occurrence number.

    A derived key can be given back as an id (our results sheets do), and stays the same row.
    """
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    pairs = list(rows)
    taken.update(row_id for row_id, _ in pairs if row_id)
    keys = []
    for row_id, content in pairs:
        keys.append(row_id or _derived(content, seen, taken))
    return keys


def _derived(content: str, seen: Counter[str], taken: set[str]) -> str:
    stem = f"{_DERIVED_PREFIX}{content[:10]}"
    while True:
        seen[stem] += 1
        key = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"
        if key not in taken:
            return key


def idempotency_key(folder_id: str, key: str, kind: str, number: int, content: str) -> str:
    """One key per intent: the folder, the row, draft or final, the attempt, the row's content.

    Nothing that an attempt has by chance is part of it. So a journal that has lost an attempt comes
    to the same key, which the service answers with the first task, or, where other flags made
    another body, with a refusal; never with a second charge.
    """
    parts = "\n".join((folder_id, key, kind, str(number), content))
    return f"sb-{hashlib.sha256(parts.encode('utf-8', 'surrogatepass')).hexdigest()[:48]}"


def callback_token(salt: str, idempotency_key: str) -> str:
    """What an attempt's callback address ends in: nobody guesses it, and it is always the same."""
    text = f"callback\n{idempotency_key}".encode()
    return hmac.new(salt.encode(), text, hashlib.sha256).hexdigest()[:32]


def fingerprint(api_key: str, salt: str) -> str:
    """Tells whether two keys are equal, and nothing else about them."""
    return hmac.new(salt.encode(), api_key.encode(), hashlib.sha256).hexdigest()[:24]


def folder_mark(folder_id: str) -> str:
    """Tells a run folder, and its later copies, from others, and tells nothing else about it."""
    return hashlib.sha256(folder_id.encode()).hexdigest()[:16]


def body_template(
    model: str,
    task_input: TaskInput,
    *,
    callback_url: str | None = None,
    storage: str | None = None,
) -> str:
    """The body of a create as JSON text, with local media as tokens; see `render_body`."""
    body: dict[str, Any] = {"model": model, "input": task_input.wire()}
    if callback_url is not None:
        body["callback"] = {"url": callback_url, "when": "final"}
    if storage is not None:
        body["storage"] = storage
    return _dump(body)


def render_body(template: str, data_uris: Mapping[str, str]) -> bytes:
    """The exact bytes to send: tokens in media fields replaced by their data URIs.

    ``data_uris`` maps a token (``sha256:…``) to its data URI. The same arguments give the same
    bytes for ever, which is what lets a resend be a replay.
    """
    body = json.loads(template)
    fields = body["input"]
    for name in MEDIA_FIELDS.keys() & fields.keys():
        fields[name] = _substitute(fields[name], data_uris)
    return _dump(body).encode()


def tokens(template: str) -> list[str]:
    """The media tokens that a template waits for."""
    fields = json.loads(template)["input"]
    found: list[str] = []
    for name in MEDIA_FIELDS:
        value = fields.get(name, [])
        found += [v for v in ([value] if isinstance(value, str) else value) if _is_token(v)]
    return found


def _substitute(value: str | Sequence[str], data_uris: Mapping[str, str]) -> str | list[str]:
    if isinstance(value, str):
        return data_uris[value] if _is_token(value) else value
    return [data_uris[item] if _is_token(item) else item for item in value]


def _is_token(value: str) -> bool:
    return value.startswith(BLOB_PREFIX)


def _dump(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
