"""A film's sound as packets of AAC: copied where it fits, else decoded, fitted and encoded.

Everything is made and kept in blocks of 1,024 samples, so that memory does not grow with the film.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from functools import cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from seedance_batch.clips.media import any_texts
from seedance_batch.core.clip_sets import PACKET, FilmPlan, How, SoundForm, Stretch, nearest

if TYPE_CHECKING:
    import numpy as np
    from av import AudioStream, Packet
    from av.container import InputContainer, OutputContainer
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]  # (channels, samples), between -1 and 1

Timed: TypeAlias = "tuple[float, Packet[Any]]"
"""A packet, and when it is decoded, in seconds from the film's beginning."""

Opened: TypeAlias = "Callable[[int], AbstractContextManager[InputContainer]]"
"""Opens a shot's clip, by the shot's position."""

T = TypeVar("T")
BITS: Final = 96_000
"""Of encoded sound, a second and channel."""
FADE_OUT: Final = 3.0
"""Seconds in which a laid track grows silent at a film's end."""
_EDGE: Final = 0.01
"""Seconds in which a clip's decoded sound begins and ends, so that no cut clicks."""
_MOST_CHANNELS: Final = 2
"""Of a film: more are mixed down."""
_LOW_COMPLEXITY: Final = 2
"""The kind of AAC, by the first five bits of a track's head (ISO/IEC 14496-3, 1.6.2.1)."""


class Unheard(Exception):
    """A file has no sound that can be decoded; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def sound_of(container: InputContainer) -> SoundForm | None:
    """How a clip's sound is coded; None where it has none."""
    for stream in container.streams.audio[:1]:
        codec, rate = stream.codec_context, stream.rate or 0
        head = codec.extradata or bytes(2)
        channels = codec.layout.nb_channels
        copyable = (
            codec.name == "aac"
            and channels <= _MOST_CHANNELS
            and head[0] >> 3 == _LOW_COMPLEXITY
            and stream.time_base == Fraction(1, rate or 1)
            and codec.frame_size == PACKET
        )
        return SoundForm(rate, min(channels, _MOST_CHANNELS), copyable)
    return None


def sound_packets(
    film: FilmPlan, opened: Opened, laid: Path | None, out: OutputContainer
) -> Generator[Timed]:
    """The sound of a film as packets of a new stream of ``out``, in order; none where it is silent.

    The stream is there when this returns.
    """
    if film.sound is None:
        return (timed for timed in list[Timed]())
    return _Track(film, film.sound, opened, laid, out).packets()


class _Track:
    """The film's sound as packets of one stream of ``out``."""

    def __init__(
        self,
        film: FilmPlan,
        sound: SoundForm,
        opened: Opened,
        laid: Path | None,
        out: OutputContainer,
    ) -> None:
        self._film, self._sound, self._opened, self._laid = film, sound, opened, laid
        self._layout = _layout(sound.channels)
        self._encoder: Any = None
        copied = next((s.shots[0] for s in film.stretches if s.how is How.COPIED), None)
        if copied is None:
            self._stream: Any = out.add_stream("aac", rate=sound.rate)
            self._encoder = self._set_up(self._stream.codec_context)
        else:
            with opened(copied) as like:
                self._stream = out.add_stream_from_template(like.streams.audio[0])

    def packets(self) -> Generator[Timed]:
        """In order."""
        for stretch in self._film.stretches:
            found = self._copied(stretch) if stretch.how is How.COPIED else self._made(stretch)
            yield from found

    def _placed(self, packet: Packet[Any], number: int) -> Timed:
        packet.stream, packet.time_base = self._stream, Fraction(1, self._sound.rate)
        packet.pts = packet.dts = number * PACKET
        packet.duration = PACKET
        return number * PACKET / self._sound.rate, packet

    # ── copied ──────────────────────────────────────────────────────────────────────────────────

    def _copied(self, stretch: Stretch) -> Iterator[Timed]:
        """A clip's packets, each in the place nearest to its time; silence where there is none.

        The last two hold the moment at which the sound breaks off, which would be a click.
        """
        number = stretch.first
        with self._opened(stretch.shots[0]) as container:
            found = self._with_places(container, stretch)
            if stretch is not self._film.stretches[-1]:
                found = _without_last(found, 2)
            for packet, place in found:
                if place >= stretch.until:
                    break
                if place >= number:
                    yield from self._silence(number, place)
                    yield self._placed(packet, place)
                    number = place + 1
        yield from self._silence(number, stretch.until)

    def _with_places(
        self, container: InputContainer, stretch: Stretch
    ) -> Iterator[tuple[Packet[Any], int]]:
        stream = container.streams.audio[0]
        start = self._film.starts[stretch.shots[0]] / self._film.rate - _begin(container)
        first = None
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            if first is None:
                first = packet.pts
                place = nearest((start + first * packet.time_base) * self._sound.rate / PACKET)
            yield packet, place + round((packet.pts - first) / PACKET)

    def _silence(self, first: int, until: int) -> Iterator[Timed]:
        import av

        for number in range(first, until):
            yield self._placed(av.Packet(self._silent_packet), number)

    @cached_property
    def _silent_packet(self) -> bytes:
        """The second packet of silence: the first one begins it."""
        import av

        encoder, found = self._new_encoder(), list[bytes]()
        frame: Any = av.AudioFrame(format="fltp", layout=self._layout, samples=PACKET)
        frame.sample_rate = self._sound.rate
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        while len(found) < 2:
            found += map(bytes, encoder.encode(frame))
        return found[1]

    # ── made ────────────────────────────────────────────────────────────────────────────────────

    def _made(self, stretch: Stretch) -> Iterator[Timed]:
        samples = self._of_shots(stretch)
        if self._laid is not None:
            samples = _mixed(samples, self._under(self._laid))
        yield from self._encoded(_blocks(samples), stretch.first, stretch.until)

    def _encoded(self, blocks: Iterable[Samples], first: int, until: int) -> Iterator[Timed]:
        """Packets ``first`` to ``until``; the first block is that of packet ``first``.

        A packet is decoded with half of the one before it, so the encoder begins one earlier.
        """
        encoder, self._encoder = self._encoder or self._new_encoder(), None
        number, lead = (first, 0) if first < 0 else (first - 2, 1)
        silent = repeat(_zeros(self._sound.channels, PACKET), lead)
        for at, block in enumerate(chain(silent, blocks, (None,))):
            for packet in encoder.encode(None if block is None else self._frame(block, at)):
                if first <= number < until:
                    yield self._placed(packet, number)
                number += 1
            if number >= until:
                return

    def _new_encoder(self) -> Any:
        import av

        encoder: Any = av.CodecContext.create("aac", "w")
        encoder.sample_rate, encoder.time_base = self._sound.rate, Fraction(1, self._sound.rate)
        encoder.flags |= av.codec.context.Flags.global_header
        return self._set_up(encoder)

    def _set_up(self, encoder: Any) -> Any:
        encoder.layout, encoder.format = self._layout, "fltp"
        encoder.bit_rate = BITS * self._sound.channels
        return encoder

    def _frame(self, block: Samples, at: int) -> Any:
        from av import AudioFrame

        frame: Any = AudioFrame.from_ndarray(block, format="fltp", layout=self._layout)
        frame.sample_rate, frame.time_base = self._sound.rate, Fraction(1, self._sound.rate)
        frame.pts = at * PACKET
        return frame

    def _of_shots(self, stretch: Stretch) -> Iterator[Samples]:
        """The stretch's clips one after the other, from its first packet's beginning on."""
        film, channels = self._film, self._sound.channels
        # One packet more than is wanted: the last one is heard half while the next clip begins.
        at, until = max(stretch.first, 0) * PACKET, (stretch.until + 1) * PACKET
        for shot in stretch.shots:
            begin, end = film.sample(shot), film.sample(shot + 1)
            yield from _quiet(channels, begin - at)
            at = max(begin, at)
            if at < end:
                heard = () if film.shots[shot].sound is None else self._of_shot(shot)
                cut = _cut(heard, channels, at - begin, end - at)
                yield from _soft(cut, end - at, round(self._sound.rate * _EDGE))
                at = end
        yield from _quiet(channels, until - at)

    def _of_shot(self, shot: int) -> Iterator[Samples]:
        """A clip's sound from the moment of its first frame."""
        with self._opened(shot) as container:
            yield from self._decoded(container.streams.audio[0], _begin(container))

    def _decoded(self, stream: AudioStream, begin: Fraction) -> Iterator[Samples]:
        from av import AudioResampler

        fitting = AudioResampler(format="fltp", layout=self._layout, rate=self._sound.rate)
        source: Any = stream.container
        begun = False
        for frame in chain(source.decode(stream), (None,)):
            if frame is not None and not begun:
                begun = True
                late = round(((frame.time or 0) - begin) * self._sound.rate)
                yield from _quiet(self._sound.channels, late)
                skip = max(-late, 0)
            for fitted in fitting.resample(frame) if begun else ():
                samples: Samples = fitted.to_ndarray().astype("float32", copy=False)
                yield samples[:, skip:]
                skip = max(skip - samples.shape[1], 0)

    def _under(self, laid: Path) -> Iterator[Samples]:
        """The laid track, faded out at the film's end."""
        length = self._film.sample(len(self._film.shots))
        fade = round(min(FADE_OUT, float(self._film.seconds) / 2) * self._sound.rate)
        with heard(laid) as stream:
            cut = _cut(self._decoded(stream, Fraction(0)), self._sound.channels, 0, length)
            yield from _enveloped(cut, lambda at: (length - at) / fade)


@contextmanager
def heard(path: Path) -> Iterator[AudioStream]:
    """The sound of any file that FFmpeg knows. Raises `Unheard`, also while it is read."""
    import av

    try:
        # No playlist leads to the network.
        only = {"protocol_whitelist": "file"}
        with av.open(f"file:{path}", options=only, **any_texts()) as container:
            if not container.streams.audio:
                raise Unheard("it has no sound")
            yield container.streams.audio[0]
    except av.FFmpegError as error:
        raise Unheard(error.strerror or "it cannot be decoded") from error


def _begin(container: InputContainer) -> Fraction:
    """The moment of a clip's first frame."""
    video = container.streams.video[0]
    return (video.start_time or 0) * (video.time_base or Fraction(0))


def _without_last(found: Iterable[T], count: int) -> Iterator[T]:
    """All but so many of the last."""
    kept: deque[T] = deque()
    for each in found:
        kept.append(each)
        if len(kept) > count:
            yield kept.popleft()


def _layout(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"


# ── samples ─────────────────────────────────────────────────────────────────────────────────────


def _zeros(channels: int, count: int) -> Samples:
    import numpy as np

    return np.zeros((channels, count), dtype=np.float32)


def _quiet(channels: int, count: int) -> Iterator[Samples]:
    """So many silent samples, a packet's at most at once; none where ``count`` is negative."""
    for at in range(0, count, PACKET):
        yield _zeros(channels, min(PACKET, count - at))


def _cut(chunks: Iterable[Samples], channels: int, skip: int, length: int) -> Iterator[Samples]:
    """Exactly ``length`` samples after the first ``skip``; silence where there are too few."""
    for chunk in chunks:
        kept = chunk[:, skip : skip + length]
        skip = max(skip - chunk.shape[1], 0)
        length -= kept.shape[1]
        yield kept
        if not length:
            return
    yield from _quiet(channels, length)


def _soft(chunks: Iterable[Samples], length: int, edge: int) -> Iterator[Samples]:
    """SoundForm of so many samples that rises from silence and falls back to it at its edges."""
    import numpy as np

    return _enveloped(chunks, lambda at: np.minimum(at + 1, length - at) / edge)


def _enveloped(
    chunks: Iterable[Samples], loudness: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> Iterator[Samples]:
    """``loudness`` of a sample's number, from 0 to 1; more is 1."""
    import numpy as np

    begun = 0
    for chunk in chunks:
        at = np.arange(begun, begun + chunk.shape[1])
        begun += chunk.shape[1]
        yield chunk * np.clip(loudness(at), 0, 1).astype(np.float32)


def _blocks(chunks: Iterable[Samples]) -> Iterator[Samples]:
    """The same samples in blocks of a packet each; the last one is filled with silence."""
    import numpy as np

    kept: list[Samples] = []
    count = 0
    for chunk in chunks:
        kept.append(chunk)
        count += chunk.shape[1]
        if count >= PACKET:
            joined = np.concatenate(kept, axis=1)
            whole = count // PACKET * PACKET
            for at in range(0, whole, PACKET):
                yield np.ascontiguousarray(joined[:, at : at + PACKET])
            kept, count = [joined[:, whole:]], count - whole
    if count:
        joined = np.concatenate(kept, axis=1)
        yield np.pad(joined, ((0, 0), (0, PACKET - count)))


def _mixed(samples: Iterable[Samples], under: Iterable[Samples]) -> Iterator[Samples]:
    """Both together; what would be too loud is rounded off, never cut."""
    import numpy as np

    beside = chain(_blocks(under), repeat(None))
    for block, other in zip(_blocks(samples), beside, strict=False):
        mixed = block if other is None else block + other
        over = np.abs(mixed) - _LOUD
        rounded = np.sign(mixed) * (_LOUD + (1 - _LOUD) * np.tanh(over / (1 - _LOUD)))
        yield np.where(over > 0, rounded, mixed).astype(np.float32)


_LOUD: Final = 0.8
"""From where on mixed sound is rounded off."""
