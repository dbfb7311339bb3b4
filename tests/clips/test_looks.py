"""What a clip looks and sounds like is measured as FFmpeg's own meters would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from seedance_batch.clips.media import SILENCE, MediaUnreadable, appearance_of
from seedance_batch.core.clip_sets import MOST_APART, apart, hash_parts
from tests.clips.filmed import filmed, hum

Picture = Callable[[int], NDArray[np.uint8]]
AT = np.mgrid[0:96, 0:160]


def drawn(path: Path, picture: Picture, *, frames: int = 24, quality: int = 18) -> Path:
    """A clip of these grey pictures."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=24, options={"crf": str(quality)})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        for at in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(at), format="gray")
            container.mux(video.encode(frame.reformat(format="yuv420p")))
        container.mux(video.encode())
    return path


def waves(at: int, seed: int = 1) -> NDArray[np.uint8]:
    """A picture with some detail, which moves."""
    y, x = AT
    chance = np.random.default_rng(seed)
    found = 128 + sum(
        14 * np.sin(x / a + y / b + at / c) for a, b, c in chance.uniform(-25, 25, (12, 3))
    )
    return np.asarray(np.clip(found, 0, 255), np.uint8)


def nothing(at: int) -> NDArray[np.uint8]:
    """A black picture."""
    return np.zeros((96, 160), np.uint8)


def test_black_frames_frozen_ones_and_motion_are_counted(tmp_path: Path) -> None:
    black = appearance_of(drawn(tmp_path / "b.mp4", nothing))
    assert (black.black, black.frozen, black.motion) == (1, 1, 0)
    both = drawn(tmp_path / "h.mp4", lambda at: waves(at) if at < 12 else nothing(at))
    half = appearance_of(both)
    assert half.black == 0.5
    still = appearance_of(drawn(tmp_path / "s.mp4", lambda at: waves(0)))
    moving = appearance_of(drawn(tmp_path / "m.mp4", waves))
    assert still.frozen > 0.8
    assert (moving.black, moving.frozen) == (0, 0)
    assert moving.motion > 10 * still.motion


def test_the_same_film_is_known_after_another_encoding_and_others_are_not(tmp_path: Path) -> None:
    film = appearance_of(drawn(tmp_path / "a.mp4", waves)).phash
    worse = appearance_of(drawn(tmp_path / "b.mp4", waves, quality=36)).phash
    other = appearance_of(drawn(tmp_path / "c.mp4", lambda at: waves(at, 2))).phash
    assert apart(film, worse) <= MOST_APART
    assert set(enumerate(hash_parts(film))) & set(enumerate(hash_parts(worse)))
    assert apart(film, other) > 3 * MOST_APART


@pytest.mark.skipif(not hasattr(av.AudioFrame, "metadata"), reason="PyAV does not tell it")
def test_loudness_is_that_of_ebu_r_128(tmp_path: Path) -> None:
    def tone(at: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(10 ** (-23 / 20) * np.sin(2 * np.pi * 997 * at))

    loud = appearance_of(filmed(tmp_path / "a.mp4", 1, frames=48, wave=tone, rate=48_000))
    # A stereo sine of 1 kHz at -23 dBFS reads -23 LUFS (EBU Tech 3341, case 1).
    assert loud.loudness == pytest.approx(-23, abs=0.3)
    silent = filmed(tmp_path / "b.mp4", 1, wave=lambda at: hum(at) * 0)
    assert appearance_of(silent).loudness == SILENCE
    assert appearance_of(filmed(tmp_path / "c.mp4", 1, wave=None)).loudness == SILENCE


def test_what_cannot_be_decoded_is_said(tmp_path: Path) -> None:
    (path := tmp_path / "a.mp4").write_bytes(b"no film")
    with pytest.raises(MediaUnreadable):
        appearance_of(path)
