"""What a careful colleague would say about a row that is allowed: warnings, never problems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from seedance_batch.model import MODEL_SPELLINGS, TaskInput
from seedance_batch.reader.cells import quoted
from seedance_batch.reader.media_files import Found

MANY_WORDS: Final = 1_000
"""Models truncate prompts beyond about so many words."""
RATIO_TOLERANCE: Final = 0.1
"""How far a frame's shape may lie from the clip's before cropping or bars show."""

_LETTERS_ENOUGH: Final = MANY_WORDS
_HAN: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NAMED: Final = re.compile(
    r"(?:(?P<mark>@|<<<|\[)\s*)?\b(?P<kind>image|video|audio)[ _-]?(?P<number>[1-9][0-9]?)\b"
    r"|(?P<han>图片|图像|视频|音频|图)\s?(?P<han_number>[1-9][0-9]?)",
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
    if model not in MODEL_SPELLINGS:
        yield "model", f"{quoted(model)} is not a model that this program knows"
    if len(task_input.prompt) >= _LETTERS_ENOUGH:
        yield from _long_prompt(task_input.prompt)
    if found:
        yield from _lonely_audio(task_input)
        yield from _fighting_frames(task_input, found)
        yield from _missing_references(task_input)


def _long_prompt(prompt: str) -> Advice:
    han = len(_HAN.findall(prompt))
    words = han + len(_HAN.sub(" ", prompt).split()) if han else len(prompt.split())
    if words > MANY_WORDS:
        yield "prompt", f"has {words:,} words; models leave out what follows about 1,000"


def _lonely_audio(task_input: TaskInput) -> Advice:
    pictures = task_input.reference_image_urls or task_input.reference_video_urls
    if task_input.reference_audio_urls and not pictures and not task_input.frames:
        yield "reference_audio_urls", "audio without an image or a video may be refused"


def _fighting_frames(task_input: TaskInput, found: Mapping[str, list[Found]]) -> Advice:
    wanted = task_input.aspect_ratio.quotient
    for name in ("first_frame_url", "last_frame_url"):
        for frame in found.get(name, []):
            if wanted is None or frame.sides is None:
                continue
            width, height = frame.sides
            if abs(width / height / wanted - 1) > RATIO_TOLERANCE:
                ratio = task_input.aspect_ratio.value
                yield name, f"the frame has {width}×{height} pixels, which fights {ratio}"


def _missing_references(task_input: TaskInput) -> Advice:
    counts = {
        "image": len(task_input.reference_image_urls or task_input.frames),
        "video": len(task_input.reference_video_urls or ()),
        "audio": len(task_input.reference_audio_urls or ()),
    }
    told = set()
    for match in _NAMED.finditer(task_input.prompt):
        kind = match["kind"].casefold() if match["kind"] else _HAN_KINDS[match["han"]]
        number = int(match["number"] or match["han_number"])
        # "Image 3" without any image may be plain words; "@image3" never is.
        meant = counts[kind] or match["mark"] is not None
        if number > counts[kind] and meant and (kind, number) not in told:
            told.add((kind, number))
            yield "prompt", f"names {kind} {number}, and there are {counts[kind]}"
