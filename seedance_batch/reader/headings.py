"""Which column feeds which input field, which are the person's own, and which we wrote."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from seedance_batch.core.columns import INPUT_COLUMNS, folded, our_columns, unguarded, was_altered
from seedance_batch.core.manifest import Code
from seedance_batch.core.model import INPUT_FIELDS, MEDIA_FIELDS
from seedance_batch.reader.cells import Table, column_letter, is_blank, parser, quoted
from seedance_batch.reader.source import Noted

# ── Which column feeds which input field: HiAPI's names, common names from elsewhere, ``--map`` ───
# A heading that looks like a slip of the pen is a problem, never a guess; every other column is
# the person's own.


FIELDS: Final = ("id", "model", *INPUT_FIELDS)
"""Everything a manifest may say about a row."""

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "id": ("filename", "file_name", "output_filename", "output_name", "clip_name", "video_name"),
    "model": ("model_id", "model_name", "模型"),
    "prompt": ("text_prompt", "video_prompt", "prompt_text", "positive_prompt", "提示词", "提示詞"),
    "aspect_ratio": ("ratio", "aspect", "ar", "video_ratio", "aspectratio", "画面比例", "比例"),
    "duration": (
        *("seconds", "secs", "length", "duration_s", "duration_sec", "duration_seconds"),
        *("video_length", "时长", "時長", "秒数"),
    ),
    "resolution": ("res", "quality", "video_quality", "分辨率", "清晰度"),
    "first_frame_url": (
        *("image", "image_url", "first_frame", "first_image", "first_frame_image"),
        *("start_frame", "start_frame_url", "start_image", "start_image_url"),
        *("input_image", "init_image", "首帧", "首帧图"),
    ),
    "last_frame_url": (
        *("last_frame", "last_image", "last_frame_image", "end_frame", "end_frame_url"),
        *("end_image", "end_image_url", "tail_image", "tail_image_url", "尾帧", "尾帧图"),
    ),
    "reference_image_urls": (
        *("reference_images", "reference_image", "reference_image_url", "ref_images"),
        *("ref_image", "images", "image_urls", "image_references", "参考图", "参考图片"),
    ),
    "reference_video_urls": (
        *("reference_videos", "reference_video", "reference_video_url", "ref_videos"),
        *("ref_video", "video_references", "参考视频"),
    ),
    "reference_audio_urls": (
        *("reference_audios", "reference_audio", "reference_audio_url", "ref_audios"),
        *("ref_audio", "audio_references", "参考音频"),
    ),
    "return_last_frame": ("returnlastframe",),
    "generate_audio": ("audio", "sound", "with_audio", "with_sound", "audio_on", "声音"),
    "web_search": ("websearch", "search"),
    "nsfw_checker": ("nsfw", "nsfw_check", "safety_checker"),
    "seed": ("random_seed", "seeds", "种子"),
}
"""Headings that other tools use, by the field they mean."""

_ABROAD: Final[dict[str, tuple[str, ...]]] = {
    "id": (
        *("dateiname", "nom_de_fichier", "nom_du_fichier", "nombre_de_archivo", "nome_file"),
        *("nome_do_arquivo", "nome_do_ficheiro", "bestandsnaam", "文件名", "檔名", "ファイル名"),
    ),
    "prompt": (
        *("prompttext", "videoprompt", "bildprompt", "texte_du_prompt", "texto_del_prompt"),
        *("testo_del_prompt", "texto_do_prompt", "prompttekst", "プロンプト"),
    ),
    "aspect_ratio": (
        *("seitenverhältnis", "seitenverhaeltnis", "bildverhältnis", "bildformat"),
        *("rapport_d'aspect", "format_d'image", "relación_de_aspecto", "proporción"),
        *("rapporto_d'aspetto", "proporzioni", "proporção", "beeldverhouding"),
        *("画面比率", "畫面比例", "宽高比", "寬高比", "长宽比", "縦横比", "アスペクト比"),
    ),
    "duration": (
        *("dauer", "länge", "laenge", "sekunden", "durée", "longueur", "secondes", "duración"),
        *("segundos", "durata", "lunghezza", "secondi", "duração", "duur", "lengte", "seconden"),
        *("长度", "長度", "秒數", "長さ", "再生時間"),
    ),
    "resolution": (
        *("auflösung", "aufloesung", "qualität", "résolution", "qualité", "resolución", "calidad"),
        *("risoluzione", "qualità", "resolução", "qualidade", "resolutie", "kwaliteit"),
        *("解析度", "解像度", "画質"),
    ),
    "first_frame_url": (
        *("startbild", "erstes_bild", "anfangsbild", "première_image", "image_de_départ"),
        *("primer_fotograma", "imagen_inicial", "primo_fotogramma", "immagine_iniziale"),
        *("primeiro_quadro", "imagem_inicial", "eerste_frame", "startbeeld", "beginbeeld"),
        *("首幀", "開始フレーム", "最初のフレーム", "開始画像"),
    ),
    "last_frame_url": (
        *("endbild", "letztes_bild", "schlussbild", "dernière_image", "image_de_fin"),
        *("último_fotograma", "imagen_final", "ultimo_fotogramma", "immagine_finale"),
        *("último_quadro", "imagem_final", "laatste_frame", "eindbeeld"),
        *("尾幀", "終了フレーム", "最後のフレーム", "終了画像"),
    ),
}
"""The same in German, French, Spanish, Italian, Portuguese, Dutch, Chinese and Japanese."""

FORBIDDEN: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("api_key", "apikey", "hiapi_api_key", "authorization", "bearer_token", "access_token"),
        "a manifest must not contain a key; set HIAPI_API_KEY instead and delete this",
    ),
    **dict.fromkeys(
        ("api_url", "base_url", "hiapi_base_url", "endpoint"),
        "a manifest does not set the API address; use --api-url and delete this",
    ),
    **dict.fromkeys(
        ("callback", "callback_url", "webhook", "webhook_url"),
        "a manifest does not set the callback address; use --callback-url and delete this",
    ),
}
"""Headings of what a manifest must not set."""

_NOT_A_SLIP: Final = frozenset({"mode", "models", "modal", "ids", "duration_note", "prompter"})
_SEPARATORS: Final = re.compile(r"[\s\-./]+")


def plain(heading: str) -> str:
    """How headings are compared: ``Aspect Ratio`` and ``aspect-ratio`` are ``aspect_ratio``."""
    text = unicodedata.normalize("NFKC", heading).strip(" \t\r\n\ufeff*:").casefold()
    return _SEPARATORS.sub("_", text)


def _bare(name: str) -> str:
    """The same without marks on its letters, and with plain apostrophes."""
    letters = unicodedata.normalize("NFD", name.replace("’", "'"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


_BY_ALIAS: Final = {
    _bare(plain(alias)): field
    for names_of in (ALIASES, _ABROAD)
    for field, names in names_of.items()
    for alias in names
}
_IN_SECONDS: Final = re.compile(
    r"_?[(\[]?(in_)?(s|秒|secs?|seconds?|sek|sekunden|segundos|secondes|secondi|seconden)_?[)\]]?"
)
"""What may stand behind the name of a length: ``Dauer (s)``, ``length in sec``."""


def field_of(heading: str) -> str | None:
    """The input field that a heading names, by HiAPI's name or an alias."""
    name = plain(heading)
    return name if name in FIELDS else _BY_ALIAS.get(_bare(name)) or _length_of(_bare(name))


def _length_of(name: str) -> str | None:
    """``duration`` for the name of a length with its unit."""
    for end in (name.find("("), name.find("["), name.find("_in_"), name.rfind("_")):
        if end > 0 and _IN_SECONDS.fullmatch(name[end:]):
            stem = name[:end].rstrip("_")
            if "duration" in {stem, _BY_ALIAS.get(stem)}:
                return "duration"
    return None


def resembles(heading: str, field: str) -> bool:
    """Whether a heading that is none of a field's has such a name inside: ``Clip-Dauer``."""
    name = _bare(plain(heading))
    names = [field, *(alias for alias, of in _BY_ALIAS.items() if of == field)]
    return any(alias in name for alias in names if len(alias) > 3 or not alias.isascii())


def names_prompt(heading: str, column_map: Mapping[str, str]) -> bool:
    """Whether a column of that heading is the prompt."""
    mapped = column_map.get("prompt")
    return field_of(heading) == "prompt" if mapped is None else plain(heading) == plain(mapped)


def heading_index(rows: Sequence[Sequence[str]], column_map: Mapping[str, str]) -> int:
    """Which of the first rows holds the headings: the first that names the prompt, else row 0.

    Titles and notes may stand above a table.
    """
    for index, row in enumerate(rows[:_TITLES]):
        if any(names_prompt(cell, column_map) for cell in row if len(cell) <= _LONGEST_HEADING):
            return index
    return 0


_TITLES: Final = 10
_LONGEST_HEADING: Final = 200


def slip_of(heading: str) -> str | None:
    """The field that a heading was probably meant to be; None where it is the person's own."""
    name = plain(heading)
    if name in _NOT_A_SLIP or len(name) < 5:
        return None
    letters = set(name)
    for field, own in _LONG_FIELDS.items():
        edits = 1 if len(field) < 8 else 2
        if len(own - letters) <= edits and _distance(name, field) <= edits:
            return field
    return None


_LONG_FIELDS: Final = {field: frozenset(field) for field in FIELDS if len(field) >= 5}
"""The fields whose names are long enough to be told from another word, with their letters."""


def _distance(a: str, b: str) -> int:
    """Edits between two words: letters added, left out, replaced, or two swapped."""
    if abs(len(a) - len(b)) > 2:
        return 3
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


# ── Which of a table's columns are inputs, which are the person's, and which we wrote ourselves ───


@dataclass(frozen=True, slots=True)
class ManifestColumn:
    """A column of a table: where it stands, its heading made unique, the field that it feeds."""

    position: int
    heading: str
    field: str | None
    is_own: bool
    """The person's, so it comes back in the results."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A table's columns by use; a column may be both an input and the person's own."""

    inputs: tuple[ManifestColumn, ...]
    """The columns that feed an input field."""
    own: tuple[ManifestColumn, ...]
    """The person's columns, in their order."""
    is_ours: bool = False
    """Whether this is a results sheet of ours."""
    status: int | None = None
    """In a sheet of ours, where a row's status stands."""
    told: tuple[tuple[str, int], ...] = ()
    """In a sheet of ours: names and positions of columns that tell of a row's last attempt."""

    @property
    def has_media(self) -> bool:
        """Whether some column names media."""
        return any(column.field in MEDIA_FIELDS for column in self.inputs)

    def column_of(self, field: str) -> ManifestColumn | None:
        """The column that feeds a field."""
        return next((column for column in self.inputs if column.field == field), None)

    def position_of(self, field: str) -> int | None:
        """Where that column stands."""
        column = self.column_of(field)
        return None if column is None else column.position


def layout_of(table: Table, column_map: Mapping[str, str], noted: Noted) -> Layout:
    """Understand a table's headings. In our own CSV sheets, takes the formula guard off."""
    ours = our_columns(table.headings)
    if ours and table.is_csv:
        _take_off_guards(table)
    elif ours:
        _mark_altered(table)
    headings = _unique_headings(table, ours, noted)
    fields = _fields(table, headings, ours, column_map, noted)
    columns = [
        ManifestColumn(position, heading, fields.get(position), position not in ours)
        for position, heading in headings.items()
    ]
    return Layout(
        inputs=tuple(column for column in columns if column.field),
        own=tuple(column for column in columns if column.is_own),
        is_ours=bool(ours),
        status=next((position for position, name in ours.items() if name == "status"), None),
        told=tuple((name, position) for position, name in ours.items() if name in _TELLING),
    )


_TELLING: Final = frozenset({"status", "kind", "task_id", "submitted_at"})


def _take_off_guards(table: Table) -> None:
    table.headings = [unguarded(heading) for heading in table.headings]
    table.rows = [
        [unguarded(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows
    ]


def _mark_altered(table: Table) -> None:
    words = "is cut off: it was too long for a workbook cell; use results.csv"
    altered = {
        (index, position): words
        for index, row in enumerate(table.rows)
        for position, cell in enumerate(row)
        if isinstance(cell, str) and was_altered(cell)
    }
    table.flaws = {**table.flaws, **altered}


def _unique_headings(table: Table, ours: Iterable[int], noted: Noted) -> dict[int, str]:
    """Position → heading; blank columns are left out, twins and nameless ones get a name."""
    ours = set(ours)
    found: dict[int, str] = {}
    taken: set[str] = set()
    for position, written in enumerate(table.headings):
        heading = written if not is_blank(written) else _nameless(table, position, noted)
        if heading is None:
            continue
        if heading in taken and position not in ours:
            heading = _numbered(heading, taken)
            noted.receipt(
                table.heading_place(position),
                f"a second column of that name comes back as {quoted(heading)}",
            )
        found[position] = heading
        taken.add(heading)
    return found


def _nameless(table: Table, position: int, noted: Noted) -> str | None:
    if all(position >= len(row) or is_blank(row[position]) for row in table.rows):
        return None
    heading = f"column {column_letter(table.first_letter + position)}"
    noted.receipt(
        table.heading_place(position, heading),
        f"a column without a heading comes back as {quoted(heading)}",
    )
    return heading


def _numbered(heading: str, taken: set[str]) -> str:
    number = 2
    while f"{heading} ({number})" in taken:
        number += 1
    return f"{heading} ({number})"


# ── fields ──────────────────────────────────────────────────────────────────────────────────────


def _fields(
    table: Table,
    headings: Mapping[int, str],
    ours: Mapping[int, str],
    column_map: Mapping[str, str],
    noted: Noted,
) -> dict[int, str]:
    """Position → field: ``--map`` first, then HiAPI's names, then aliases; ours fill the rest."""
    fields = _mapped(headings, ours, column_map)
    written = {p: table.headings[p] for p in headings if p not in ours and p not in fields}
    for exact in (True, False):
        _claim(table, written, fields, exact, noted)
    _claim_by_values(table, written, fields, noted)
    _refuse_what_is_no_input(table, written, fields, noted)
    claimed = set(fields.values())
    ours_left = {p: n for p, n in ours.items() if n in INPUT_COLUMNS and n not in claimed}
    return fields | ours_left


def _mapped(
    headings: Mapping[int, str], ours: Mapping[int, str], column_map: Mapping[str, str]
) -> dict[int, str]:
    fields: dict[int, str] = {}
    for field, wanted in column_map.items():
        own = [p for p in headings if p not in ours]
        exact = [p for p in own if headings[p] == wanted]
        loose = [p for p in own if folded(headings[p]) == folded(wanted)]
        if field in FIELDS and (exact or loose):
            fields[(exact or loose)[0]] = field
    return fields


def _claim(
    table: Table, written: Mapping[int, str], fields: dict[int, str], exact: bool, noted: Noted
) -> None:
    """Give each field to the one column that names it; two of one rank are a problem.

    ``exact`` ones have HiAPI's own name, the others an alias.
    """
    claims: dict[str, list[int]] = defaultdict(list)
    taken = set(fields.values())
    for position, heading in written.items():
        field = field_of(heading)
        if field and position not in fields and (plain(heading) in FIELDS) is exact:
            claims[field].append(position)
    for field, positions in claims.items():
        if field in taken:
            _tell_unused(table, field, positions, noted)
            continue
        fields[positions[0]] = field
        for other in positions[1:]:
            noted.problem(
                table.heading_place(other),
                f"names {field}, as {quoted(table.headings[positions[0]])} does; rename one, "
                f"or use --map {field}=…",
            )


_FORMAT: Final = frozenset({"format", "formato", "formaat"})


def _claim_by_values(
    table: Table, written: Mapping[int, str], fields: dict[int, str], noted: Noted
) -> None:
    """A column called *format* is the ratio where it holds ratios; it may as well hold ``mp4``."""
    free = [p for p, heading in written.items() if plain(heading) in _FORMAT and p not in fields]
    if "aspect_ratio" in fields.values() or len(free) != 1:
        return
    (position,) = free
    values = {row[position] for row in table.rows if position < len(row)}
    read = [parser("aspect_ratio")(value) for value in values if not is_blank(value)]
    ratios = sum(cell.value is not None for cell in read)
    if ratios and ratios * 2 >= len(read):
        fields[position] = "aspect_ratio"
        noted.receipt(table.heading_place(position), "is read as the aspect_ratio by its values")


def _tell_unused(table: Table, field: str, positions: Iterable[int], noted: Noted) -> None:
    for position in positions:
        noted.warning(
            table.heading_place(position),
            f"is not sent: {field} comes from another column",
            Code.NOT_SENT,
        )


def _refuse_what_is_no_input(
    table: Table, written: Mapping[int, str], fields: Mapping[int, str], noted: Noted
) -> None:
    counts = Counter(fields.values())
    for position, heading in written.items():
        if position in fields:
            continue
        if why := FORBIDDEN.get(plain(heading)):
            noted.problem(table.heading_place(position), why)
        elif (meant := slip_of(heading)) and not counts[meant]:
            noted.problem(
                table.heading_place(position),
                f"is not an input field; did you mean {meant}? "
                f"(rename it, or use --map {meant}={shlex.quote(heading)})",
            )
