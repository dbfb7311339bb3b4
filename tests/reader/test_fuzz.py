"""No bytes whatever make the reader fall over: it answers with a manifest or a usage error."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedance_batch.reader.read import grouped, read_manifest

CORPUS = Path(__file__).parent.parent / "data" / "manifests"
SEEDS = sorted(p for p in CORPUS.iterdir() if p.is_file() and p.stat().st_size < 20_000)
ENDINGS = (".csv", ".yaml", ".jsonl", ".json", ".xlsx", ".ods", ".xls", ".parquet", "")
PIECES = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b'"', b'""', b"\r", b"\n", b",", b";", b"\t", b"|", b"\\"),
    *(b"prompt", b"rows:", b"matrix:", b"include:", b"defaults:", b"- ", b": ", b"{", b"}", b"["),
    *(b"]", b"&a", b"*a", b"!!x", b"<<:", b"\xed\xa0\x80", b"\xf0\x9f\xaa\x94", b"=cmd|", b"../"),
    *(b"9" * 400, b"1e999", b"-0", b"NaN", b"16:9", b"sha256:", b"data:image/png;base64,", b"~"),
)


def mutated(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        at = dice.randrange(len(changed) + 1)
        match dice.randrange(5):
            case 0:
                changed[at:at] = dice.choice(PIECES)
            case 1:
                del changed[at : at + dice.randint(1, 40)]
            case 2:
                changed[at : at + 1] = bytes([dice.randrange(256)])
            case 3:
                changed[at:at] = changed[at : at + dice.randint(1, 200)]
            case _:
                other = dice.choice(SEEDS).read_bytes()
                start = dice.randrange(len(other) + 1)
                changed[at:at] = other[start : start + dice.randint(1, 200)]
    return bytes(changed)


def survives(folder: Path, data: bytes, ending: str) -> None:
    path = folder / f"fuzz{ending}"
    path.write_bytes(data)
    manifest = read_manifest(path)
    grouped(manifest.findings)
    [each.as_json() for each in manifest.findings]
    for job in manifest.jobs:
        job.input.model_dump_json()


def fuzz(folder: Path, seed: int, until: float, rounds: int) -> int:
    for done in range(rounds):
        if time.monotonic() > until:
            return done
        dice = random.Random(f"{seed}-{done}")
        source = dice.choice(SEEDS)
        ending = dice.choice((source.suffix, source.suffix, dice.choice(ENDINGS)))
        try:
            survives(folder, mutated(source.read_bytes(), dice), ending)
        except BaseException:
            print(f"seed {seed}, round {done}: {source.name} as {ending!r}")  # noqa: T201
            raise
    return rounds


def test_mutated_manifests_are_answered_with_findings(tmp_path: Path) -> None:
    fuzz(tmp_path, seed=20_260_105, until=time.monotonic() + 6, rounds=400)


@pytest.mark.long
def test_a_minute_of_mutated_manifests_is_answered_with_findings(tmp_path: Path) -> None:
    seed = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(1 << 32)))
    rounds = fuzz(tmp_path, seed, until=time.monotonic() + 60, rounds=1_000_000)
    print(f"seed {seed}: {rounds:,} manifests")  # noqa: T201


@given(data=st.binary(max_size=300), ending=st.sampled_from(ENDINGS))
@settings(max_examples=100)
def test_arbitrary_bytes_are_answered_with_findings(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str
) -> None:
    survives(tmp_path_factory.getbasetemp(), data, ending)
