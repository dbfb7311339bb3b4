"""Clips into a store beside the AWS command: ``python -m tests.benchmarks.stores [CLIPS]``.

The same files to the same S3 server on this machine, in turns. Ours gives each file its name only
where nothing has it, with its sha256, and looks at it afterwards, in as many lanes as a run has;
``aws s3 cp --recursive`` overwrites whatever is there, with ten. Wants moto_server and aws (AWS
names another).
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from seedance_batch.clips.kept import Here, KeptClips
from seedance_batch.core.attempt import Clip
from seedance_batch.objects import open_store
from seedance_batch.settings import RunSettings
from tests import moto

MB = 10**6
LEAST_RATIO = 0.7
"""Of the other's speed."""
TURNS = 5


def clips_in(folder: Path, count: int) -> list[Clip]:
    """So many files of 1 MB."""
    (folder / "videos").mkdir()
    found = []
    for number in range(count):
        content = random.Random(number).randbytes(MB)
        name = f"videos/{number:05}.mp4"
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        found.append(Clip(name, MB, digest, seconds=5.0, width=1280, height=720, has_audio=True))
    return found


def ours(folder: Path, url: str, clips: list[Clip]) -> float:
    """Seconds until all are in the store, and were looked at there."""
    begun = time.perf_counter()
    kept = KeptClips(folder, open_store(url))
    for _ in Here(RunSettings().downloads).each(lambda clip: kept.put(clip, "final-1"), clips):
        pass
    return time.perf_counter() - begun


def theirs(folder: Path, url: str, aws: str) -> float:
    """Seconds of the whole command."""
    command = [aws, "s3", "cp", "--recursive", "--only-show-errors", str(folder / "videos"), url]
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def started(aws: str) -> float:
    """Seconds that its interpreter takes to start, which are not part of the comparison."""
    begun = time.perf_counter()
    subprocess.run([aws, "--version"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def main(argv: list[str]) -> None:
    """Print what both take, and their ratio."""
    aws = os.environ.get("AWS") or shutil.which("aws")
    if aws is None:
        sys.exit("aws is neither on the PATH nor named by AWS: pip install awscli")
    count = int(argv[0]) if argv else 300
    os.environ.update(moto.ENVIRONMENT)
    with moto.serving() as address, tempfile.TemporaryDirectory() as temporary:
        os.environ["AWS_ENDPOINT_URL"] = address
        folder = Path(temporary)
        clips = clips_in(folder, count)
        start = min(started(aws) for _ in range(TURNS))
        turns = [
            (ours(folder, moto.new_bucket(address), clips),
             theirs(folder, moto.new_bucket(address), aws))
            for _ in range(TURNS)
        ]  # fmt: skip
    for one, other in turns:
        sys.stdout.write(f"{count} clips of 1 MB  ours {one:.2f} s  aws s3 cp {other:.2f} s\n")
    best = (min(other for _, other in turns) - start) / min(one for one, _ in turns)
    sys.stdout.write(
        f"best of {TURNS}, without the {start:.2f} s of its start: {best:.2f} × its speed "
        f"(≥ {LEAST_RATIO})\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
