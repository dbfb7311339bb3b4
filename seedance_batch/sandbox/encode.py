"""A clip's pictures as YUV planes, its tone, and both as an MP4; on demand in another container."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seedance_batch.sandbox.answers import unit
from seedance_batch.sandbox.views import FPS, Form

# ── Frames and a tone into an MP4: H.264 and, where asked, AAC; on demand into another container ──


Planes = NDArray[np.uint8]
"""One frame as PyAV takes yuv420p: (height · 3/2, width), Y above U above V."""

RATE: Final = 44_100
_BLOCK: Final = 1024
_SPEED: Final = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}


@dataclass(frozen=True, slots=True)
class _Way:
    """A container and its codecs."""

    format: str = "mp4"
    video: str = "libx264"
    audio: str = "aac"
    rate: int = RATE
    speed: Mapping[str, str] = field(default_factory=lambda: _SPEED)
    options: Mapping[str, str] = field(default_factory=dict)


_WAYS: Final = {
    Form.PLAIN: _Way(),
    Form.ROTATED: _Way(),
    Form.FRAGMENTED: _Way(options={"movflags": "frag_keyframe+empty_moov"}),
    Form.WEBM: _Way(
        "webm", "libvpx-vp9", "libopus", 48_000, {"deadline": "realtime", "cpu-used": "8"}
    ),
}


def encode(
    size: tuple[int, int],
    frames: Iterable[Planes],
    sound: NDArray[np.float32] | None,
    form: Form = Form.PLAIN,
) -> bytes:
    """The file; ``sound`` is (2, samples) between -1 and 1, or None for a silent one."""
    way = _WAYS[form]
    buffer = io.BytesIO()
    options = {"fflags": "+bitexact", **way.options}
    with av.open(buffer, "w", format=way.format, options=options) as container:
        video: Any = container.add_stream(way.video, rate=FPS, options=dict(way.speed))
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.codec_context.flags |= av.codec.context.Flags.bitexact
        packets = iter(())
        if sound is not None:
            audio: Any = container.add_stream(way.audio, rate=way.rate, layout="stereo")
            audio.codec_context.flags |= av.codec.context.Flags.bitexact
            packets = iter(list(_audio_packets(audio, sound)))
        container.start_encoding()
        for packet in _interleaved(_video_packets(video, frames), packets):
            container.mux(packet)
    content = buffer.getvalue()
    return turned(content) if form is Form.ROTATED else content


def turned(mp4: bytes) -> bytes:
    """The same file, whose picture a player turns by a quarter (ISO/IEC 14496-12, 8.3.2)."""
    at = mp4.index(b"tkhd") + 4 + 40  # the first track's matrix; the picture is the first
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    return mp4[:at] + quarter + mp4[at + len(quarter) :]


def _video_packets(stream: Any, frames: Iterable[Planes]) -> Iterator[Any]:
    for number, planes in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        frame.time_base = Fraction(1, FPS)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio_packets(stream: Any, sound: NDArray[np.float32]) -> Iterator[Any]:
    for start in range(0, sound.shape[1], _BLOCK):
        block = np.ascontiguousarray(sound[:, start : start + _BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate = RATE
        frame.pts = start
        frame.time_base = Fraction(1, RATE)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _interleaved(video: Iterator[Any], audio: Iterator[Any]) -> Iterator[Any]:
    """By time, as players like it and as the muxer would otherwise have to buffer."""
    waiting = next(audio, None)
    for packet in video:
        while waiting is not None and _time(waiting) <= _time(packet):
            yield waiting
            waiting = next(audio, None)
        yield packet
    while waiting is not None:
        yield waiting
        waiting = next(audio, None)


def _time(packet: Any) -> float:
    return float((packet.pts or 0) * packet.time_base)


# ── The sound of a clip: a soft chord that belongs to its content ─────────────────────────────────


_PENTATONIC: Final = (0, 2, 4, 7, 9)
_LOUDNESS: Final = 0.11
_FADE: Final = 0.25
_EAR_DELAY: Final = 0.35
"""Phase between the two ears, in radians."""


def tone(content: str, seconds: float) -> NDArray[np.float32]:
    """(2, samples): three voices of a pentatonic chord that breathe, faded in and out."""
    time = np.arange(round(seconds * RATE), dtype=np.float32) / np.float32(RATE)
    mixed = np.zeros((2, time.size), np.float32)
    for voice, pitch in enumerate(_pitches(content)):
        breath = 0.6 + 0.4 * np.sin(2 * np.pi * (0.11 + 0.07 * voice) * time + 2 * voice)
        for ear in (0, 1):
            swing = np.sin(2 * np.pi * pitch * time + ear * _EAR_DELAY)
            mixed[ear] += (_LOUDNESS / (voice + 1) * breath * swing).astype(np.float32)
    edge = np.minimum(time, time[::-1]) / np.float32(_FADE)
    mixed *= np.minimum(edge, np.float32(1))
    return mixed


def _pitches(content: str) -> tuple[float, float, float]:
    root = 110 * 2 ** (int(unit(content, "root") * 12) / 12)
    third = _PENTATONIC[1 + int(unit(content, "third") * 2)]
    fifth = _PENTATONIC[3 + int(unit(content, "fifth") * 2)]
    return root, root * 2 ** (third / 12), root * 2 ** ((fifth + 12) / 12)


# ── Pictures as YUV planes: conversion, blending and crops, in whole numbers for speed ────────────


Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """Y at full size, U and V at half size (yuv420p, limited range)."""

    y: Plane
    u: Plane
    v: Plane

    @classmethod
    def of(cls, image: Image.Image) -> Picture:
        """Converts an RGB image (BT.601, what players assume where nothing is said)."""
        rgb = np.asarray(image.convert("RGB"), dtype=np.float32)
        small = np.asarray(
            image.convert("RGB").resize(half(image.size), Image.Resampling.BOX), dtype=np.float32
        )
        return cls(
            _weighed(rgb, 16, (0.257, 0.504, 0.098)),
            _weighed(small, 128, (-0.148, -0.291, 0.439)),
            _weighed(small, 128, (0.439, -0.368, -0.071)),
        )

    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U and V."""
        return self.y, self.u, self.v

    def crop(self, left: int, top: int, width: int, height: int) -> Picture:
        """A part of the picture; every number even."""
        x, y = left // 2, top // 2
        return Picture(
            self.y[top : top + height, left : left + width],
            self.u[y : y + height // 2, x : x + width // 2],
            self.v[y : y + height // 2, x : x + width // 2],
        )

    def copy(self) -> Picture:
        """The same picture, free to be drawn on."""
        return Picture(self.y.copy(), self.u.copy(), self.v.copy())

    def packed(self) -> Plane:
        """As PyAV takes a frame: (height · 3/2, width)."""
        height, width = self.y.shape
        flat = np.concatenate([plane.reshape(-1) for plane in self.planes()])
        return flat.reshape(height * 3 // 2, width)


def half(size: tuple[int, int]) -> tuple[int, int]:
    """The size of U and V."""
    return size[0] // 2, size[1] // 2


def _weighed(rgb: NDArray[np.float32], base: int, weights: tuple[float, float, float]) -> Plane:
    mixed = rgb @ np.array(weights, dtype=np.float32) + base
    plane: Plane = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return plane


def fade(one: Picture, other: Picture, share: float) -> Picture:
    """``share`` (0 to 1) of the other picture over the one."""
    weight = round(share * 256)
    if weight <= 0:
        return one
    if weight >= 256:
        return other
    pairs = zip(one.planes(), other.planes(), strict=True)
    y, u, v = (_faded(a, b, weight) for a, b in pairs)
    return Picture(y, u, v)


def _faded(one: Plane, other: Plane, weight: int) -> Plane:
    mixed = one.astype(np.uint16) * (256 - weight) + other.astype(np.uint16) * weight
    faded: Plane = (mixed >> 8).astype(np.uint8)
    return faded


@dataclass(frozen=True, slots=True)
class Overlay:
    """A see-through drawing at a place; premultiplied, so that laying it on is quick."""

    left: int
    top: int
    keep: tuple[NDArray[np.uint16], ...]
    """What is kept of the picture below, of 255, for Y, U and V."""
    added: tuple[NDArray[np.uint16], ...]

    @classmethod
    def of(cls, image: Image.Image, left: int = 0, top: int = 0) -> Overlay:
        """From an RGBA image; place and size are even."""
        picture = Picture.of(image)
        alpha = image.getchannel("A")
        masks = (alpha, *(2 * (alpha.resize(half(image.size), Image.Resampling.BOX),)))
        values = [np.asarray(mask, dtype=np.uint16) for mask in masks]
        added = [p * a for p, a in zip(picture.planes(), values, strict=True)]
        return cls(left, top, tuple(np.uint16(255) - a for a in values), tuple(added))

    def lay_on(self, picture: Picture) -> None:
        """Draws onto the picture."""
        for number, plane in enumerate(picture.planes()):
            step = 2 if number else 1
            keep, added = self.keep[number], self.added[number]
            top, left = self.top // step, self.left // step
            below = plane[top : top + keep.shape[0], left : left + keep.shape[1]]
            mixed = below * keep + added
            below[...] = (mixed + (mixed >> 8) + 1) >> 8  # divides by 255
