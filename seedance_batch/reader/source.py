"""What reading starts from: a file's bytes and format, a person's options, a place for findings."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from seedance_batch.core.manifest import Code, Finding, Place, Severity
from seedance_batch.core.model import HEAD_SIZE, content_of
from seedance_batch.core.text import redact
from seedance_batch.errors import UsageError

if TYPE_CHECKING:
    from seedance_batch.core.model import Allow

# ── What a person may say about how a manifest is to be read. Values only, and light to import ────


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
    visible: bool = False
    """Take only the rows that a workbook shows: hidden and filtered ones are left out."""
    fix_mixed: bool = False
    """Make references of the frames of rows that have both."""
    allow_outside: bool = False
    """Let rows name files outside the manifest's folder."""
    max_body: int = MAX_BODY
    """Bytes that one request may have, local media included."""
    folder: Path | None = None
    """Where relative paths begin; None means the manifest's own folder."""


# ── Where reading puts what it notices ────────────────────────────────────────────────────────────


class Noted:
    """Everything noticed so far, in order."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._findings)

    def problem(self, place: Place, message: str, cause: Code | None = None) -> None:
        """Nothing may be sent while this stands; ``cause`` as in `Finding`."""
        self._findings.append(Finding(Severity.PROBLEM, place, message, cause=cause))

    def warning(self, place: Place, message: str, cause: Code | None = None) -> None:
        """It will be sent as it is; somebody should look first."""
        self._findings.append(Finding(Severity.WARNING, place, message, cause=cause))

    def receipt(self, place: Place, message: str, cause: Code | None = None) -> None:
        """What was repaired or assumed."""
        self._findings.append(Finding(Severity.RECEIPT, place, message, cause=cause))


# ── A manifest's bytes, what format they are in, and what loading them gathers on the way ─────────


STDIN: Final = "-"


class Format(StrEnum):
    """What a manifest may be written in; the values are shown to people."""

    CSV = "CSV"
    YAML = "YAML"
    JSONL = "JSONL"
    JSON = "JSON"
    XLSX = "XLSX"
    XLS = "XLS"
    ODS = "ODS"
    PARQUET = "Parquet"


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its bytes, the name that findings show, and the folder that it lies in."""

    data: bytes
    file: str
    folder: Path

    @property
    def place(self) -> Place:
        """The file as a whole."""
        return Place(self.file)


@dataclass(frozen=True, slots=True)
class Loading:
    """What every loader is handed: the flags, where to note things, and what to tell people."""

    options: ReadOptions
    noted: Noted
    about: dict[str, str] = field(default_factory=dict)
    """How the file was read; becomes `Manifest.source`."""
    including: tuple[Path, ...] = ()
    """The files that are being read, outermost first: an include must not close a ring."""
    left_out: set[str] = field(default_factory=set)
    """Ids of rows that are in the sheet, and not wanted."""


def opened(path: str | Path, *, included: bool = False) -> Source:
    """The file's bytes, or those of standard input for ``-``.

    Raises `UsageError` where it cannot be opened; save for a file that is ``included`` by
    another, with what may have been meant.
    """
    if str(path) == STDIN:
        return Source(sys.stdin.buffer.read(), "stdin", Path.cwd())
    given = Path(path)
    try:
        data = given.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and not included:
            sentence, hint = absent(given)
            raise UsageError(sentence, hint=hint) from None
        why = error.strerror if isinstance(error, OSError) else "this is not a file name"
        raise UsageError(f"cannot open {str(path)!r}: {why}") from None
    return Source(data, given.name, Path(path).absolute().parent)


DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
"""What may stand between the cells of a line, as ``--delimiter`` names it."""
LIST_ENDING: Final = ".txt"
"""Of a table, or of a list with one prompt a line."""
_ENDINGS: Final = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".tab": Format.CSV,
    LIST_ENDING: Format.CSV,
    ".yaml": Format.YAML,
    ".yml": Format.YAML,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSON,
}
YAML_KEYS: Final = ("defaults", "rows", "matrix", "variants", "include", "prompt_template")
"""Everything that may stand at the top of a YAML manifest."""
MOST_VARIANTS: Final = 1_000
MOST_NESTING: Final = 8
TOO_DEEP: Final = f"is nested more than {MOST_NESTING} deep"
_YAML_START: Final = re.compile(
    rb"\s*(?:#[^\n]*\n\s*|---[^\n]*\n\s*|%[^\n]*\n\s*)*"
    rb"(?:- |-\n|(?:" + "|".join(YAML_KEYS).encode() + rb")\s*:(?:\s|$))"
)

_NO_LIST: Final = re.compile(
    rb'\s*(?:\[\s*)?\{\s*"[^"\n]*"\s*:|\s*(?:---\s+)?(?:- (?:id|prompt)|rows|defaults|matrix)\s*:\s'
)
"""How JSON and YAML begin, and no list of prompts does."""


def format_of(data: bytes, file: str) -> Format | None:
    """What the bytes are; a name's ending decides between texts only. None for no manifest."""
    if (binary := _binary_format(data)) is not None:
        return binary
    if data[:4] in {b"PK\x03\x04", b"%PDF"} or data.lstrip()[:1] == b"<":
        return None
    if data[:1] > b"\x7f" and content_of(data[:HEAD_SIZE]):
        return None
    ending = Path(file).suffix.casefold()
    if ending == LIST_ENDING and _NO_LIST.match(data.removeprefix(b"\xef\xbb\xbf")):
        return _text_format(data)
    return _ENDINGS.get(ending) or _text_format(data)


_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def _binary_format(data: bytes) -> Format | None:
    if data[:4] == b"PAR1":
        return Format.PARQUET
    if data[:8] == _OLE:
        return Format.XLS
    if data[:4] != b"PK\x03\x04":
        return None
    if data[30:38] == b"mimetype" and b"opendocument.spreadsheet" in data[38:120]:
        return Format.ODS
    if b"xl/" in data[-65_536:] or b"xl/" in data[:4_096]:
        return Format.XLSX
    return Format.ODS if b"content.xml" in data[-65_536:] else None


def _text_format(data: bytes) -> Format:
    start = data[:4_096].removeprefix(b"\xef\xbb\xbf")
    if start.lstrip()[:1] == b"{":
        return Format.JSONL
    if start.lstrip()[:1] == b"[":
        return Format.JSON
    return Format.YAML if _YAML_START.match(start) else Format.CSV


# ── A manifest at an address: which one is asked, and what its run folder is called ───────────────


@dataclass(frozen=True, slots=True)
class WebManifest:
    """A manifest on the web. Equal ones have one run folder, however their link was copied."""

    url: str
    """What is asked: of a Google Sheet its export, of a page about a file the file itself."""
    name: str
    """Names the run folder; made from the address alone, so that it never changes."""
    file: str
    """The name that findings show; its ending tells texts apart."""
    is_google: bool = False

    @property
    def path(self) -> str:
        """What is shown and kept of it: no signature and no token."""
        if self.is_google:
            return self.url.replace("=xlsx", "=csv")
        return self.url if redact(self.url) == self.url else self.url.partition("?")[0]


def is_address(text: object) -> bool:
    """Whether a manifest's name is an address on the web, and no file's."""
    return isinstance(text, str) and text[:8].casefold().startswith(("https://", "http://"))


def address_of(text: str, *, workbook: bool = False) -> WebManifest:
    """What a link leads to; of a Google Sheet one sheet as CSV, or the whole ``workbook``."""
    link = text.strip()
    if found := _GOOGLE_SHEET.match(link):
        return _google_sheet(link, published=bool(found[1]), id_=found[2], workbook=workbook)
    if found := _GOOGLE_FILE.match(link):
        name = f"drive-{_tail(found[1] or found[2])}"
        url = f"https://drive.google.com/uc?export=download&id={found[1] or found[2]}"
        return WebManifest(url, name, name, is_google=True)
    file = unquote(urlsplit(link).path.rpartition("/")[2])
    file = _ODD.sub("-", file).strip("-.")[-_LONGEST_NAME:] or "manifest"
    return WebManifest(link.partition("#")[0], Path(file).stem, file)


def _google_sheet(link: str, *, published: bool, id_: str, workbook: bool) -> WebManifest:
    tab = _GID.search(link)
    gid = tab[1] if tab else ""
    kind = "xlsx" if workbook else "csv"
    name = f"sheet-{_tail(id_)}{f'-{gid}' if gid.strip('0') else ''}"
    home = f"https://docs.google.com/spreadsheets/d/{'e/' if published else ''}{id_}"
    asked = f"pub?output={kind}" if published else f"export?format={kind}"
    return WebManifest(
        f"{home}/{asked}{f'&gid={gid}' if gid else ''}", name, f"{name}.{kind}", True
    )


def _tail(id_: str) -> str:
    """The end of an id; those of published sheets all begin alike."""
    return id_[-8:].strip("-_") or "google"


_GOOGLE_SHEET: Final = re.compile(
    r"https?://docs\.google\.com/(?:a/[^/]+/)?spreadsheets/(?:u/\d+/)?d/(e/)?([\w-]{10,})",
    re.IGNORECASE,
)
_GOOGLE_FILE: Final = re.compile(
    r"https?://drive\.google\.com/(?:file/(?:u/\d+/)?d/([\w-]{10,})|(?:open|uc)\?(?:.*&)?id=([\w-]{10,}))",
    re.IGNORECASE,
)
_GID: Final = re.compile(r"[?&#]gid=([0-9]{1,20})")
_ODD: Final = re.compile(r"[^\w.]+")
_LONGEST_NAME: Final = 100


# ── What lies near a name that leads nowhere: the manifest that may have been meant ───────────────


_MANIFESTS: Final = frozenset(
    ".csv .tsv .yaml .yml .jsonl .ndjson .json .xlsx .xls .ods .parquet".split()
)
"""Endings; a manifest may have another one, which is then not looked for."""
_STARTERS: Final = frozenset({".csv", ".yaml", ".yml", ".xlsx"})
"""Endings that ``init`` writes."""
_NAMED: Final = 5
"""File names that a message holds, at most."""


def manifests_in(folder: Path) -> list[str]:
    """Names of files that may be manifests, sorted; empty where the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if os.path.splitext(entry.name)[1].casefold() in _MANIFESTS  # noqa: PTH122
                and not entry.name.startswith(".")
                and os.path.isfile(entry.path)  # noqa: PTH113 - a ring of links is none
            )
    except OSError:
        return []


def absent(given: Path) -> tuple[str, str | None]:
    """What to say where there is no file ``given``: a sentence, and a command that leads on."""
    folder = given.parent
    if not folder.is_dir():
        return f"There is no {given}: the folder {folder} does not exist.", None
    there = manifests_in(folder)
    by_name = {name.casefold(): name for name in there}
    close = [
        by_name[name] for name in difflib.get_close_matches(given.name.casefold(), by_name, n=1)
    ]
    sentence = f"There is no {given.name} in {folder.resolve()}"
    if close:
        return f"{sentence}; did you mean {close[0]}?", _check(folder / close[0])
    if there:
        more = f" and {len(there) - _NAMED:,} more" if len(there) > _NAMED else ""
        return f"{sentence}, but {', '.join(there[:_NAMED])}{more}.", _check(folder / there[0])
    return f"{sentence}.", f"seedance-batch init {shlex.quote(str(_starter(given)))}"


def _check(path: Path) -> str:
    return f"seedance-batch check {shlex.quote(str(path))}"


def _starter(given: Path) -> Path:
    return given if given.suffix.casefold() in _STARTERS else given.with_name("shots.csv")
