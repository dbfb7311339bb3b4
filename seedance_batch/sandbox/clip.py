"""Which clip a task gets, as a value: size, length, sound and everything drawn on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from seedance_batch.sandbox.config import OutputFault, SandboxConfig
from seedance_batch.sandbox.ledger import StoredTask
from seedance_batch.sandbox.views import output_fault

FPS: Final = 24

_SIZES: Final = {
    "480p": {"16:9": (864, 496), "4:3": (752, 560), "1:1": (640, 640), "21:9": (992, 432)},
    "720p": {"16:9": (1280, 720), "4:3": (1112, 834), "1:1": (960, 960), "21:9": (1470, 630)},
}
_UPRIGHT: Final = {"9:16": "16:9", "3:4": "4:3"}
_SCALES: Final = {"480p": 1.0, "720p": 1.0, "1080p": 1.5, "4k": 3.0}
"""1080p and 4k scale the sizes of 720p."""


class Form(StrEnum):
    """How a clip is put into a file."""

    PLAIN = "plain"
    FRAGMENTED = "fragmented"
    ROTATED = "rotated"
    """Its picture is stored on its side; ``width`` and ``height`` are those that are stored."""
    WEBM = "webm"


_FORMS: Final = {
    OutputFault.FRAGMENTED: Form.FRAGMENTED,
    OutputFault.ROTATED: Form.ROTATED,
    OutputFault.WEBM: Form.WEBM,
}


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Everything that decides a clip's bytes."""

    width: int
    height: int
    frames: int
    audio: bool
    drawn: Drawn | None = None
    """None: a plain clip, equal for every task of its size and length."""
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a full clip shows."""

    content: str
    """Seeds colours, movement and tone."""
    prompt: str
    caption: str
    first_frame: str | None
    last_frame: str | None
    references: tuple[str, ...]
    """Images; other references are only named."""
    others: tuple[tuple[str, int], ...]
    """Kind and number."""


def clip_of(task: StoredTask, config: SandboxConfig, adaptive: float | None = None) -> ClipSpec:
    """The task's clip; ``adaptive`` is its first frame's ratio, where one is known."""
    fields, odd = task.input, output_fault(config, task)
    ratio = fields.get("aspect_ratio", "16:9")
    width, height = frame_size(_resolution(fields, odd), ratio, adaptive)
    seconds = fields.get("duration", 5) + (2 if odd is OutputFault.OTHER_LENGTH else 0)
    audio = fields.get("generate_audio", True) ^ (odd is OutputFault.OTHER_AUDIO)
    drawn = _drawn(task, fields) if config.clips == "full" else None
    form = _FORMS.get(odd, Form.PLAIN) if odd else Form.PLAIN
    if form is Form.ROTATED:
        width, height = height, width
    return ClipSpec(width, height, FPS * seconds + 1, audio, drawn, form)


def _resolution(fields: dict[str, Any], odd: OutputFault | None) -> str:
    asked: str = fields.get("resolution", "720p")
    if odd is OutputFault.OTHER_SIZE:
        return "480p" if asked != "480p" else "720p"
    return asked


def frame_size(resolution: str, ratio: str, adaptive: float | None = None) -> tuple[int, int]:
    """Width and height: a resolution fixes the area, not a side.

    HiAPI names no sizes; these were measured on clips of the same model from other resellers.
    """
    sizes = _SIZES.get(resolution, _SIZES["720p"])
    scale = _SCALES[resolution]
    if ratio == "adaptive" and adaptive is not None:
        width, height = _by_area(sizes["1:1"], min(max(adaptive, 0.4), 2.5))
    elif ratio in _UPRIGHT:
        height, width = sizes[_UPRIGHT[ratio]]
    else:
        width, height = sizes.get(ratio, sizes["16:9"])
    return _even(width * scale), _even(height * scale)


def _by_area(square: tuple[int, int], ratio: float) -> tuple[int, int]:
    side = square[0]
    return round(side * math.sqrt(ratio)), round(side / math.sqrt(ratio))


def _even(side: float) -> int:
    return int(side) // 2 * 2


def _drawn(task: StoredTask, fields: dict[str, Any]) -> Drawn:
    seed = fields.get("seed")
    facts = (
        task.model,
        fields.get("resolution", "720p"),
        fields.get("aspect_ratio", "16:9"),
        f"{fields.get('duration', 5)} s",
        "no seed" if seed is None else f"seed {seed}",
    )
    return Drawn(
        task.content,
        fields["prompt"],
        " · ".join(facts),
        fields.get("first_frame_url"),
        fields.get("last_frame_url"),
        tuple(fields.get("reference_image_urls", ())),
        (*_numbered("video", fields), *_numbered("audio", fields)),
    )


def _numbered(kind: str, fields: dict[str, Any]) -> list[tuple[str, int]]:
    count = len(fields.get(f"reference_{kind}_urls", ()))
    return [(kind, number + 1) for number in range(count)]
