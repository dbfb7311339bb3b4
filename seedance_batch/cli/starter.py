"""A manifest to begin with, in three formats, and the JSON Schema by which editors complete one."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.core.model import (
    HIGHEST_SEED,
    INPUT_FIELDS,
    LIST_FIELDS,
    LONGEST_CLIP,
    LONGEST_PROMPT,
    LONGEST_REFERENCE,
    MEDIA_FIELDS,
    MOST_IMAGES,
    MOST_REFERENCES,
    SHORTEST_CLIP,
    SHORTEST_PROMPT,
    SHORTEST_REFERENCE,
    AspectRatio,
    Resolution,
    TaskInput,
)
from seedance_batch.errors import UsageError
from seedance_batch.publish import replacing
from seedance_batch.reader.source import MOST_VARIANTS
from seedance_batch.run_folder import real

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

# ── Starter manifests: three rows that can be rehearsed at once, and replaced one by one ──────────


def write_starter(path: Path, pictures: Path | None = None) -> int:
    """Write a starter manifest in the format of ``path``'s ending; returns how many rows it has.

    With a folder of ``pictures`` it has a row for each, whose prompt is still to be written.
    Raises `UsageError` where the ending is none of .csv, .yaml and .xlsx, where it cannot be
    written, and where there is no picture.
    """
    write = _WRITERS.get(path.suffix.casefold())
    if write is None:
        raise UsageError(
            f"{path.name} does not end in .csv, .yaml or .xlsx",
            hint="seedance-batch init shots.xlsx",
        )
    rows = None if pictures is None else _rows_of(pictures, path)
    try:
        with replacing(path) as temporary:
            write(temporary, path.name, rows)
    except OSError as error:
        raise UsageError(f"cannot write {str(path)!r}: {error.strerror}") from None
    return len(_samples() if rows is None else rows)


Rows = list[dict[str, str]]
"""Texts by column name; a column that is not there is blank."""


def _columns() -> list[str]:
    return next(csv.reader(_template("starter.csv").splitlines()))


def _samples() -> Rows:
    return list(csv.DictReader(_template("starter.csv").splitlines()))


def _write_csv(path: Path, _: str, rows: Rows | None) -> None:
    text = io.StringIO(newline="")
    lines = csv.DictWriter(text, _columns(), restval="")
    lines.writeheader()
    lines.writerows(_samples() if rows is None else rows)
    # As Excel wants it: with a mark, or it would not read it as UTF-8.
    path.write_text(text.getvalue(), encoding="utf-8-sig", newline="")


def _write_yaml(path: Path, name: str, rows: Rows | None) -> None:
    text = _template("starter.yaml").replace("NAME", shlex.quote(name), 1)
    if rows is not None:
        head = text[: text.index("defaults:")]
        body = "\n\n".join(map(_as_yaml, rows))
        text = f"{head}defaults:\n  resolution: 480p\n  duration: 4\n\nrows:\n{body}\n"
    path.write_text(text, encoding="utf-8")


def _as_yaml(row: dict[str, str]) -> str:
    # A text in JSON is one in YAML, whatever stands in it.
    texts = [f"{name}: {json.dumps(row[name], ensure_ascii=False)}" for name in _OF_A_PICTURE]
    return "  - " + "\n    ".join([*texts, "prompt:"])


_OF_A_PICTURE: Final = ("id", "first_frame_url", "aspect_ratio")


def _template(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


# ── the workbook ────────────────────────────────────────────────────────────────────────────────

_ROWS_PREPARED: Final = 1_000
_WIDTHS: Final = {"id": 18, "prompt": 80, "note": 34}
"""In characters. The starter's prompts fit on one line: a row without a height of its own grows
when a person types, and some programs do not measure it before."""


def _write_xlsx(path: Path, _: str, rows: Rows | None) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"in_memory": True}) as book:
        sheet = book.add_worksheet("Shots")
        head = book.add_format({"bold": True, "bg_color": "#E8E4DA", "bottom": 1, "valign": "top"})
        text = book.add_format({"num_format": "@", "valign": "top"})
        wrapped = book.add_format({"num_format": "@", "valign": "top", "text_wrap": True})
        number = book.add_format({"num_format": "0", "valign": "top", "align": "left"})
        columns = _columns()
        for position, name in enumerate(columns):
            kind = {"prompt": wrapped, "duration": number}.get(name, text)
            sheet.set_column(position, position, _WIDTHS.get(name, 22), kind)
            sheet.write_string(0, position, name, head)
            if note := NOTES.get(name):
                sheet.write_comment(0, position, note, {"x_scale": 2, "author": ""})
            _limit(sheet, position, name)
        for line, row in enumerate(_samples() if rows is None else rows, 1):
            for position, name in enumerate(columns):
                value = row.get(name, "")
                if name == "duration":
                    sheet.write_number(line, position, int(value))
                elif value:
                    sheet.write_string(line, position, value)
        sheet.freeze_panes(1, 1)


def _limit(sheet: Worksheet, position: int, name: str) -> None:
    """Drop-downs and limits where the person types; they warn before the reader has to."""
    rule = _rules().get(name)
    if rule is not None:
        sheet.data_validation(1, position, _ROWS_PREPARED, position, rule)


def _rules() -> dict[str, dict[str, Any]]:
    def one_of(*values: str) -> dict[str, Any]:
        return {
            "validate": "list",
            "source": list(values),
            "error_title": "Not one of the choices",
            "error_message": f"Choose one of {', '.join(values)}.",
        }

    return {
        "aspect_ratio": one_of(*(ratio.value for ratio in AspectRatio)),
        "resolution": one_of(*(r.value for r in Resolution if r is not Resolution.K4)),
        "generate_audio": one_of("true", "false"),
        "duration": {
            "validate": "integer",
            "criteria": "between",
            "minimum": SHORTEST_CLIP,
            "maximum": LONGEST_CLIP,
            "error_title": "Whole seconds",
            "error_message": f"A clip lasts {SHORTEST_CLIP} to {LONGEST_CLIP} whole seconds.",
        },
        "prompt": {
            "validate": "length",
            "criteria": "between",
            "minimum": SHORTEST_PROMPT,
            "maximum": LONGEST_PROMPT,
            "error_title": "Length of the prompt",
            "error_message": f"A prompt has {SHORTEST_PROMPT} to {LONGEST_PROMPT:,} characters.",
        },
    }


_WRITERS: Final[dict[str, Callable[[Path, str, Rows | None], None]]] = {
    ".csv": _write_csv,
    ".yaml": _write_yaml,
    ".yml": _write_yaml,
    ".xlsx": _write_xlsx,
}


# ── A folder of pictures: a row for each, to begin with it ────────────────────────────────────────


def _rows_of(pictures: Path, manifest: Path) -> Rows:
    """A row for each picture of a folder, in the order in which people count them.

    Raises `UsageError` where there is none, or where the manifest could not name them.
    """
    home, folder = real(manifest).parent, real(pictures)
    if not folder.is_dir():
        raise UsageError(f"{pictures} is not a folder of pictures.")
    if not folder.is_relative_to(home):
        beside = shlex.quote(str(pictures.parent / manifest.name))
        raise UsageError(
            f"{pictures} lies outside the manifest's folder {home}: a row could not name its file.",
            hint=f"seedance-batch init {beside} {shlex.quote(str(pictures))}",
        )
    found = [(name, ratio) for name in _names_in(folder) if (ratio := _ratio_of(folder / name))]
    if not found:
        raise UsageError(f"{pictures} contains no picture that HiAPI takes (JPEG, PNG, WebP).")
    ids = _ids_of([name for name, _ in found])
    return [
        {
            "id": row_id,
            "first_frame_url": (folder.relative_to(home) / name).as_posix(),
            "aspect_ratio": ratio,
            "duration": "4",
            "resolution": "480p",
        }
        for row_id, (name, ratio) in zip(ids, found, strict=True)
    ]


def _names_in(folder: Path) -> list[str]:
    """The names of its files, ``2`` before ``10``. Raises `UsageError` for one that is no text."""
    try:
        names = [p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from None
    for name in names:
        if not name.isprintable():
            raise UsageError(f"{folder} contains a file whose name is not text: rename {name!r}.")
    return sorted(names, key=lambda name: [_counted(part) for part in _PARTS.findall(name)])


_PARTS: Final = re.compile(r"[0-9]+|[^0-9]+")


def _counted(part: str) -> tuple[int, str]:
    return (int(part), part) if part.isdecimal() else (-1, part.casefold())


def _ratio_of(path: Path) -> str | None:
    """The ratio nearest to a picture's own shape; None for what is no picture."""
    from seedance_batch.core.model import MediaKind
    from seedance_batch.reader.media_files import MediaFiles
    from seedance_batch.reader.source import MAX_BODY

    look = MediaFiles(path.parent, max_body=MAX_BODY, allow_outside=True)
    found = look.find(path.name, MediaKind.IMAGE)
    if found.kind is not MediaKind.IMAGE:
        # One that is too large or damaged keeps its row, so that `check` says so.
        return _ADAPTIVE if path.suffix.casefold() in _PICTURES else None
    width, height = found.sides or (0, 1)
    near = [r for r in AspectRatio if r.quotient and abs(width / height / r.quotient - 1) < _NEAR]
    return near[0].value if near else _ADAPTIVE


_ADAPTIVE: Final = AspectRatio.ADAPTIVE.value
_PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_NEAR: Final = 0.05
"""How far a picture's shape may lie from a ratio to be taken for it."""


def _ids_of(names: Sequence[str]) -> list[str]:
    """The names without their endings, numbered where two are alike."""
    seen: Counter[str] = Counter()
    ids = []
    for name in names:
        stem = Path(name).stem.strip()[:_LONGEST_ID]
        seen[stem] += 1
        ids.append(stem if seen[stem] == 1 else f"{stem}-{name.rpartition('.')[2]}")
    return ids


_LONGEST_ID: Final = 180


# ── The YAML form of a manifest as JSON Schema, so that editors complete it and underline slips ───
# The reader is the judge; the schema says the same in the editor's language, a little earlier.


JsonSchema = dict[str, Any]

_LENGTHS: Final = (
    f"of {SHORTEST_REFERENCE} to {LONGEST_REFERENCE} s, together {LONGEST_REFERENCE} s at most"
)
NOTES: Final = {
    "id": "Your own name for the row; its clip is videos/<id>.mp4. Unique in the manifest.",
    "model": "seedance-2-0 where it is left out; seedance-2.0-fast and -mini are cheaper.",
    "prompt": (
        f"What to show, {SHORTEST_PROMPT} to {LONGEST_PROMPT:,} characters. Sent byte for byte."
    ),
    "aspect_ratio": "Shape of the clip; adaptive lets the service choose.",
    "duration": f"Whole seconds, {SHORTEST_CLIP} to {LONGEST_CLIP}. The price grows with it.",
    "resolution": "480p is the cheapest. The price grows with it.",
    "first_frame_url": "Image to begin with: https://…, asset://…, a file beside the manifest, or "
    "last_frame:ID, the last frame of another row.",
    "last_frame_url": "Image to end with; needs a first frame.",
    "reference_image_urls": (
        f"Up to {MOST_IMAGES} images that the prompt may name (Image 1). Not with frames."
    ),
    "reference_video_urls": f"Up to {MOST_REFERENCES} videos {_LENGTHS}.",
    "reference_audio_urls": f"Up to {MOST_REFERENCES} sounds {_LENGTHS}.",
    "return_last_frame": "Also deliver the clip's last frame as an image.",
    "generate_audio": "Whether the clip has sound.",
    "web_search": "Let the model look things up.",
    "nsfw_checker": "Let the service check the content.",
    "seed": f"0 to {HIGHEST_SEED}; the same seed repeats a look, where the service takes one.",
}
"""One line about each field, for editors and for the starter workbook."""

_TRUTH: Final[JsonSchema] = {"enum": [True, False, "yes", "no"]}
_PLAIN: Final = ("string", "number", "boolean", "null")


def manifest_schema() -> JsonSchema:
    """The schema (draft 2020-12) of a whole YAML manifest."""
    row = {"$ref": "#/$defs/row"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "seedance-batch manifest",
        "type": ["object", "array"],
        "additionalProperties": False,
        "anyOf": [
            {"type": "array"},
            {"required": ["rows"]},
            {"required": ["matrix"]},
            {"required": ["include"]},
        ],
        "items": row,
        "properties": {
            "defaults": {
                "allOf": [row],
                "description": "Values for every row that does not set its own.",
            },
            "rows": {"type": "array", "items": row, "minItems": 1},
            "matrix": _matrix(),
            "variants": {**_takes(), "description": "Takes of every row; each take is paid for."},
            "include": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                "description": "Files in this folder whose rows come first.",
            },
            "prompt_template": {
                "type": "string",
                "description": "Words the prompts: {column} stands for a row's text.",
            },
        },
        "$defs": {"row": _row()},
    }


def output_schema() -> JsonSchema:
    """The schema of every object that ``--json`` prints, and of summary.json."""
    found: JsonSchema = json.loads(_template("output.schema.json"))
    return found


def _row() -> JsonSchema:
    fields = {name: {**_field(name), "description": NOTES[name]} for name in ("id", "model")}
    fields |= {name: {**_field(name), "description": NOTES[name]} for name in INPUT_FIELDS}
    fields["skip"] = {**_TRUTH, "description": "Whether to leave the row out."}
    fields["variants"] = {**_takes(), "description": "Takes of this row; each take is paid for."}
    return {
        "type": "object",
        "description": "Other keys are your own columns; they come back in the results.",
        "properties": fields,
        "additionalProperties": {"anyOf": [{"type": list(_PLAIN)}, _list_of({"type": "string"})]},
    }


def _takes() -> JsonSchema:
    return {"type": "integer", "minimum": 1, "maximum": MOST_VARIANTS}


def _matrix() -> JsonSchema:
    return {
        "type": "object",
        "description": "Every row once for each combination of these columns' values.",
        "properties": {
            "exclude": {
                "description": "Combinations to leave out.",
                "anyOf": [{"type": "object"}, _list_of({"type": "object"})],
            }
        },
        "additionalProperties": {"type": "array", "minItems": 1},
    }


def _field(name: str) -> JsonSchema:
    if name in LIST_FIELDS:
        most = MOST_IMAGES if name == "reference_image_urls" else MOST_REFERENCES
        return {"anyOf": [{"type": "string"}, _list_of({"type": "string"}) | {"maxItems": most}]}
    if name in MEDIA_FIELDS:
        return {"type": ["string", "null"]}
    match name:
        case "id":
            return {"type": ["string", "integer", "number"]}
        case "model":
            return {"type": "string"}
        case "prompt":
            return {"type": "string", "minLength": SHORTEST_PROMPT, "maxLength": LONGEST_PROMPT}
        case "aspect_ratio":
            # YAML 1.1 reads an unquoted 16:9 as the number 969; the reader does not.
            names = [ratio.value for ratio in AspectRatio]
            return {"anyOf": [{"enum": names}, {"type": "integer"}], "default": names[3]}
        case "duration" | "seed":
            return _number(name)
        case "resolution":
            return {"enum": [r.value for r in Resolution if r is not Resolution.K4]}
        case _:
            return dict(_TRUTH)


def _number(name: str) -> JsonSchema:
    schema: JsonSchema = TaskInput.model_json_schema()["properties"][name]
    whole = next((part for part in schema.get("anyOf", [schema]) if "minimum" in part), schema)
    return {key: whole[key] for key in ("type", "minimum", "maximum")}


def _list_of(item: JsonSchema) -> JsonSchema:
    return {"type": "array", "items": item}
