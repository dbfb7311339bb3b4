"""File names for clips: pure text in, a path below the run folder out.

Every part of a name comes from a person's table, so nothing in it is trusted: no separator, no
control character, no device name and no ``..`` survives. Touches no disk; what is taken is asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Final
from urllib.parse import quote

from seedance_batch.core.attempt import Kind
from seedance_batch.errors import SettingsError

FOLDERS: Final = {Kind.FINAL: "videos", Kind.DRAFT: "drafts"}
"""Where clips of each kind lie, below the run folder."""
FRAME_FOLDERS: Final = {"videos": "frames", "drafts": "drafts"}
"""Where a clip's returned last frame lies, by the clip's folder; endings keep them apart."""
CLIP_ENDING: Final = ".mp4"
CLIP_ENDINGS: Final = (CLIP_ENDING, ".webm", ".mov", ".mkv")
"""What a clip's name may end with: a file is named by its content, once that is known."""
FRAME_ENDING: Final = ".png"
TAKE_MARK: Final = ".take"
"""Before the number of a row's second clip and of those after it: ``1.2`` may be a row's id."""
MISMATCH_MARK: Final = ".mismatch"
"""Before the ending of a clip that is not what was asked for."""
ASIDE_MARK: Final = ".aside"
"""Before the ending of a file that stood in a clip's way."""


def address_in(store: str, name: str) -> str:
    """The address of what a store at that address has under ``name``."""
    return f"{store}/{quote(name)}"


LONGEST_NAME: Final = 200
"""Bytes of UTF-8 in one part of a path, marks, number and ending aside; file systems take 255."""

_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*]')
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", "clock$", "conin$", "conout$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that reorder what is shown, so that a name could look like another."""
_OWN_ENDINGS: Final = (*CLIP_ENDINGS, FRAME_ENDING)
_OWN_MARKS: Final = (MISMATCH_MARK, ASIDE_MARK)


def clip_name(
    key: str,
    *,
    pattern: str = "{id}",
    columns: Mapping[str, str],
    kind: Kind,
    taken: Taken,
) -> str:
    """A free path for a clip, relative to the run folder: ``videos/<name>.mp4``.

    ``pattern`` holds text, ``/`` for folders, and ``{column}``; ``{id}`` is the row's key. The
    row's next take is ``<name>.take2.mp4``; where the name is another row's, ``<name>-2.mp4``.
    Raises `SettingsError` for a pattern that cannot be used.
    """
    parts = [_filled(part, {**columns, "id": key}) for part in _folders(pattern)]
    folder = "/".join([FOLDERS[kind], *(safe_folder(part) for part in parts[:-1])])
    stem = safe_stem(parts[-1])
    first = f"{folder}/{stem}{CLIP_ENDING}"
    if not taken(first):
        return first
    mark = "-" if taken.is_anothers(first, key) else TAKE_MARK
    paths = (
        f"{folder}/{stem}{mark}{n}{CLIP_ENDING}" for n in count(max(2, taken.of(key, kind) + 1))
    )
    return next(path for path in paths if not taken(path))


def film_name(text: str, kind: Kind, taken: Taken) -> str:
    """A free name for a film: ``<text>.mp4``, ``<text>-2.mp4``; ``<text>.draft.mp4`` of drafts."""
    stem, mark = safe_stem(text), ".draft" if kind is Kind.DRAFT else ""
    names = (f"{stem}{f'-{n}' if n > 1 else ''}{mark}{CLIP_ENDING}" for n in count(1))
    return next(name for name in names if not taken(name))


def check_pattern(pattern: str, columns: Iterable[str]) -> None:
    """Raise `SettingsError` where ``pattern`` cannot name clips of a table with ``columns``."""
    known = dict.fromkeys([*columns, "id"], "")
    for part in _folders(pattern):
        _filled(part, known)


def frame_name(clip_file: str) -> str:
    """Where a clip's returned last frame lies: ``frames/<name>.png``; a draft's beside it."""
    folder, _, name = clip_file.partition("/")
    return f"{FRAME_FOLDERS.get(folder, 'frames')}/{_stem(name)}{FRAME_ENDING}"


def mismatch_name(clip_file: str, ending: str = CLIP_ENDING) -> str:
    """Where a clip that is not what was asked for is kept."""
    return f"{_stem(clip_file)}{MISMATCH_MARK}{ending}"


def with_ending(clip_file: str, ending: str) -> str:
    """A clip's name with the ending that its content deserves."""
    return f"{_stem(clip_file)}{ending}"


def _stem(clip_file: str) -> str:
    found = next((e for e in CLIP_ENDINGS if clip_file.endswith(e)), "")
    return clip_file.removesuffix(found)


def aside_names(file: str) -> Iterator[str]:
    """Names, without end, for a file that stands where a clip belongs."""
    stem, dot, ending = file.rpartition(".")
    for number in count(1):
        yield f"{stem}{ASIDE_MARK}{'' if number == 1 else f'.{number}'}{dot}{ending}"


def twin_key(path: str) -> str:
    """What two paths share that some file system holds for one: letter case and composition."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


class Taken:
    """The paths that are spoken for, on disk or in the journal; twins count as the same path."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._owners: dict[str, str | None] = {twin_key(path): None for path in paths}

    def __call__(self, path: str) -> bool:
        """Whether ``path`` or a twin of it is spoken for."""
        return twin_key(path) in self._owners

    def add(self, path: str, key: str | None = None) -> None:
        """Speak for a path, for the row of that key where it is known."""
        self._owners[twin_key(path)] = key

    def is_anothers(self, path: str, key: str) -> bool:
        """Whether a path is known to be spoken for by another row."""
        return self._owners.get(twin_key(path)) not in {None, key}

    def of(self, key: str, kind: Kind) -> int:
        """How many clips of that kind a row has."""
        home = f"{FOLDERS[kind]}/"
        return sum(path.startswith(home) and key == own for path, own in self._owners.items())


# ── patterns ────────────────────────────────────────────────────────────────────────────────────

_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])|[^{}]+")


def _folders(pattern: str) -> list[str]:
    """The pattern's parts; only its own ``/`` divides, never one inside a column's name."""
    parts = [""]
    for piece in _PIECE.finditer(pattern):
        if piece[0].startswith("{") or "/" not in piece[0]:
            parts[-1] += piece[0]
            continue
        head, *rest = piece[0].split("/")
        parts[-1] += head
        parts.extend(rest)
    if any(part.strip(" .") == "" for part in parts):
        raise SettingsError(f"--name {pattern!r} has a part that is empty or only dots")
    return parts


def _filled(part: str, columns: Mapping[str, str]) -> str:
    return "".join(_piece_text(piece, columns) for piece in _PIECE.finditer(part))


def _piece_text(piece: re.Match[str], columns: Mapping[str, str]) -> str:
    name, stray = piece[1], piece[2]
    if stray is not None:
        raise SettingsError(
            f"--name has a {stray!r} with no column", hint="write {{ or }} for a brace"
        )
    if name is None:
        return piece[0].replace("{{", "{").replace("}}", "}")
    if name in columns:
        return columns[name]
    if re.search(r"[.\[\]!:]", name):
        raise SettingsError(f"--name takes plain column names only, not {{{name}}}")
    raise SettingsError(
        f"--name uses {{{name}}}, but there is no such column",
        hint=f"columns are: {', '.join(columns)}",
    )


# ── one part of a path ──────────────────────────────────────────────────────────────────────────


def safe_folder(text: str) -> str:
    """A text as the name of one folder."""
    name = _safe(text)
    # A folder never has the name that a clip or a frame could have.
    return f"{name}_" if twin_key(name).endswith(_OWN_ENDINGS) else name


def safe_stem(text: str) -> str:
    """A text as a file's name without its ending."""
    name = _safe(text)
    return f"{name}_" if twin_key(name).endswith(_OWN_MARKS) else name


def _safe(text: str) -> str:
    """One part of a path that every common file system takes as it is."""
    shown = "".join(_safe_character(character) for character in text)
    name = _FORBIDDEN.sub("_", " ".join(unicodedata.normalize("NFC", shown).split()))
    name = _trimmed(name).rstrip(" .")
    if name.startswith("."):  # neither hidden nor a way upwards
        name = f"_{name[1:]}"
    if name.partition(".")[0].rstrip().casefold() in _DEVICES:
        name = f"_{name}"
    return name or "_"


def _safe_character(character: str) -> str:
    match unicodedata.category(character):
        case "Cc" | "Zl" | "Zp":
            return " "
        case "Cs":  # half of a surrogate pair has no bytes in UTF-8
            return "_"
        case "Cf" if character in _BIDI or character == "\ufeff":
            return ""
        case _:
            return character


def _trimmed(name: str) -> str:
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")
