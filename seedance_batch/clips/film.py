"""Makes one film of clips: looks into each, copies what fits, encodes the rest, and joins them.

Reads one clip at a time and keeps no more than a few of its packets. Blocking.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from errno import EIO
from fractions import Fraction
from heapq import merge
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seedance_batch.clips import media, soundtrack
from seedance_batch.core.clip_sets import FilmPlan, How, PictureForm, Section, Shot

if TYPE_CHECKING:
    from av import Packet, VideoCodecContext, VideoFrame, VideoStream
    from av.container import InputContainer, OutputContainer

QUALITY: Final = {"preset": "medium", "crf": "18"}
"""What x264 is told: its own middle speed, and a quality at which hardly anybody sees a loss."""
_USUAL_RATE: Final = Fraction(24)
_HIGHEST_RATE: Final = 240
_UNSTEADY: Final = 0.1
"""Of a frame's time, by which a frame may come beside its moment: WebM rounds to milliseconds."""
_MARK: Final = "comment"
"""The field of an MP4's metadata that says who made it."""


# ── looking ─────────────────────────────────────────────────────────────────────────────────────


def shot_of(path: Path, name: str) -> Shot:
    """What a film has to know of a clip, by its index and its first frame.

    Raises `MediaUnreadable`, and ``OSError`` where the file itself cannot be read.
    """
    media.check_container(path)
    with media.opened_video(path) as container:
        video = container.streams.video[0]
        moments, first = _moments(container)
        order = sorted(moments)
        rate, steady = _rate(video, order)
        ranks = {moment: rank for rank, moment in enumerate(order)}
        shown = [ranks[moment] for moment in moments]
        seconds = (order[-1] - order[0]) * (video.time_base or Fraction(0)) + 1 / rate
        frames = len(order) if steady else max(1, round(seconds * rate))
        if frames > media.MOST_FRAMES:
            raise media.MediaUnreadable(f"lasts {float(seconds):,.0f} s by its own account")
        return Shot(
            name=name,
            picture=_form(video.codec_context, first, rate, steady and shown[0] == 0),
            frames=frames,
            before_last=_before_last(shown),
            delay=max(at - rank for at, rank in enumerate(shown)),
            sound=soundtrack.sound_of(container),
        )


def _moments(container: InputContainer) -> tuple[list[int], VideoFrame]:
    """When each frame is shown, in the order of decoding, and the first frame."""
    video, moments, first = container.streams.video[0], [], None
    for packet in container.demux(video):
        if packet.pts is None:
            continue
        if first is None:
            first = next(iter([*packet.decode(), *video.codec_context.decode(None)]), None)
        moments.append(packet.pts)
        if len(moments) > media.MOST_FRAMES:
            raise media.MediaUnreadable(f"has more than {media.MOST_FRAMES} frames")
    if first is None or len(set(moments)) < len(moments):
        raise media.MediaUnreadable("its first frame cannot be decoded, or frames have one time")
    return moments, first


def _rate(video: VideoStream, order: Sequence[int]) -> tuple[Fraction, bool]:
    """Frames a second, and whether all frames keep to that."""
    tick = video.time_base or Fraction(0)
    gaps = sorted(after - before for before, after in pairwise(order))
    told = [Fraction(video.average_rate or 0)]
    told += [1 / (gaps[len(gaps) // 2] * tick)] if gaps and tick else []
    likely = [rate.limit_denominator(1001) for rate in told if 1 <= rate <= _HIGHEST_RATE]
    for rate in likely:
        places = ((moment - order[0]) * tick * rate for moment in order)
        if all(abs(place - at) <= _UNSTEADY for at, place in enumerate(places)):
            return rate, True
    return (likely or [_USUAL_RATE])[0], False


def _form(codec: VideoCodecContext, first: VideoFrame, rate: Fraction, plain: bool) -> PictureForm:
    ratio = codec.sample_aspect_ratio or Fraction(1)
    turns, head = media.quarter_turns(first), codec.extradata or b""
    width, height = round(codec.width * ratio), codec.height
    return PictureForm(
        *((height, width) if turns % 2 else (width, height)),
        rate=rate,
        parameters=head,
        copyable=plain
        and not (width % 2 or height % 2)
        and not turns % 4
        and ratio == 1
        and (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        and Parameters.of_track(head) is not None,
    )


def _before_last(shown: Sequence[int]) -> int:
    """Up to where, in the order of decoding, no frame is shown after one that is decoded later."""
    found, highest = 0, -1
    for count, rank in enumerate(shown[:-1], 1):
        highest = max(highest, rank)
        if highest == count - 1:
            found = count
    return found


# ── making ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class FilmOrder:
    """What a film is made of, and what its file says of itself."""

    film: FilmPlan
    paths: Sequence[Path]
    """Each shot's file."""
    title: str
    mark: str
    """Who made it; `mark_of` reads that."""
    laid: Path | None = None
    """A file whose sound lies under the clips' own."""

    @contextmanager
    def opened(self, shot: int) -> Iterator[InputContainer]:
        """A shot's clip to read, by the shot's position; `MediaUnreadable` names it."""
        try:
            with media.opened_video(self.paths[shot]) as container:
                yield container
        except (media.MediaUnreadable, OSError) as error:
            raise media.MediaUnreadable(f"{self.film.shots[shot].name}: {error}") from error


def make_film(order: FilmOrder, target: Path, told: Callable[[int], object]) -> None:
    """Write the film to ``target``; ``told`` hears how many frames were written since.

    Raises `MediaUnreadable` for a clip, `soundtrack.Unheard` for the laid sound, and ``OSError``
    where the disk refuses.
    """
    import av

    film, options = order.film, {"movflags": "+faststart"}
    with _written(target), av.open(f"file:{target}", "w", format="mp4", options=options) as out:
        out.metadata.update({"title": _encodable(order.title), _MARK: order.mark})
        out.set_chapters(_chapters(film))
        pictures = _Pictures(order, out)
        sounds = soundtrack.sound_packets(film, order.opened, order.laid, out)
        with closing(pictures.packets()) as seen, closing(sounds) as heard:
            for _, packet in merge(seen, heard, key=lambda timed: timed[0]):
                out.mux_one(packet)
                if packet.stream is pictures.stream:
                    told(1)
    _check(target, film)


def mark_of(path: Path) -> str | None:
    """What a file says of who made it; None where it says nothing, or is no film."""
    try:
        with media.opened_video(path) as container:
            return container.metadata.get(_MARK)
    except (media.MediaUnreadable, OSError):
        return None


def _chapters(film: FilmPlan) -> list[Any]:
    tick = 1 / film.rate
    return [
        {
            "id": number,
            "start": start,
            "end": end,
            "time_base": tick,
            "metadata": {"title": _encodable(shot.name)},
        }
        for number, (shot, start, end) in enumerate(
            zip(film.shots, film.starts, film.starts[1:], strict=False), 1
        )
    ]


def _encodable(text: str) -> str:
    """The text without halves of characters, which JSON can hold and UTF-8 cannot."""
    return text.encode(errors="replace").decode()


@contextmanager
def _written(target: Path) -> Iterator[None]:
    """FFmpeg's words for a disk that refuses become the system's."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error


def _check(target: Path, film: FilmPlan) -> None:
    """Raise ``OSError`` unless the file is whole: a full disk is not always told of."""
    try:
        media.check_container(target)
        with media.opened_video(target) as container:
            found = container.streams.video[0].frames
    except media.MediaUnreadable as error:
        raise OSError(EIO, error.reason, str(target)) from error
    if found != film.frames:
        raise OSError(EIO, f"{found} of {film.frames} frames were written", str(target))


class _Pictures:
    """The film's frames as packets of one stream of ``out``."""

    def __init__(self, order: FilmOrder, out: OutputContainer) -> None:
        self._film, self._order = order.film, order
        self._tick = 1 / self._film.rate
        self._seconds = float(self._tick)
        self._decoded = -self._film.delay
        self._encoder: VideoCodecContext | None = None
        copied = next((p.shot for p in self._film.sections if p.how is How.COPIED), None)
        self._among_copied = copied is not None
        with order.opened(copied or 0) as like:
            codec = like.streams.video[0].codec_context
            self._colours = {name: getattr(codec, name) for name in _COLOURS}
            if copied is None:
                rate, options = self._film.rate, dict(QUALITY)
                self.stream = out.add_stream("libx264", rate=rate, options=options)
                self._encoder = self._set_up(self.stream.codec_context)
                return
            self.stream = out.add_stream_from_template(like.streams.video[0])
            self.stream.time_base = self._tick / _FINER
            self._number = 0
            if self._film.made_frames:
                self._know_both(codec.extradata or b"")

    def _know_both(self, head: bytes) -> None:
        """Put the encoder's parameters into the track's head, beside those of copied frames."""
        copied = Parameters.of_track(head)
        if copied is None:
            raise ValueError("copied frames without parameter sets")
        self._number = copied.free_number
        self._encoder = self._new_encoder()
        self._encoder.open()
        made = Parameters.of_encoder(self._encoder.extradata or b"")
        self.stream.codec_context.extradata = copied.with_others(made).as_track()

    def _new_encoder(self) -> VideoCodecContext:
        import av

        encoder: Any = av.CodecContext.create("libx264", "w")
        encoder.options = {**QUALITY, "x264-params": f"sps-id={self._number}"}
        encoder.flags |= av.codec.context.Flags.global_header
        return self._set_up(encoder)

    def _set_up(self, encoder: Any) -> VideoCodecContext:
        film = self._film
        encoder.width, encoder.height, encoder.pix_fmt = film.width, film.height, "yuv420p"
        encoder.framerate, encoder.time_base = film.rate, self._tick
        encoder.thread_type = "AUTO"  # PyAV's default cuts each frame into slices: slower, coarser
        for name, value in self._colours.items():
            setattr(encoder, name, value)
        found: VideoCodecContext = encoder
        return found

    def packets(self) -> Generator[soundtrack.Timed]:
        """In the order of decoding."""
        for how, sections in groupby(self._film.sections, key=lambda section: section.how):
            if how is How.MADE:
                yield from self._made(sections)
            else:
                for section in sections:
                    yield from self._copied(section)

    def _copied(self, section: Section) -> Iterator[soundtrack.Timed]:
        with self._order.opened(section.shot) as container:
            video = container.streams.video[0]
            step = float((video.time_base or 1) * self._film.rate)
            packets = (each for each in container.demux(video) if each.pts is not None)
            first = None
            for packet in islice(packets, section.count):
                first = (packet.pts or 0) if first is None else first
                number = round(((packet.pts or 0) - first) * step)
                yield self._placed(packet, section.start + number)

    def _made(self, sections: Iterable[Section]) -> Iterator[soundtrack.Timed]:
        encoder, self._encoder = self._encoder or self._new_encoder(), None
        for section in sections:
            for frame in self._frames(section):
                yield from self._encoded(encoder, frame)
        yield from self._encoded(encoder, None)

    def _encoded(
        self, encoder: VideoCodecContext, frame: VideoFrame | None
    ) -> Iterator[soundtrack.Timed]:
        import av

        for packet in encoder.encode(frame):
            placed = packet
            if self._among_copied:
                placed = av.Packet(in_track(bytes(packet)))
                placed.is_keyframe = packet.is_keyframe
            yield self._placed(placed, packet.pts or 0)

    def _placed(self, packet: Packet[Any], frame: int) -> soundtrack.Timed:
        packet.stream, packet.time_base = self.stream, self._tick
        packet.pts, packet.dts, packet.duration = frame, self._decoded, 1
        self._decoded += 1
        return (self._decoded - 1) * self._seconds, packet

    def _frames(self, section: Section) -> Iterator[VideoFrame]:
        """A section's frames as they are to be encoded; the first one begins anew."""
        from av.video.frame import PictureType

        with self._order.opened(section.shot) as container:
            fitted = _Fitting(self._film.width, self._film.height)
            found = _at_rate(container.decode(video=0), self._film.rate, section)
            for number, frame in enumerate(found):
                ready = fitted(frame)
                ready.pts, ready.time_base = section.start + number, self._tick
                ready.pict_type = PictureType.NONE if number else PictureType.I
                yield ready


_COLOURS: Final = ("colorspace", "color_primaries", "color_trc")
"""What is said of encoded frames' colours as of the others'. Their range is always the usual one:
frames of the full range are fitted to it."""
_FINER: Final = 512
"""Ticks of a track in a frame."""


def _at_rate(frames: Iterator[VideoFrame], rate: Fraction, of: Section) -> Iterator[VideoFrame]:
    """The frame that is nearest to each moment of a section; the last one stays to its end."""
    begun = held = None
    at, end = of.first, of.first + of.count
    for frame in frames:
        moment = (frame.pts or 0) * (frame.time_base or Fraction(0))
        begun = moment if begun is None else begun
        while held is not None and at < end and (moment - begun) * rate >= at + Fraction(1, 2):
            yield held
            at += 1
        if at == end:
            return
        held = frame
    if held is None:
        raise media.MediaUnreadable("contains no frame")
    for _ in range(at, end):
        yield held


class _Fitting:
    """Makes frames of one clip as large as the film's, with bars where its form is another."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._graph: Any = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        is_plain = not media.quarter_turns(frame) and frame.format.name == "yuv420p"
        if is_plain and (frame.width, frame.height) == self._size and self._graph is None:
            return frame
        if self._graph is None:
            self._graph = self._made_for(frame)
        self._graph.push(frame)
        fitted: VideoFrame = self._graph.pull()
        return fitted

    def _made_for(self, frame: VideoFrame) -> Any:
        from av.filter import Graph

        width, height = self._size
        graph = Graph()
        steps = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format,
                             time_base=frame.time_base),
            *(graph.add(*turn) for turn in _TURNS[media.quarter_turns(frame) % 4]),
            graph.add("scale", "iw*sar:ih"),
            graph.add("setsar", "1"),
            graph.add("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:"
                               "force_divisible_by=2"),
            graph.add("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]  # fmt: skip
        graph.link_nodes(*steps).configure()
        return graph


_TURNS: Final[tuple[tuple[tuple[str, ...], ...], ...]] = (
    (),
    (("transpose", "cclock"),),
    (("hflip",), ("vflip",)),
    (("transpose", "clock"),),
)
"""Filters that turn a picture by so many quarters, against the clock."""


# ── H.264 in an MP4: its parameter sets, and encoded frames as they stand between copied ones ─────
# Copied and encoded frames in one track have parameter sets of different numbers, so that a player
# that reads the track's head once knows both (ISO/IEC 14496-15, 5.2.4.1; ITU-T H.264, 7.3.2).


_SEQUENCE: Final = 7
_PICTURE: Final = 8
_HIGH: Final = frozenset({100, 110, 122, 144})
"""Profiles whose head goes on with the depth of colours."""
_PLAIN_420: Final = bytes([0xFD, 0xF8, 0xF8, 0])
"""4:2:0 of 8 bits, which is what is copied and encoded here."""
_START: Final = re.compile(rb"\x00{2,3}\x01")


@dataclass(frozen=True, slots=True)
class Parameters:
    """A track's parameter sets, each a whole unit with its first byte."""

    sequence: tuple[bytes, ...]
    picture: tuple[bytes, ...]

    @classmethod
    def of_track(cls, head: bytes) -> Parameters | None:
        """Of an MP4's ``avcC``; None for what is none, or has units of another kind of length."""
        if len(head) < 7 or head[0] != 1 or head[4] & 3 != 3:
            return None
        try:
            sequence, at = _units(head, 6, head[5] & 31)
            picture, _ = _units(head, at + 1, head[at])
        except IndexError:
            return None
        return cls(sequence, picture) if sequence and picture else None

    @classmethod
    def of_encoder(cls, stream: bytes) -> Parameters:
        """Of units with start codes, as an encoder gives them."""
        units = _units_of(stream)
        return cls(
            tuple(unit for unit in units if unit[0] & 31 == _SEQUENCE),
            tuple(unit for unit in units if unit[0] & 31 == _PICTURE),
        )

    @property
    def free_number(self) -> int:
        """The lowest number that no set has."""
        taken = {_exp_golomb(unit[4:]) for unit in self.sequence}
        taken |= {_exp_golomb(unit[1:]) for unit in self.picture}
        return next(number for number in range(32) if number not in taken)

    def with_others(self, others: Parameters) -> Parameters:
        """Both together."""
        return Parameters(self.sequence + others.sequence, self.picture + others.picture)

    def as_track(self) -> bytes:
        """An ``avcC`` that promises the highest profile and level among them."""
        profile = max(unit[1] for unit in self.sequence)
        constraints, level = 0xFF, max(unit[3] for unit in self.sequence)
        for unit in self.sequence:
            constraints &= unit[2]
        out = bytes([1, profile, constraints, level, 0xFF, 0xE0 | len(self.sequence)])
        out += b"".join(_with_length(unit, 2) for unit in self.sequence)
        out += bytes([len(self.picture)])
        out += b"".join(_with_length(unit, 2) for unit in self.picture)
        return out + (_PLAIN_420 if profile in _HIGH else b"")


def in_track(packet: bytes) -> bytes:
    """An encoder's packet as an MP4 holds it: each unit after its length."""
    return b"".join(_with_length(unit, 4) for unit in _units_of(packet))


def _units_of(stream: bytes) -> list[bytes]:
    """The units between start codes; no unit can hold one (H.264, 7.4.1)."""
    return [unit for unit in _START.split(stream) if unit]


def _with_length(unit: bytes, width: int) -> bytes:
    return len(unit).to_bytes(width) + unit


def _units(head: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    """So many units, and where they end."""
    found = []
    for _ in range(count):
        length = int.from_bytes(head[at : at + 2])
        unit = head[at + 2 : at + 2 + length]
        if len(unit) < length or length < 2:
            raise IndexError
        found.append(unit)
        at += 2 + length
    return tuple(found), at


def _exp_golomb(content: bytes) -> int:
    """The number that a unit's content begins with (H.264, 9.1)."""
    bits = f"{int.from_bytes(content[:8].ljust(8, bytes(1))):064b}"
    zeros = len(bits) - len(bits.lstrip("0"))
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
