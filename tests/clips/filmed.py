"""Clips of which every frame says whose it is, and films read back frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from seedance_batch.clips.film import FilmOrder, make_film, shot_of
from seedance_batch.core.clip_sets import FilmPlan, plan_film

SIZE = (160, 96)
Wave = Callable[[NDArray[Any]], NDArray[Any]]
"""Loudness at each moment, in seconds."""


def hum(at: NDArray[Any]) -> NDArray[Any]:
    """A tone that begins and ends at its loudest."""
    return np.asarray(0.3 * np.cos(2 * np.pi * 300 * at))


def beep(at: NDArray[Any]) -> NDArray[Any]:
    """Silence, and from half a second on a tone for a tenth of one."""
    return np.where((at >= 0.5) & (at < 0.6), np.sin(2 * np.pi * 1000 * at) * 0.6, 0)


def filmed(
    path: Path,
    number: int,
    *,
    frames: int = 25,
    size: tuple[int, int] = SIZE,
    fps: int = 24,
    wave: Wave | None = hum,
    rate: int = 44_100,
    layout: str = "stereo",
    preset: str = "ultrafast",
    codecs: tuple[str, str] = ("libx264", "aac"),
    noise: bool = False,
) -> Path:
    """A clip whose left half tells the frame's number and whose right half the clip's.

    ``preset`` *ultrafast* decodes frames in the order in which they are shown, *fast* does not.
    ``noise`` gives an encoder something to do, and frames no number.
    """
    with av.open(str(path), "w") as container:
        options = {"preset": preset} if codecs[0] == "libx264" else {"deadline": "realtime"}
        video: Any = container.add_stream(codecs[0], rate=fps, options=options)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio: Any = container.add_stream(codecs[1], rate=rate, layout=layout) if wave else None
        for at in range(frames):
            container.mux(video.encode(_frame(at, number, size, noise)))
        container.mux(video.encode())
        if audio is not None and wave is not None:
            _sound(container, audio, wave, round(rate * frames / fps))
    return path


def _frame(at: int, number: int, size: tuple[int, int], noise: bool = False) -> av.VideoFrame:
    width, height = size
    planes = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
    planes[:height, : width // 2] = 40 + 4 * (at % 50)
    planes[:height, width // 2 :] = 40 + 20 * number
    if noise:
        random = np.random.default_rng(number)
        grain = random.integers(0, 60, (height, 2 * width), dtype=np.uint8)
        planes[:height] += grain[:, 3 * at % width :][:, :width]
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts = at
    return frame


def _sound(container: Any, stream: Any, wave: Wave, count: int) -> None:
    channels = stream.layout.nb_channels
    for start in range(0, count, 960):
        at = np.arange(start, min(start + 960, count)) / stream.rate
        samples = np.ascontiguousarray(np.tile(wave(at).astype(np.float32), (channels, 1)))
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.pts = stream.rate, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def joined(
    paths: Sequence[Path],
    target: Path,
    *,
    chained: bool = False,
    laid: Path | None = None,
    names: Sequence[str] = "abcdefghijkl",
) -> FilmPlan:
    """One film of these clips, so named; ``chained`` ones share frames at cuts."""
    shots = [shot_of(path, name) for path, name in zip(paths, names, strict=False)]
    shots = [replace(s, shares_last=chained and s is not shots[-1]) for s in shots]
    film = plan_film(shots, laid_sound=laid is not None)
    make_film(FilmOrder(film, paths, "A film", "a test", laid), target, lambda count: None)
    return film


def seen(path: Path) -> list[tuple[int, int]]:
    """Clip and frame that each frame of a film shows, if it fills the picture."""
    with av.open(str(path)) as container:
        found = []
        for at, frame in enumerate(container.decode(video=0)):
            luma = frame.to_ndarray()[: frame.height].astype(float)
            assert abs((frame.time or 0) * 24 - at) < 0.01
            left, right = (
                luma[:, x - 8 : x + 8].mean() for x in (luma.shape[1] // 4, luma.shape[1] * 3 // 4)
            )
            found.append((round((right - 40) / 20), round((left - 40) / 4)))
    return found


def frames_of(*counts: int) -> list[tuple[int, int]]:
    """What `seen` gives for whole clips of so many frames."""
    return [(number, at) for number, count in enumerate(counts) for at in range(count)]


def listened(path: Path) -> tuple[NDArray[Any], int]:
    """The first channel of a file's sound as it is played, and its samples a second."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        chunks: list[NDArray[Any]] = []
        ended = 0
        for frame in container.decode(stream):
            assert abs(round((frame.time or 0) * stream.rate) - ended) <= 1  # no gap, no overlap
            ended += frame.samples
            chunks.append(frame.to_ndarray()[0])
        return np.concatenate(chunks), stream.rate


def bytes_of_frames(path: Path) -> list[bytes]:
    """A file's coded frames."""
    with av.open(str(path)) as container:
        return [bytes(each) for each in container.demux(video=0) if each.pts is not None]


def starts(film: FilmPlan) -> list[Fraction]:
    """When each shot of a film begins, in seconds, and when the film ends."""
    return [start / film.rate for start in film.starts]
