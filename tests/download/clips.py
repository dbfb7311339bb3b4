"""Clips for the tests, encoded once; and the rows that ask for them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np

from seedance_batch.state import Intent, Kind


@functools.cache
def encoded(
    seconds: int = 4,
    width: int = 864,
    height: int = 496,
    *,
    fps: int = 24,
    sound: bool = True,
    noise: int = 0,
    faststart: bool = True,
) -> bytes:
    """An MP4 as the service makes them: 24·d + 1 frames, AAC; ``noise`` rows of it add bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        flags = {"movflags": "faststart"} if faststart else {}
        with av.open(str(path), "w", options=flags) as container:
            video = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            audio = container.add_stream("aac", rate=44100, layout="stereo") if sound else None
            frames = seconds * fps + 1
            for number in range(frames):
                container.mux(video.encode(_picture(number, width, height, noise)))
            container.mux(video.encode())
            if audio is not None:
                _add_sound(container, audio, int(44100 * frames / fps))
        return path.read_bytes()


def _picture(number: int, width: int, height: int, noise: int) -> av.VideoFrame:
    random = np.random.default_rng(number)
    pixels = np.full((height, width, 3), (number * 2) % 256, dtype=np.uint8)
    if noise:
        pixels[:noise] = random.integers(0, 256, (noise, width, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts = number
    return frame


def _add_sound(container: Any, stream: Any, samples: int) -> None:
    for start in range(0, samples, 1024):
        length = min(1024, samples - start)
        silence = np.zeros((2, length), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44100, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def intent(**changes: Any) -> Intent:
    """A row that asks for 4 s of 480p at 16:9 with sound."""
    values: dict[str, Any] = {
        "key": "a",
        "kind": Kind.FINAL,
        "number": 1,
        "content": "c",
        "model": "seedance-2-0",
        "resolution": "480p",
        "duration": 4,
        "aspect_ratio": "16:9",
        "generate_audio": True,
        "return_last_frame": False,
        "idempotency_key": "k",
        "template": "{}",
        "body_sha256": "0" * 64,
        "key_fingerprint": "f",
        "est_cost": None,
        "planned_at": 0.0,
    }
    return Intent(**(values | changes))
