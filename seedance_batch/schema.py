"""The YAML form of a manifest as JSON Schema, so that editors complete it and underline slips.

The reader is the judge; the schema says the same in the editor's language, a little earlier.
"""

from __future__ import annotations

from typing import Any, Final

from seedance_batch.model import (
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

Schema = dict[str, Any]

_LENGTHS: Final = (
    f"of {SHORTEST_REFERENCE} to {LONGEST_REFERENCE} s, together {LONGEST_REFERENCE} s at most"
)
NOTES: Final = {
    "id": "Your own name for the row; its clip is videos/<id>.mp4. Unique in the manifest.",
    "model": "Sent as it stands; leave it out for seedance-2-0.",
    "prompt": (
        f"What to show, {SHORTEST_PROMPT} to {LONGEST_PROMPT:,} characters. Sent byte for byte."
    ),
    "aspect_ratio": "Shape of the clip; adaptive lets the service choose.",
    "duration": f"Whole seconds, {SHORTEST_CLIP} to {LONGEST_CLIP}. The price grows with it.",
    "resolution": "480p is the cheapest. The price grows with it.",
    "first_frame_url": "Image to begin with: https://…, asset://…, or a file beside the manifest.",
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


def _number(name: str) -> Schema:
    schema: Schema = TaskInput.model_json_schema()["properties"][name]
    whole = next((part for part in schema.get("anyOf", [schema]) if "minimum" in part), schema)
    return {key: whole[key] for key in ("type", "minimum", "maximum")}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}
