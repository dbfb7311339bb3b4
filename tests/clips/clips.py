"""Clips for the tests, encoded once; and the rows that ask for them."""

from __future__ import annotations

import functools
import hashlib
import os
import struct
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from filelock import FileLock

from seedance_batch.core.attempt import Intent, Kind
from seedance_batch.publish import replacing


@functools.cache
def encoded(**wanted: Any) -> bytes:
    """What `_encode` makes; once for all workers of a run, and for later runs."""
    settings = repr(sorted(wanted.items())) + Path(__file__).read_text(encoding="utf-8")
    name = hashlib.sha256((av.__version__ + settings).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"seedance-batch-test-clips-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        kept = folder / f"{name}.clip"
        if not kept.exists():
            with replacing(kept, durable=False) as scratch:
                scratch.write_bytes(_encode(**wanted))
        return kept.read_bytes()


def _encode(
    seconds: int = 4,
    width: int = 864,
    height: int = 496,
    *,
    fps: int | Fraction = 24,
    sound: bool = True,
    noise: int = 0,
    flags: str = "faststart",
    ending: str = ".mp4",
    bright_edge: bool = False,
) -> bytes:
    """An MP4 as the service makes them: 24·d + 1 frames, AAC; ``noise`` rows of it add bytes.

    ``flags`` are the muxer's; ``ending`` may name another container; ``bright_edge`` makes the
    right edge of the picture white.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{ending}"
        options = {"movflags": flags} if flags and ending in {".mp4", ".mov"} else {}
        codecs = (
            ("libvpx-vp9", "libopus", 48000) if ending == ".webm" else ("libx264", "aac", 44100)
        )
        quick = {"preset": "ultrafast"}
        if ending == ".webm":
            quick = {"deadline": "realtime", "cpu-used": "8"}
        with av.open(str(path), "w", options=options) as container:
            video: Any = container.add_stream(codecs[0], rate=fps, options=quick)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            audio: Any = (
                container.add_stream(codecs[1], rate=codecs[2], layout="stereo") if sound else None
            )
            frames = round(seconds * fps) + 1
            for number in range(frames):
                picture = _picture(number, width, height, noise, bright_edge)
                container.mux(video.encode(picture))
            container.mux(video.encode())
            if audio is not None:
                _add_sound(container, audio, int(44100 * frames / fps))
        return path.read_bytes()


def turned(mp4: bytes, degrees: int) -> bytes:
    """The same MP4, whose picture a player turns clockwise (ISO/IEC 14496-12, 8.3.2)."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    matrix = (cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    at = mp4.index(b"tkhd") + 4 + 40
    return mp4[:at] + struct.pack(">9i", *matrix) + mp4[at + 36 :]


def _picture(
    number: int, width: int, height: int, noise: int, bright_edge: bool = False
) -> av.VideoFrame:
    random = np.random.default_rng(number)
    pixels = np.full((height, width, 3), (number * 2) % 256, dtype=np.uint8)
    if bright_edge:
        pixels[:, width // 2 :] = 255
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
