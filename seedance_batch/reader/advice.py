"""What a careful colleague would say of what is allowed: warnings, never problems.

Of a row before it is paid for, and of columns that are not sent and were probably meant to be.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from seedance_batch.core.manifest import Code, Place
from seedance_batch.core.model import (
    DEFAULT_MODEL,
    MEDIA_FIELDS,
    MODEL_SPELLINGS,
    TaskInput,
    family_model,
)
from seedance_batch.reader.cells import NOTHING, Table, parser, quoted
from seedance_batch.reader.headings import Layout, ManifestColumn, resembles, slip_of
from seedance_batch.reader.media_files import Found
from seedance_batch.reader.source import Noted

# ── Of a row that is allowed: what is worth a look before it is paid for ──────────────────────────


MANY_WORDS: Final = 1_000
"""Models truncate prompts beyond about so many words."""
FRAME_RATIO_TOLERANCE: Final = 0.1
"""How far a frame's shape may lie from the clip's before cropping or bars show."""

_HAN: Final = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
"""Compiled for long prompts alone: ranges as large take 2 ms."""
_MARKED: Final = re.compile(r"(?:@|<<<|[\[【])\s*(?:image|video|audio|图|视频|音频)", re.IGNORECASE)
"""What is meant for a name of a reference, also in a row that has none."""
NAMED: Final = re.compile(
    r"(?P<mark>(?:@|<<<|[\[【])\s*)?"
    r"(?:\b(?P<kind>image|video|audio)[ _-]?(?P<number>[1-9][0-9]?)\b"
    r"|(?P<han>图片|图像|视频|音频|图)\s?(?P<han_number>[1-9][0-9]?))",
    re.IGNORECASE,
)
_HAN_KINDS: Final = {
    "图片": "image",
    "图像": "image",
    "图": "image",
    "视频": "video",
    "音频": "audio",
}

Advice = Iterator[tuple[str, str]]
"""(field, words) pairs."""


def advice(task_input: TaskInput, model: str, found: Mapping[str, list[Found]]) -> Advice:
    """Everything worth a look before this row is paid for."""
    if family_model(model) is None:
        rules = f"the rules of {DEFAULT_MODEL} hold, and its own where HiAPI publishes them"
        yield "model", f"{quoted(model)} is not a model that this program knows: {rules}"
    if not task_input.prompt.isascii() and (words := misread(task_input.prompt)):
        yield "prompt", words
    if len(task_input.prompt) >= MANY_WORDS:
        yield from _long_prompt(task_input.prompt)
    if found:
        yield from _fighting_frames(task_input, found)
    if found or _MARKED.search(task_input.prompt):
        yield from _missing_references(task_input)


def _long_prompt(prompt: str) -> Advice:
    han = len(re.findall(_HAN, prompt))
    words = han + len(re.sub(_HAN, " ", prompt).split()) if han else len(prompt.split())
    if words > MANY_WORDS:
        yield "prompt", f"has {words:,} words; models ignore everything after about 1,000"


def _fighting_frames(task_input: TaskInput, found: Mapping[str, list[Found]]) -> Advice:
    wanted = task_input.aspect_ratio.quotient
    for name in ("first_frame_url", "last_frame_url"):
        for frame in found.get(name, []):
            if wanted is None or frame.sides is None:
                continue
            width, height = frame.sides
            if abs(width / height / wanted - 1) > FRAME_RATIO_TOLERANCE:
                ratio = task_input.aspect_ratio.value
                yield name, f"the frame has {width}×{height} pixels, which does not match {ratio}"


def named_kind(named: re.Match[str]) -> str:
    return named["kind"].casefold() if named["kind"] else _HAN_KINDS[named["han"]]


def _missing_references(task_input: TaskInput) -> Advice:
    counts = {
        "image": len(task_input.reference_image_urls or task_input.frames),
        "video": len(task_input.reference_video_urls or ()),
        "audio": len(task_input.reference_audio_urls or ()),
    }
    told = set()
    for match in NAMED.finditer(task_input.prompt):
        kind = named_kind(match)
        number = int(match["number"] or match["han_number"])
        # "Image 3" without any image may be plain words; "@image3" never is.
        meant = counts[kind] or match["mark"] is not None
        if number > counts[kind] and meant and (kind, number) not in told:
            told.add((kind, number))
            there = f"there are {counts[kind]}" if counts[kind] else f"the row has no {kind}"
            yield "prompt", f"names {kind} {number}, but {there}"


# ── Text that another program has read in the wrong encoding, before it was saved here ────────────


_CP1252: Final = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
_RUN: Final = re.compile(f"[\u0080-\u00ff{_CP1252}]{{2,}}")
_UTF8: Final = re.compile(
    rb"[\xc2\xc3][\x80-\xbf]|\xe2\x80[\x80-\xbf]|\xf0\x9f[\x80-\xbf]{2}"
    rb"|(?:[\xe0-\xef][\x80-\xbf]{2}){2,}|(?:[\xce-\xd1][\x80-\xbf]){2,}"
)
"""Bytes of UTF-8 that nobody means by the signs which they are in Western encodings."""
_ELSEWHERE: Final = re.compile(
    "√[§©®°±º∂†üÑñ]|‚Ä[ôúùìîò¶¢]"  # as MacRoman reads it
    "|├[®ñÂ╝┤║ƒ¡óá]"  # as the consoles of Western Windows do
    "|(?:[РС][\u0402-\u040f\u0452-\u045f\u00a0-\u00bf‚-›€™]){2,}|锟斤拷|鈥[檛渂]"
)


def misread(text: str) -> str | None:
    """What to say of a text that was read in a wrong encoding once: ``cafÃ©``; None for others."""
    if "�" in text:
        return "holds �: a character was lost in another program; type it again"
    for run in _RUN.finditer(text):
        if found := _UTF8.search(_western(run[0])):
            return _misread(_around(text, run.start(), run.end()), found[0].decode(errors="ignore"))
    found_elsewhere = _ELSEWHERE.search(text)
    if found_elsewhere is None:
        return None
    return _misread(_around(text, found_elsewhere.start(), found_elsewhere.end()), "")


def _misread(seen: str, meant: str) -> str:
    was = f" (it was {quoted(meant)})" if meant.strip() and meant.isprintable() else ""
    return (
        f"holds {quoted(seen)}, which looks like text that was once read in the wrong encoding{was}"
    )


def _western(text: str) -> bytes:
    """The bytes that Western Windows shows as these signs."""
    return b"".join(
        sign.encode("cp1252") if sign in _CP1252 else sign.encode("latin-1") for sign in text
    )


def _around(text: str, start: int, end: int) -> str:
    """The word that a part of a text belongs to."""
    first = max(text.rfind(" ", 0, start) + 1, start - 12)
    last = text.find(" ", end)
    return text[first : min(len(text) if last < 0 else last, end + 12)]


# ── Of columns that are not sent and were probably meant to be, by their headings or their values ─


Cells = Mapping[str, str]
"""A row's own texts by heading."""

DEFAULTS: Final = {
    "duration": f"{TaskInput.model_fields['duration'].default} s",
    "resolution": TaskInput.model_fields["resolution"].default.value,
    "aspect_ratio": TaskInput.model_fields["aspect_ratio"].default.value,
    "model": DEFAULT_MODEL,
}
"""What applies where a manifest says nothing."""


def warn_of_hidden(pairs: Sequence[tuple[Table, Layout]], noted: Noted) -> None:
    """Warn of each column that is sent and that its person does not see."""
    for table, layout in pairs:
        for column in () if layout.is_ours else layout.inputs:  # we fold columns ourselves
            if column.position in table.hidden_columns and column.field != "id":
                place = table.heading_place(column.position, column.heading)
                noted.warning(
                    place, f"is hidden in the workbook, and is sent as the {column.field}"
                )


def warn_of_comments(ids: Sequence[tuple[str, Place]], noted: Noted) -> None:
    """Warn of ``#b`` among ids without the sign: somebody may mean that the row is left out."""
    marked = [(text, place) for text, place in ids if text.startswith("#")]
    for text, place in marked if len(marked) < len(ids) else ():
        noted.warning(
            place, f"{quoted(text)} begins with #, and is sent; a column skip leaves it out"
        )


def warn_of_unsent(
    pairs: Sequence[tuple[Table, Layout]],
    rows: Sequence[Cells],
    overridden: Collection[str],
    noted: Noted,
) -> None:
    """Warn of each column that is not sent and seems to say what no other column says."""
    said = {*overridden, *_said(pairs, rows)}
    for table, layout in pairs:
        for column in layout.own if layout.column_of("prompt") else ():
            if column.field is not None or slip_of(column.heading):
                continue  # sent, or a problem already
            if words := _suspicion(column, rows, said):
                noted.warning(
                    table.heading_place(column.position, column.heading), words, Code.NOT_SENT
                )


def _said(pairs: Sequence[tuple[Table, Layout]], rows: Sequence[Cells]) -> Iterator[str]:
    """The fields that some row says something about; a column of blanks says nothing."""
    for _, layout in pairs:
        for column in layout.inputs:
            own = column in layout.own
            if not own or any(row.get(column.heading, "").strip() for row in rows):
                yield str(column.field)


def _suspicion(column: ManifestColumn, rows: Sequence[Cells], said: set[str]) -> str | None:
    for field in ("duration", "resolution"):
        if field not in said and resembles(column.heading, field):
            return _words(field, "may be", column.heading)
    for field, is_one in _KINDS.items():
        if field not in said and _are_all(is_one, column.heading, rows):
            return _words(field, "seems to contain", column.heading)
    if said.isdisjoint(MEDIA_FIELDS) and _are_all(_is_picture, column.heading, rows):
        return (
            "is not sent, but seems to contain pictures: no row gets one "
            f"({_way('first_frame_url', column.heading)})"
        )
    return None


def id_offer(pairs: Sequence[tuple[Table, Layout]], rows: Sequence[Cells]) -> str | None:
    """The heading of a column that could name the rows, where they have no ids."""
    if len(rows) < _FEW or "id" in _said(pairs, rows):
        return None
    own = (column.heading for _, layout in pairs for column in layout.own if column.field is None)
    named = (heading for heading in own if _NAMING & set(_WORD.findall(heading.casefold())))
    return next((heading for heading in named if _tells_apart(heading, rows)), None)


def _tells_apart(heading: str, rows: Sequence[Cells]) -> bool:
    texts = {text for row in rows if (text := row.get(heading, "").strip())}
    return len(texts) == len(rows) and all(_CODE.fullmatch(text) for text in texts)


_FEW: Final = 2
_NAMING: Final = frozenset(
    "shot shots no nr num number nummer numéro numero name id ids clip code key slug ref # "
    "einstellung plan plano toma 镜号 镜头 编号 カット".split()
)
_WORD: Final = re.compile(r"[^\W_]+|#")
_CODE: Final = re.compile(r"\S(?:.{0,38}\S)?")
"""A short text on one line."""


def _words(field: str, seems: str, heading: str) -> str:
    default = DEFAULTS[field]
    return (
        f"is not sent, but {seems} the {field}: every row gets {default} ({_way(field, heading)})"
    )


def _way(field: str, heading: str) -> str:
    return f"rename it, or use --map {field}={shlex.quote(heading)}"


def _are_all(is_one: Callable[[str], object], heading: str, rows: Sequence[Cells]) -> bool:
    """Whether each value of a column is of a kind, blanks aside, and there is one at all."""
    known: set[str] = set()
    for row in rows:
        text = row.get(heading, "").strip()
        if text and text not in known and text.casefold() not in NOTHING:
            if len(text) > _LONGEST or not is_one(text):
                return False
            known.add(text)
    if is_one is _is_model:
        return any(text not in MODEL_SPELLINGS for text in known)
    return bool(known) and not (is_one is _is_length and _is_numbering(heading, rows))


_LONGEST: Final = 200


# ── what one value looks like ───────────────────────────────────────────────────────────────────

_OTHER_RATIOS: Final = frozenset(
    "4:5 5:4 2:3 3:2 3:5 5:3 1:2 2:1 16:10 10:16 9:21 9:18 18:9 17:9 "
    "1.33:1 1.37:1 1.66:1 1.78:1 1.85:1 1.9:1 1.91:1 2:1 2.2:1 2.35:1 2.39:1 2.4:1 2.40:1".split()
)
"""Ratios that people write and the service does not take: mapped, such a cell is a problem."""
_SIGN: Final = re.compile(r"\s*[:：∶x×]\s*", re.IGNORECASE)
_is_size: Final = re.compile(
    r"(?:480|720|1080|1440|2160)[pi]?|[248]k"
    r"|(?:u|q|f|full[ -]?|ultra[ -]?)?hd(?:[ -](?:720|1080)p?)?"
    r"|[0-9]{3,4}\s?[x×]\s?[0-9]{3,4}",
    re.IGNORECASE,
).fullmatch
_is_length: Final = re.compile(
    r"(?:[0-9]{1,2}\s?[-–]\s?)?[0-9]{1,3}(?:[.,][0-9]+)?\s?"
    r"(?:s|secs?\.?|seconds?|sek\.?|sekunden|segundos|secondes|secondi|seconden|秒|″|\"|'')"
    r"|0?0:[0-9]{2}|00:00:[0-9]{2}|0?[4-9]|1[0-5]",
    re.IGNORECASE,
).fullmatch
"""With its unit, or as a clock shows it; a bare number only where a clip may last so long."""
_is_picture: Final = re.compile(
    r"\S.*\.(?:jpe?g|png|webp|bmp|tiff?|gif|heic)(?:\?\S*)?", re.IGNORECASE
).fullmatch


def _is_ratio(text: str) -> bool:
    return parser("aspect_ratio")(text).problem is None or _SIGN.sub(":", text) in _OTHER_RATIOS


def _is_model(text: str) -> bool:
    return "seedance" in text.casefold()


_KINDS: Final[Mapping[str, Callable[[str], object]]] = {
    "aspect_ratio": _is_ratio,
    "resolution": _is_size,
    "duration": _is_length,
    "model": _is_model,
}


def _is_numbering(heading: str, rows: Sequence[Cells]) -> bool:
    """Whether a column of bare numbers or times counts up, as scenes and time codes do."""
    texts = [text for row in rows if (text := row.get(heading, "").strip())]
    if not all(_NUMBER.fullmatch(text) for text in texts):
        return False
    numbers = [int(text.replace(":", "")) for text in texts]
    steps = [after - before for before, after in pairwise(numbers)]
    is_clock = any(":" in text for text in texts)
    if is_clock:
        return len(steps) > 1 and all(step > 0 for step in steps)
    return any(steps) and set(steps) <= {0, 1}


_NUMBER: Final = re.compile(r"[0-9]+(?::[0-9]+)*")
