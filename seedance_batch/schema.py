"""The YAML form of a manifest as JSON Schema, so that editors complete it and underline slips.

The reader is the judge; the schema says the same in the editor's language, a little earlier.
"""

from __future__ import annotations

from typing import Any, Final

from seedance_batch.model import (
    INPUT_FIELDS,
    LIST_FIELDS,
    MEDIA_FIELDS,
    AspectRatio,
    Resolution,
    TaskInput,
)

Schema = dict[str, Any]

NOTES: Final = {
    "id": "Your own name for the row; its clip is videos/<id>.mp4. Unique in the manifest.",
    "model": "Sent as it stands; leave it out for seedance-2-0.",
    "prompt": "What to show, 3 to 20,000 characters. Sent byte for byte.",
    "aspect_ratio": "Shape of the clip; adaptive lets the service choose.",
    "duration": "Whole seconds, 4 to 15. The price grows with it.",
    "resolution": "480p is the cheapest. The price grows with it.",
    "first_frame_url": "Image to begin with: https://…, asset://…, or a file beside the manifest.",
    "last_frame_url": "Image to end with; needs a first frame.",
    "reference_image_urls": "Up to 9 images that the prompt may name (Image 1). Not with frames.",
    "reference_video_urls": "Up to 3 videos of 2 to 15 s, together 15 s at most.",
    "reference_audio_urls": "Up to 3 sounds of 2 to 15 s, together 15 s at most.",
    "return_last_frame": "Also deliver the clip's last frame as an image.",
    "generate_audio": "Whether the clip has sound.",
    "web_search": "Let the model look things up.",
    "nsfw_checker": "Let the service check the content.",
    "seed": "0 to 2147483647; the same seed repeats a look, where the service takes one.",
}
"""One line about each field, for editors and for the starter workbook."""

_TRUTH: Final[Schema] = {"enum": [True, False, "yes", "no"]}
_PLAIN: Final = ("string", "number", "boolean", "null")


def manifest_schema() -> Schema:
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
                "description": "What every row says that does not say otherwise.",
            },
            "rows": {"type": "array", "items": row, "minItems": 1},
            "matrix": _matrix(),
            "variants": {
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "description": "Takes of every row; each take is paid for.",
            },
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


def _row() -> Schema:
    fields = {name: {**_field(name), "description": NOTES[name]} for name in ("id", "model")}
    fields |= {name: {**_field(name), "description": NOTES[name]} for name in INPUT_FIELDS}
    return {
        "type": "object",
        "description": "Other keys are your own columns; they come back in the results.",
        "properties": fields,
        "additionalProperties": {"anyOf": [{"type": list(_PLAIN)}, _list_of({"type": "string"})]},
    }


def _matrix() -> Schema:
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


def _field(name: str) -> Schema:
    if name in LIST_FIELDS:
        most = 9 if name == "reference_image_urls" else 3
        return {"anyOf": [{"type": "string"}, _list_of({"type": "string"}) | {"maxItems": most}]}
    if name in MEDIA_FIELDS:
        return {"type": ["string", "null"]}
    match name:
        case "id":
            return {"type": ["string", "integer", "number"]}
        case "model":
            return {"type": "string"}
        case "prompt":
            return {"type": "string", "minLength": 3, "maxLength": 20_000}
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


def _number(name: str) -> Schema:
    schema: Schema = TaskInput.model_json_schema()["properties"][name]
    whole = next((part for part in schema.get("anyOf", [schema]) if "minimum" in part), schema)
    return {key: whole[key] for key in ("type", "minimum", "maximum")}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}
