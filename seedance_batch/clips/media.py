"""What a video file really is: decoded to its end, against what was asked, and how it looks.

Knows files and PyAV, nothing of where they came from. Blocking: call it from a worker thread.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Final,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
)

from seedance_batch.core.model import AspectRatio, Resolution, content_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

FPS: Final = 24.0
FPS_TOLERANCE: Final = 0.1
"""Lets 23.976 pass, which is the same rate to a viewer."""
LENGTH_TOLERANCE: Final = 0.1
"""Seconds, around the asked duration and one frame (measured upstream)."""
AREA_TOLERANCE: Final = 0.15
RATIO_TOLERANCE: Final = 0.06

MOST_PIXELS: Final = 64_000_000
MOST_FRAMES: Final = 20_000
"""Past any clip the service makes; a file that claims more is not decoded to its end."""

_ENDINGS: Final = {
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "audio/mpeg": ".mp3",
    "audio/mp4": ".m4a",
    "audio/wav": ".wav",
}
ENDINGS: Final = frozenset({*_ENDINGS.values(), ".mkv"})
"""All that `ending_of` may give."""
_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_MOST_OF_AN_INDEX: Final = 1 << 20
"""Bytes that are read to learn the frame rate; FFmpeg reads longer ones."""
_EBML_HEAD: Final = 4096
"""Bytes within which a WebM's segment begins."""
_REGULAR: Final = 0.95
_LATE_SOUND: Final = 0.5
"""Seconds by which the sound, which counts for the declared length, may outlast the picture."""

T = TypeVar("T")


class MediaUnreadable(Exception):
    """The file is no whole, decodable video; ``reason`` says what is wrong with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Probe:
    """What was measured in a video: seconds, pixels, frames a second."""

    seconds: float
    width: int
    height: int
    fps: float
    has_audio: bool
    frames: int


class ClipTerms(Protocol):
    """What decides whether a clip is the one that was asked for; an `Intent` tells it."""

    @property
    def resolution(self) -> str:
        """As HiAPI names it."""

    @property
    def duration(self) -> int:
        """Seconds."""

    @property
    def aspect_ratio(self) -> str:
        """As HiAPI names it."""

    @property
    def generate_audio(self) -> bool:
        """Whether it has sound."""


def probe(path: Path) -> Probe:
    """Decode every frame and sample of a video: MP4, QuickTime, WebM or Matroska.

    Raises `MediaUnreadable` where the container is incomplete, a frame is missing or cannot be
    decoded, or there is no video; ``OSError`` where the file itself cannot be read.
    """
    from av import VideoFrame

    check_container(path)
    with opened_video(path) as container:
        video = container.streams.video[0]
        tally = _Tally()
        for packet in container.demux(video, *container.streams.audio[:1]):
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    tally.add(frame)
                else:
                    tally.sounds += 1
        found = tally.probe(video.frames, float(video.time_base or 0))
        _check_length(found, container)
        return found


def frame_rate(path: Path) -> float:
    """Frames a second as the container tells, without decoding any. Raises as `probe` does."""
    with path.open("rb") as file:
        told = _told_rate(file)
    if told is not None:
        return round(told, 3)
    with opened_video(path) as container:
        rate = container.streams.video[0].average_rate
        if not rate:
            raise MediaUnreadable("does not tell its frame rate")
        return round(float(rate), 3)


def judge(probe: Probe, asked: ClipTerms) -> str | None:
    """None where the clip is what was ``asked`` for, else the first reason why it is not."""
    return (
        _judge_length(probe, asked.duration)
        or _judge_picture(probe, Resolution(asked.resolution), AspectRatio(asked.aspect_ratio))
        or _judge_sound(probe, asked.generate_audio)
    )


def _judge_length(probe: Probe, asked: int) -> str | None:
    if abs(probe.seconds - (asked + 1 / FPS)) > LENGTH_TOLERANCE:
        return f"lasts {probe.seconds:.1f} s, but {asked} s were asked for"
    if abs(probe.fps - FPS) > FPS_TOLERANCE:
        return f"has {probe.fps:.2f} frames a second, but {FPS:.0f} are promised"
    return None


def _judge_picture(probe: Probe, resolution: Resolution, ratio: AspectRatio) -> str | None:
    size = f"is {probe.width}×{probe.height}"
    if abs(probe.width * probe.height / resolution.area - 1) > AREA_TOLERANCE:
        return f"{size}, not {resolution}"
    quotient = ratio.quotient
    if quotient and abs(probe.width / probe.height / quotient - 1) > RATIO_TOLERANCE:
        return f"{size}, not {ratio}"
    return None


def _judge_sound(probe: Probe, asked: bool) -> str | None:
    if probe.has_audio == asked:
        return None
    return "has no sound, but sound was asked for" if asked else "has sound, but none was asked for"


def ending_of(head: bytes) -> str:
    """The ending that a file's name deserves by its first bytes, ``.mp4`` where they tell nothing.

    ``head`` are `model.HEAD_SIZE` bytes or more.
    """
    content = content_of(head)
    if content is None:
        return ".mkv" if head.startswith(_EBML) else ".mp4"
    return _ENDINGS.get(content.mime, ".mp4")


# ── decoding ────────────────────────────────────────────────────────────────────────────────────


class _Tally:
    """What the frames add up to while they pass."""

    def __init__(self) -> None:
        self.frames = 0
        self.sounds = 0
        self.width = self.height = 0
        self.moments: list[int] = []
        self.lasts = 0
        self.turned = False

    def add(self, frame: VideoFrame) -> None:
        if not self.frames:
            self.turned = quarter_turns(frame) % 2 == 1
        self.moments.append(frame.pts or 0)
        self.lasts = frame.duration or 0
        sides = (frame.height, frame.width) if self.turned else (frame.width, frame.height)
        self.width, self.height = sides
        self.frames += 1
        if self.frames > MOST_FRAMES:
            raise MediaUnreadable(f"has more than {MOST_FRAMES} frames")

    def probe(self, declared: int, tick: float) -> Probe:
        """``tick``: the seconds in which the stream counts its times."""
        if self.frames == 0:
            raise MediaUnreadable("contains no frame")
        if self.frames < declared:
            raise MediaUnreadable(f"contains {self.frames} of {declared} frames")
        step, regular = _interval(self.moments, self.lasts)
        seconds = (self.moments[-1] - self.moments[0] + step) * tick
        if seconds <= 0:
            raise MediaUnreadable("its frames have no timestamps")
        return Probe(
            seconds=seconds,
            width=self.width,
            height=self.height,
            fps=1 / (step * tick) if regular else self.frames / seconds,
            has_audio=self.sounds > 0,
            frames=self.frames,
        )


def _interval(moments: list[int], lasts: int) -> tuple[float, bool]:
    """Ticks from frame to frame, and whether nearly all frames keep to it.

    Not by the whole length: fragmented files stretch their first frame by the sound's beginning,
    and say nothing true of their last. Not by the commonest alone: WebM rounds to milliseconds.
    """
    gaps = [after - before for before, after in pairwise(moments)]
    if not gaps:
        return lasts, True
    middle = sorted(gaps)[len(gaps) // 2]
    usual = [gap for gap in gaps if abs(gap - middle) <= middle / 4]
    if middle <= 0:
        return 0, False
    return sum(usual) / len(usual), len(usual) >= _REGULAR * len(gaps)


def quarter_turns(frame: VideoFrame) -> int:
    """By how many quarters a player turns the picture, as its container says."""
    return round(frame.rotation / 90)


def _check_length(found: Probe, container: InputContainer) -> None:
    """Where no number of frames is declared, the length tells whether some are missing."""
    if "matroska" not in container.format.name or container.duration is None:
        return
    declared = container.duration / 1_000_000
    if found.seconds < declared - _LATE_SOUND:
        raise MediaUnreadable(f"contains {found.seconds:.1f} of {declared:.1f} s")


@contextmanager
def opened_video(path: Path) -> Iterator[InputContainer]:
    """The file as a container with a picture; FFmpeg's errors become `MediaUnreadable`."""
    import av

    try:
        # The format is fixed: FFmpeg would else follow playlists to other files and to the network.
        kind = "matroska" if is_matroska(path) else "mp4"
        with av.open(f"file:{path}", mode="r", format=kind, **any_texts()) as container:
            if not container.streams.video:
                raise MediaUnreadable("contains no video")
            for sound in container.streams.audio[:1]:
                _known(sound.codec_context, "sound")
            codec = _known(container.streams.video[0].codec_context, "video")
            if codec.width * codec.height > MOST_PIXELS:
                raise MediaUnreadable(f"claims {codec.width}×{codec.height} pixels")
            # Several clips are decoded at once; to share one among threads costs a quarter more.
            codec.thread_count = 1
            yield container
    except av.FFmpegError as error:
        raise MediaUnreadable(f"cannot be decoded ({error.strerror})") from error


def any_texts() -> dict[str, Any]:
    """What PyAV before 19 has to be told to open a file whose texts are in another encoding."""
    import av

    return {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}


def _known(codec: T | None, what: str) -> T:
    # PyAV's annotation leaves out that a stream of an unknown codec has none; to decode such a
    # stream ends the process in releases before 18.1.
    if codec is None:
        raise MediaUnreadable(f"contains {what} of an unknown kind")
    return codec


# ── the container ───────────────────────────────────────────────────────────────────────────────


def is_matroska(path: Path) -> bool:
    """Whether a file is WebM or Matroska, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_EBML)) == _EBML


def check_container(path: Path) -> None:
    """Raise `MediaUnreadable` unless the file is whole to its last byte.

    FFmpeg decodes what is left of a cut file without a word; the container tells.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_EBML_HEAD)
        if head.startswith(_EBML):
            _check_segment(head, size)
        else:
            _check_boxes(file, size)


def _check_segment(head: bytes, size: int) -> None:
    """Matroska's one long element ends where the file does, if it says where (RFC 8794)."""
    at, length = _element_size(head, len(_EBML))
    at += length
    if head[at : at + len(_SEGMENT)] != _SEGMENT:
        raise MediaUnreadable("is not a complete WebM: it has no segment")
    start, length = _element_size(head, at + len(_SEGMENT))
    if length >= 0 and start + length > size:
        raise MediaUnreadable("is not a complete WebM: it ends inside its segment")


def _element_size(head: bytes, at: int) -> tuple[int, int]:
    """Where an element's content begins and its length; -1 where the length is not known."""
    first = head[at] if at < len(head) else 0
    width = 9 - first.bit_length()
    field = head[at : at + width]
    if not first or len(field) < width:
        raise MediaUnreadable("is not a complete WebM: it ends inside its head")
    value = int.from_bytes(field) & ((1 << 7 * width) - 1)
    return at + width, -1 if value == (1 << 7 * width) - 1 else value


def _check_boxes(file: BinaryIO, size: int) -> None:
    """An MP4 is whole boxes, of which three are needed (ISO/IEC 14496-12)."""
    kinds = [box.kind for box in _boxes(file, size)]
    for needed, name in ((b"ftyp", "type"), (b"moov", "index (moov)"), (b"mdat", "media data")):
        if needed not in kinds:
            raise MediaUnreadable(f"is not a complete MP4: it has no {name}")


class _Box(NamedTuple):
    """A box of an MP4: where its content begins, and where it ends."""

    kind: bytes
    start: int
    end: int


def _boxes(file: BinaryIO, end: int, position: int = 0) -> Iterator[_Box]:
    while position < end:
        file.seek(position)
        head, start = file.read(16), position + 8
        if len(head) < 8:
            raise MediaUnreadable("is not a complete MP4: it ends inside a box")
        length, kind = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
            start += 8
        elif length == 0:  # the last box may run to the end of the file
            length = end - position
        if length < 8 or position + length > end:
            raise MediaUnreadable("is not a complete MP4: it ends inside a box")
        yield _Box(kind, start, position + length)
        position += length


def _told_rate(file: BinaryIO) -> float | None:
    """Frames a second by an MP4's index, as FFmpeg finds it there; None where it takes FFmpeg.

    FFmpeg needs five times as long, since it looks into the pictures as well.
    """
    with suppress(MediaUnreadable, struct.error, StopIteration):
        size = os.fstat(file.fileno()).st_size
        index = _content(file, size, b"moov", most=_MOST_OF_AN_INDEX)
        inside = io.BytesIO(index)
        for track in _boxes(inside, len(index)):
            if track.kind != b"trak":
                continue
            media = _content(inside, track.end, b"mdia", start=track.start)
            of, end = io.BytesIO(media), len(media)
            if _content(of, end, b"hdlr")[8:12] == b"vide":
                times = _content(of, end, b"minf", b"stbl", b"stts")
                return _rate(_content(of, end, b"mdhd"), times)
    return None


def _content(
    file: BinaryIO, end: int, *kinds: bytes, start: int = 0, most: int | None = None
) -> bytes:
    """A box's content, of one that is in others; at ``most`` so many bytes. Raises
    ``StopIteration`` where there is none."""
    for kind in kinds:
        box = next(each for each in _boxes(file, end, start) if each.kind == kind)
        start, end = box.start, box.end
    file.seek(start)
    return file.read(end - start if most is None else min(end - start, most))


def _rate(media_head: bytes, times: bytes) -> float | None:
    """Of what an index says of a track: the ticks in a second, and how long frames last."""
    (ticks,) = struct.unpack_from(">I", media_head, 20 if media_head[0] == 1 else 12)
    (count,) = struct.unpack_from(">I", times, 4)
    pairs = [struct.unpack_from(">II", times, 8 + 8 * at) for at in range(count)]
    lasting = sum(frames * each for frames, each in pairs)
    usual = all(0 < each < 1 << 31 for _, each in pairs)
    return ticks * sum(frames for frames, _ in pairs) / lasting if lasting and usual else None


# ── how it looks and sounds, in numbers: to choose by among many thousands ─────────────────────


Picture: TypeAlias = "NDArray[Any]"
"""Grey values from 0 to 255, line by line."""
_SIDE: Final = 64
"""Pixels of the small grey picture that each frame is measured by."""
_DARK: Final = 32
"""Of 255: a darker pixel is black, as for FFmpeg's blackframe."""
_MOST_DARK: Final = 0.98
"""The share of black pixels of which a frame is black."""
_STILL: Final = 0.001
"""The mean change, of 1, up to which a frame is as the one before: -60 dB, as for freezedetect."""
_MOMENTS: Final = (0.25, 0.5, 0.75)
SILENCE: Final = -70.0
"""LUFS of what cannot be heard, by EBU R 128."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What was measured in a clip."""

    black: float
    """The share of its frames that are black."""
    frozen: float
    """The share of its frames that are as the one before."""
    motion: float
    """How much changes from frame to frame: 0 nothing, 1 from black to white."""
    loudness: float | None
    """LUFS over the whole clip; `SILENCE` where there is no sound."""
    phash: str
    """Perceptual hashes of three moments, 64 bits each, as 48 hexadecimal digits."""


def appearance_of(path: Path) -> Appearance:
    """Decode a clip and measure it. Raises `MediaUnreadable`, and ``OSError``."""
    with opened_video(path) as container:
        decoded = islice(container.decode(container.streams.video[0]), MOST_FRAMES)
        small = [_small(frame) for frame in decoded]
    if not small:
        raise MediaUnreadable("has no frame that can be decoded")
    changes = [_change(before, after) for before, after in pairwise(small)]
    black = sum(float((picture < _DARK).mean()) >= _MOST_DARK for picture in small)
    return Appearance(
        black=round(black / len(small), 4),
        frozen=round(sum(change <= _STILL for change in changes) / max(len(changes), 1), 4),
        motion=round(sum(changes) / max(len(changes), 1), 5),
        loudness=_loudness(path),
        phash="".join(_phash(small[int(at * len(small))]) for at in _MOMENTS),
    )


def _small(frame: Any) -> Picture:
    picture = frame.reformat(width=_SIDE, height=_SIDE, format="gray", interpolation="AREA")
    found: Picture = picture.to_ndarray()
    return found


def _change(before: Picture, after: Picture) -> float:
    return float(abs(after.astype("int16") - before).mean()) / 255


def _phash(picture: Picture) -> str:
    """pHash: of 32 × 32 pixels the 8 × 8 lowest frequencies of the discrete cosine transform (type
    II), each above or below the middle of them."""
    import numpy as np

    half = _SIDE // 2
    means = picture.reshape(half, 2, half, 2).mean(axis=(1, 3))
    turns = np.pi * (2 * np.arange(half) + 1) / (2 * half)
    cosines = np.array([np.cos(k * turns) for k in range(8)])
    low = (cosines @ means @ cosines.T).ravel().round(3)
    bits = low > np.median(low[1:])  # the first is the brightness alone
    return np.packbits(bits).tobytes().hex()


# ── loudness ────────────────────────────────────────────────────────────────────────────────────


def _loudness(path: Path) -> float | None:
    """By FFmpeg's ebur128; None where this PyAV (before 18.1) does not hand on what it finds."""
    from av import AudioFrame

    if not hasattr(AudioFrame, "metadata"):
        return None
    with opened_video(path) as container:
        sounds = container.streams.audio
        if not sounds:
            return SILENCE
        told = [dict(frame.metadata).get(_TOLD) for frame in _measured(container, sounds[0])]
    found = float(next(filter(None, reversed(told)), SILENCE))
    return round(found, 2) if found > SILENCE else SILENCE


_TOLD: Final = "lavfi.r128.I"
"""The loudness so far, in each tenth of a second but a last part of one."""


def _measured(container: Any, sound: Any) -> Iterator[Any]:
    """The sound's frames behind the filter: each tells the loudness up to its end."""
    import av
    from av.filter import Graph

    graph = Graph()
    source = graph.add_abuffer(template=sound)
    meter = graph.add("ebur128", "metadata=1:framelog=quiet")
    end = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(end)
    graph.configure()
    for frame in (*container.decode(sound), None):
        source.push(frame)
        with suppress(av.error.BlockingIOError, av.error.EOFError):
            while True:
                yield end.pull()
