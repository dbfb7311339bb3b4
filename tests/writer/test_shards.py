"""Shards are the same bytes everywhere and for ever, and hold nothing but what was downloaded."""

from __future__ import annotations

import hashlib
import struct
import tarfile
from pathlib import Path

import pytest

from seedance_batch.core.clip_sets import Sample
from seedance_batch.writer import shards


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of an MP4."""
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def clip(number: int, size: int) -> bytes:
    """An MP4 of 24 frames a second whose index tells that, and no more; on any machine the same."""
    head = box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, 24_000, 0, 0))
    kind = box(b"hdlr", struct.pack(">II4s", 0, 0, b"vide"))
    times = box(b"stts", struct.pack(">IIII", 0, 1, 96, 1_000))
    track = box(b"trak", box(b"mdia", head, kind, box(b"minf", box(b"stbl", times))))
    film = hashlib.shake_128(number.to_bytes(8)).digest(size)
    return box(b"ftyp", b"isom") + box(b"moov", track) + box(b"mdat", film)


def sample(folder: Path, number: int, size: int, name: str = "shot") -> Sample:
    """A sample with its clip and poster in a folder."""
    content = clip(number, size)
    (path := folder / f"{number}.mp4").write_bytes(content)
    (poster := folder / f"{number}.jpg").write_bytes(b"\xff\xd8picture\xff\xd9")
    digest = hashlib.sha256(content).hexdigest()
    facts = f'{{"key": "{name}", "prompt": "A caf\\u00e9", "fps": null}}'
    return Sample(name, "train", str(path), str(poster), digest, len(content), facts)


def test_a_shard_that_was_made_once_comes_out_the_same_for_ever(tmp_path: Path) -> None:
    # Sizes around the pieces that are read and written at a time; a name that wants a long head.
    sizes = (0, 300, 4 << 20, (4 << 20) - 2_000, 9_000_000)
    names = ("a", "b", "c", "夜" * 60, "e")
    found = [sample(tmp_path, n, size, names[n]) for n, size in enumerate(sizes)]
    (target := tmp_path / "x.tar").touch()
    told: list[int] = []
    shards.write_tar(target, found, told.append)
    assert sum(told) == len(found)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == MADE_BY_THE_FIRST_VERSION
    with tarfile.open(target) as tar:
        for each in found:
            clip_there = tar.extractfile(f"{each.key}.mp4")
            assert clip_there is not None
            assert clip_there.read() == Path(each.clip).read_bytes()


MADE_BY_THE_FIRST_VERSION = "c4838482e91d1e6fcd247f081e0c5563dc9ef5c62e094e29154bd824862e663e"


def test_heads_are_those_of_pythons_tarfile(tmp_path: Path) -> None:
    for name, size in (("a.mp4", 0), ("x" * 100, 8**11 - 1), ("夜" * 40, 7), ("b", 8**11)):
        info = tarfile.TarInfo(name)
        info.size = size
        assert shards._head(name, size) == info.tobuf(tarfile.GNU_FORMAT, "utf-8")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_clip_with_another_byte_or_length_ends_the_shard(tmp_path: Path, at: int) -> None:
    found = [sample(tmp_path, n, 3_000_000, f"s{n}") for n in range(3)]
    (target := tmp_path / "x.tar").touch()
    path = Path(found[at].clip)
    content = path.read_bytes()
    for other in (content[:-1] + b"\0", content + b"\0", content[:-1]):
        path.write_bytes(other)
        with pytest.raises(shards.ClipChanged) as raised:
            shards.write_tar(target, found, lambda count: None)
        assert raised.value.sample is found[at]
        assert list(shards.changed(found)) == [found[at]]


def test_a_disk_without_a_way_past_its_cache_is_written_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [sample(tmp_path, n, 5_000_000, f"s{n}") for n in range(2)]
    made = []
    for name, flag in (("with", shards._PAST_THE_CACHE), ("without", 0)):
        monkeypatch.setattr(shards, "_PAST_THE_CACHE", flag)
        (target := tmp_path / name).touch()
        shards.write_tar(target, found, lambda count: None)
        made.append(target.read_bytes())
    assert made[0] == made[1]
