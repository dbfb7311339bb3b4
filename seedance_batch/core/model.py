"""What is sent to HiAPI: a task's input and its rules, the models that are known, media.

Field names and rules are those of HiAPI's page for the model ``seedance-2-0``. What comes back is
`core.hiapi`'s matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

DEFAULT_MODEL: Final = "seedance-2-0"
MODEL_SPELLINGS: Final = {
    DEFAULT_MODEL: DEFAULT_MODEL,
    "seedance-2.0": DEFAULT_MODEL,
    "seedance-2.0-fast": "seedance-2.0-fast",
    "seedance-2-0-fast": "seedance-2-0-fast",
    "seedance-2.0-mini": "seedance-2.0-mini",
    "seedance-2-0-mini": "seedance-2-0-mini",
}
"""Every name that is known → the one name under which a model is an order here.

Rows of two spellings are one order: never give two models the same name on the right. HiAPI spells
the two smaller models with a dot (read in November 2026). The other spelling stays an order of its
own, as it was before they were known: to join the two would buy rows of old journals anew.
"""


SHORTEST_PROMPT: Final = 3
LONGEST_PROMPT: Final = 20_000
"""Characters."""
SHORTEST_CLIP: Final = 4
LONGEST_CLIP: Final = 15
"""Whole seconds."""
MOST_IMAGES: Final = 9
"""Frames and reference images of one task."""
MOST_REFERENCES: Final = 3
"""Reference videos of one task, and reference sounds."""
SHORTEST_REFERENCE: Final = 2
LONGEST_REFERENCE: Final = 15
"""Seconds of a reference video or sound; those of one task may not have more together either."""
CLIP_SLACK: Final = 0.1
"""Seconds that a clip may be longer than was asked for: a frame or two."""
HIGHEST_SEED: Final = 2_147_483_647


class AspectRatio(StrEnum):
    """``input.aspect_ratio``; ``adaptive`` lets the service choose."""

    SQUARE = "1:1"
    FOUR_THREE = "4:3"
    THREE_FOUR = "3:4"
    SIXTEEN_NINE = "16:9"
    NINE_SIXTEEN = "9:16"
    TWENTY_ONE_NINE = "21:9"
    ADAPTIVE = "adaptive"

    @property
    def quotient(self) -> float | None:
        """Width divided by height; None for ``adaptive``."""
        if self is AspectRatio.ADAPTIVE:
            return None
        width, height = self.value.split(":")
        return int(width) / int(height)


class Resolution(StrEnum):
    """``input.resolution``: a name for an area in pixels, not for a side."""

    P480 = "480p"
    P720 = "720p"
    P1080 = "1080p"
    K4 = "4k"

    @property
    def area(self) -> int:
        """Pixels in a frame, by the sizes measured upstream."""
        return _AREAS[self]


_AREAS: Final = {
    Resolution.P480: 640 * 640,
    Resolution.P720: 1280 * 720,
    Resolution.P1080: 1920 * 1080,
    Resolution.K4: 3840 * 2160,
}


class MediaKind(StrEnum):
    """What a media field may hold."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


MEDIA_FIELDS: Final = {
    "first_frame_url": MediaKind.IMAGE,
    "last_frame_url": MediaKind.IMAGE,
    "reference_image_urls": MediaKind.IMAGE,
    "reference_video_urls": MediaKind.VIDEO,
    "reference_audio_urls": MediaKind.AUDIO,
}
"""Input fields that name media, and the kind each takes."""

LIST_FIELDS: Final = frozenset(
    {"reference_image_urls", "reference_video_urls", "reference_audio_urls"}
)

BLOB_PREFIX: Final = "sha256:"
"""Stands for a local file's bytes inside the program; a data URI takes its place on the wire."""


class LinkKind(StrEnum):
    """What of another row's clip feeds a row."""

    LAST_FRAME = "last_frame"
    FIRST_FRAME = "first_frame"
    CLIP = "clip"

    @property
    def media(self) -> MediaKind:
        """What it is, once that clip is made."""
        return MediaKind.VIDEO if self is LinkKind.CLIP else MediaKind.IMAGE


PREVIOUS: Final = "previous"
"""In place of an id: the row above."""
_LINK: Final = re.compile(
    r"\s*(?:(?P<edge>first|last)[ _-]?frame|clip)\s*:\s*(?P<row>\S.*?)\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Link:
    """A media cell that names another row in place of an address: ``last_frame:shot-1``."""

    kind: LinkKind
    row: str
    """The other row's id, or `PREVIOUS`."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.row}"

    @classmethod
    def parse(cls, text: str) -> Link | None:
        """The link that a cell's text is; None for an address or a path."""
        match = _LINK.fullmatch(text)
        if match is None:
            return None
        edge = match["edge"]
        kind = LinkKind(f"{edge.lower()}_frame") if edge else LinkKind.CLIP
        row = match["row"]
        return cls(kind, PREVIOUS if row.casefold() == PREVIOUS else row)


@dataclass(frozen=True, slots=True)
class Allow:
    """What the documentation leaves open and a person may let through (``--allow-…``)."""

    resolution_4k: bool = False
    mixed_references: bool = False
    """Frames beside references, and reference sounds alone."""
    blobs: bool = False
    """Local media as ``sha256:…`` and links to other rows; only between reader and client."""


_DATA_URI: Final = re.compile(r"data:(image|video|audio)/[\w.+-]+;base64,([A-Za-z0-9+/]+={0,2})")
_BLOB: Final = re.compile(rf"{BLOB_PREFIX}[0-9a-f]{{64}}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f]")


def _allow(info: ValidationInfo) -> Allow:
    return info.context if isinstance(info.context, Allow) else Allow()


def _check_address(text: str, kind: MediaKind, allow: Allow) -> str:
    if allow.blobs and (_BLOB.fullmatch(text) or _is_link(text, kind)):
        return text
    if text.startswith("data:"):
        return _check_data_uri(text, kind)
    if _UNPRINTABLE.search(text):
        raise PydanticCustomError("media_address", "contains a space or a control character")
    scheme, _, rest = text.partition("://")
    if scheme == "asset" and rest:
        return text
    if scheme in {"http", "https"} and _has_host(text):
        return text
    raise PydanticCustomError(
        "media_address",
        "is neither an http(s) URL nor asset://… nor a base64 data URI",
    )


def _is_link(text: str, kind: MediaKind) -> bool:
    link = Link.parse(text)
    return link is not None and link.kind.media is kind


def _has_host(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:
        return False


def _check_data_uri(text: str, kind: MediaKind) -> str:
    match = _DATA_URI.fullmatch(text)
    if match is None or len(match[2]) % 4:
        raise PydanticCustomError("media_address", "is not a complete base64 data URI")
    if match[1] != kind:
        raise PydanticCustomError(
            "media_address",
            "is {got}, but {kind} is needed",
            {"got": match[1], "kind": kind.value},
        )
    return text


def _media(kind: MediaKind) -> AfterValidator:
    def check(text: str, info: ValidationInfo) -> str:
        return _check_address(text, kind, _allow(info))

    return AfterValidator(check)


Image = Annotated[str, StringConstraints(strict=True, min_length=1), _media(MediaKind.IMAGE)]
Video = Annotated[str, StringConstraints(strict=True, min_length=1), _media(MediaKind.VIDEO)]
Audio = Annotated[str, StringConstraints(strict=True, min_length=1), _media(MediaKind.AUDIO)]


class TaskInput(BaseModel):
    """``input`` of ``POST /v1/tasks``: the fourteen fields, with every documented rule.

    Validation is strict: a boolean is no number, ``5.0`` is no integer, null is no value, an
    unknown field is refused. Pass an `Allow` as ``context`` to let open questions through.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt: Annotated[
        str,
        StringConstraints(strict=True, min_length=SHORTEST_PROMPT, max_length=LONGEST_PROMPT),
    ]
    aspect_ratio: Annotated[AspectRatio, Field(strict=False)] = AspectRatio.SIXTEEN_NINE
    duration: Annotated[int, Field(ge=SHORTEST_CLIP, le=LONGEST_CLIP)] = 5
    resolution: Annotated[Resolution, Field(strict=False)] = Resolution.P720
    first_frame_url: Image | None = None
    last_frame_url: Image | None = None
    reference_image_urls: Annotated[tuple[Image, ...], Field(strict=False, min_length=1)] | None = (
        None
    )
    reference_video_urls: (
        Annotated[tuple[Video, ...], Field(strict=False, min_length=1, max_length=MOST_REFERENCES)]
        | None
    ) = None
    reference_audio_urls: (
        Annotated[tuple[Audio, ...], Field(strict=False, min_length=1, max_length=MOST_REFERENCES)]
        | None
    ) = None
    return_last_frame: bool = False
    generate_audio: bool = True
    web_search: bool | None = None
    nsfw_checker: bool = False
    seed: Annotated[int, Field(ge=0, le=HIGHEST_SEED)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name, content in value.items():
                if content is None:
                    raise PydanticCustomError(
                        "null", "{field} is null; leave it out instead", {"field": str(name)}
                    )
                if name in LIST_FIELDS and not isinstance(content, list | tuple):
                    raise PydanticCustomError("list", "{field} is not a list", {"field": str(name)})
        return value

    @model_validator(mode="after")
    def _modes(self, info: ValidationInfo) -> Self:
        allow = _allow(info)
        if self.resolution is Resolution.K4 and not allow.resolution_4k:
            raise PydanticCustomError(
                "resolution", "resolution 4k is not documented (--allow-4k sends it)"
            )
        if self.last_frame_url and not self.first_frame_url:
            raise PydanticCustomError("mode", "last_frame_url needs a first_frame_url")
        if self.frames and self.references and not allow.mixed_references:
            raise PydanticCustomError(
                "mode",
                "frames and references cannot be combined: put the frame first among "
                "reference_image_urls and call it image 1 in the prompt (--fix-mixed does it; "
                "--allow-mixed sends both)",
            )
        if self._sounds_alone and not allow.mixed_references:
            raise PydanticCustomError(
                "mode",
                "reference_audio_urls needs a reference image or video beside it "
                "(--allow-mixed sends it alone)",
            )
        if len(self.frames) + len(self.reference_image_urls or ()) > MOST_IMAGES:
            raise PydanticCustomError(
                "mode", "more than {most} frames and reference images", {"most": MOST_IMAGES}
            )
        return self

    @property
    def _sounds_alone(self) -> bool:
        if not self.reference_audio_urls:
            return False
        return not (self.frames or self.reference_image_urls or self.reference_video_urls)

    @property
    def frames(self) -> tuple[str, ...]:
        """First and last frame, those that are given."""
        return tuple(url for url in (self.first_frame_url, self.last_frame_url) if url)

    @property
    def references(self) -> tuple[str, ...]:
        """Reference images, videos and audios, in that order."""
        return (
            *(self.reference_image_urls or ()),
            *(self.reference_video_urls or ()),
            *(self.reference_audio_urls or ()),
        )

    def media(self) -> Iterator[tuple[str, str]]:
        """Every (field name, address) that names media."""
        for field in MEDIA_FIELDS:
            value = getattr(self, field)
            for address in (value,) if isinstance(value, str) else value or ():
                yield field, address

    def with_media(self, addresses: Mapping[str, str]) -> Self:
        """The same input with other addresses in place of these, wherever they stand."""
        update: dict[str, str | tuple[str, ...]] = {}
        for field in MEDIA_FIELDS:
            value = getattr(self, field)
            if isinstance(value, str):
                update[field] = addresses.get(value, value)
            elif value:
                update[field] = tuple(addresses.get(one, one) for one in value)
        return self.model_copy(update=update)

    def links(self) -> Iterator[tuple[str, Link]]:
        """Every (field name, link) among the media."""
        for field, address in self.media():
            if (link := Link.parse(address)) is not None:
                yield field, link

    def wire(self) -> dict[str, Any]:
        """The object to send: fields whose default the sources dispute always, others if set."""
        sent = self.model_fields_set | ALWAYS_SENT
        return self.model_dump(mode="json", include=sent, exclude_none=True)

    def effective(self) -> dict[str, Any]:
        """What decides the clip, however it is spelled: `wire` without documented defaults."""
        return {
            name: value
            for name, value in self.model_dump(mode="json", exclude_none=True).items()
            if not (name in FALSE_BY_DEFAULT and value is False)
        }


ALWAYS_SENT: Final = frozenset(
    {"prompt", "aspect_ratio", "duration", "resolution", "generate_audio"}
)
FALSE_BY_DEFAULT: Final = frozenset({"return_last_frame", "nsfw_checker"})

INPUT_FIELDS: Final = tuple(TaskInput.model_fields)
"""The fourteen field names in HiAPI's order."""


@dataclass(frozen=True, slots=True)
class FamilyModel:
    """A known model: what it takes of a `TaskInput`'s fields and resolutions."""

    names: tuple[str, ...]
    """HiAPI's own name first."""
    resolutions: tuple[Resolution, ...]
    lacks: frozenset[str] = frozenset()
    """Input fields that it does not know."""

    def objections(self, task_input: TaskInput) -> Iterator[tuple[str, str]]:
        """(field, what is wrong) for what this model does not take."""
        if task_input.resolution not in self.resolutions:
            known = " and ".join(self.resolutions)
            yield "resolution", f"{self.names[0]} makes {known}, not {task_input.resolution}"
        for name in sorted(self.lacks):
            if getattr(task_input, name) is not None:
                yield name, f"{self.names[0]} does not take {name}: leave it empty"


_SMALL: Final = (Resolution.P480, Resolution.P720)
FAMILY: Final = (
    FamilyModel((DEFAULT_MODEL, "seedance-2.0"), tuple(Resolution)),  # 4k: see `Allow`
    FamilyModel(("seedance-2.0-fast", "seedance-2-0-fast"), _SMALL),
    FamilyModel(("seedance-2.0-mini", "seedance-2-0-mini"), _SMALL, frozenset({"web_search"})),
)
"""The models that are known, by HiAPI's skills and public schemas (read in November 2026)."""


_BY_NAME: Final = {name: known for known in FAMILY for name in known.names}


def family_model(model: str) -> FamilyModel | None:
    """What is known of a model, also where its name ends with a route (``name@route``)."""
    return _BY_NAME.get(model) or _BY_NAME.get(model.strip().partition("@")[0])


# ── What a media file is, by its first bytes; its name's ending is not asked ──────────────────────


HEAD_SIZE: Final = 64
"""Bytes that `content_of` wants to see."""


MIN_SIDE: Final = 300
MAX_SIDE: Final = 6000
MIN_QUOTIENT: Final = 0.4
MAX_QUOTIENT: Final = 2.5
"""Upstream's limits for pictures, still and moving; they warn only."""
MIN_PIXELS: Final = 640 * 640
MAX_PIXELS: Final = 834 * 1112
MIN_FPS: Final = 24
MAX_FPS: Final = 60
"""The same for reference videos: 480p to 720p."""
MOST_BYTES: Final = {
    MediaKind.IMAGE: 30_000_000,
    MediaKind.VIDEO: 50_000_000,
    MediaKind.AUDIO: 15_000_000,
}
"""The same for the size of a file; what resellers of the model say (read in November 2026)."""
_SAFE_TYPES: Final = {
    MediaKind.VIDEO: {"video/mp4", "video/quicktime"},
    MediaKind.AUDIO: {"audio/mpeg", "audio/wav"},
}


def file_warning(kind: MediaKind, mime: str, size: int) -> str | None:
    """What upstream's limits say of a file of so many bytes; None where it is within them."""
    if size > MOST_BYTES[kind]:
        return f"has {size:,} bytes; up to {MOST_BYTES[kind]:,} are safe"
    if kind in _SAFE_TYPES and mime not in _SAFE_TYPES[kind]:
        safe = "MP4 and MOV" if kind is MediaKind.VIDEO else "MP3 and WAV"
        return f"is {mime}; {safe} are safe"
    return None


def video_warning(width: int, height: int, fps: float) -> str | None:
    """What upstream's limits say of a reference video; None where it is within them."""
    if not MIN_PIXELS <= width * height <= MAX_PIXELS:
        return (
            f"has {width}×{height} pixels; reference videos of 480p to 720p "
            f"({MIN_PIXELS:,} to {MAX_PIXELS:,} pixels) are safe"
        )
    if fps and not MIN_FPS - 0.1 <= fps <= MAX_FPS + 0.1:  # 23.976 is 24 to a viewer
        return f"has {fps:.4g} frames a second; {MIN_FPS} to {MAX_FPS} are safe"
    return sides_warning(width, height)


def sides_warning(width: int, height: int) -> str | None:
    """What upstream's limits say of an image with so many pixels; None where it is within them."""
    if not MIN_SIDE <= min(width, height) <= max(width, height) <= MAX_SIDE:
        return f"has {width}×{height} pixels; sides of {MIN_SIDE} to {MAX_SIDE} are safe"
    if not MIN_QUOTIENT <= width / height <= MAX_QUOTIENT:
        return f"has {width}×{height} pixels, a ratio that may be refused"
    return None


class Content(NamedTuple):
    """A media file's kind and MIME type."""

    kind: MediaKind
    mime: str


def content_of(head: bytes) -> Content | None:
    """Kind and type of a file that begins so; None where HiAPI takes no such file."""
    if head.startswith(b"\xff\xd8\xff"):
        return Content(MediaKind.IMAGE, "image/jpeg")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Content(MediaKind.IMAGE, "image/png")
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] in _MOVIE_BOXES:
        return _movie(head)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Content(MediaKind.VIDEO, "video/webm") if b"webm" in head else None
    if head.startswith(b"ID3") or _is_mpeg_audio(head):
        return Content(MediaKind.AUDIO, "audio/mpeg")
    return None


_RIFF: Final = {
    b"WEBP": Content(MediaKind.IMAGE, "image/webp"),
    b"WAVE": Content(MediaKind.AUDIO, "audio/wav"),
}
_MOVIE_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
_PICTURE_BRANDS: Final = frozenset(
    {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"crx "}
)


def _movie(head: bytes) -> Content | None:
    if head[4:8] != b"ftyp":  # QuickTime files older than the brand box
        return Content(MediaKind.VIDEO, "video/quicktime")
    brand = head[8:12]
    if brand in _PICTURE_BRANDS:
        return None
    if brand in {b"M4A ", b"M4B ", b"M4P "}:
        return Content(MediaKind.AUDIO, "audio/mp4")
    return Content(MediaKind.VIDEO, "video/quicktime" if brand == b"qt  " else "video/mp4")


def _is_mpeg_audio(head: bytes) -> bool:
    """Whether an MPEG audio frame begins here: sync, layer III, a bit rate and a sample rate."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    return head[1] & 0x18 != 0x08 and head[2] & 0xF0 not in {0x00, 0xF0} and head[2] & 0x0C != 0x0C
