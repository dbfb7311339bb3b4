"""Which column feeds which input field: HiAPI's names, common names from elsewhere, ``--map``.

A heading that looks like a slip of the pen is a problem, never a guess; every other column is the
person's own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

from seedance_batch.model import INPUT_FIELDS

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
        "a manifest never holds a key; set HIAPI_API_KEY instead, and delete this",
    ),
    **dict.fromkeys(
        ("api_url", "base_url", "hiapi_base_url", "endpoint"),
        "a manifest never says where to send; use --api-url, and delete this",
    ),
    **dict.fromkeys(
        ("callback", "callback_url", "webhook", "webhook_url"),
        "a manifest never says where to call back; use --callback-url, and delete this",
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


def is_exact(heading: str) -> bool:
    """Whether the heading is HiAPI's own name for its field."""
    return plain(heading) in FIELDS


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
