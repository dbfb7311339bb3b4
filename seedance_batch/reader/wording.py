"""What `TaskInput` refuses, in the words of somebody who fills in a spreadsheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.model import (
    HIGHEST_SEED,
    INPUT_FIELDS,
    LIST_FIELDS,
    LONGEST_CLIP,
    LONGEST_PROMPT,
    SHORTEST_CLIP,
    SHORTEST_PROMPT,
)
from seedance_batch.reader.cells import quoted

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


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
    return f"has {context['actual_length']} items, where {context['max_length']} are the most"


_WORDS: Final[dict[tuple[str | None, str], _Words]] = {
    ("prompt", "missing"): lambda _value, _context: "is empty: fill it, or delete the row",
    ("prompt", "string_too_short"): lambda value, _: (
        f"{_shown(value)} is too short; a prompt has {SHORTEST_PROMPT} characters at least"
    ),
    ("prompt", "string_too_long"): lambda value, _: (
        f"has {len(value):,} characters; a prompt has {LONGEST_PROMPT:,} at most"
    ),
    ("duration", "greater_than_equal"): _whole_seconds,
    ("duration", "less_than_equal"): _whole_seconds,
    ("seed", "greater_than_equal"): _seed,
    ("seed", "less_than_equal"): _seed,
    (None, "string_unicode"): lambda _value, _context: "holds half a character (a lone surrogate)",
    (None, "too_long"): _too_many,
}


PLACEHOLDERS: Final[dict[str, object]] = {
    "prompt": "---",
    "first_frame_url": "asset://-",
    "last_frame_url": "asset://-",
    **{field: ["asset://-"] for field in LIST_FIELDS},
}
"""Stands for a refused value, so that the rules about the row's other fields are still checked."""
