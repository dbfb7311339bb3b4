"""Whatever the disk refuses: a clear error, no half clip, no leftover, and a right next run."""

from __future__ import annotations

import errno
import io
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seedance_batch.clips.download import Downloader
from seedance_batch.clips.transfer import Failed, Fetched
from seedance_batch.errors import Exit, StorageFailed
from tests.clips import hostile
from tests.clips.clips import encoded
from tests.clips.fetching import fetch, leftovers
from tests.clips.hostile import HostileServer
from tests.rig import some

pytestmark = pytest.mark.anyio

FILE = "videos/clients/a.mp4"
CLIP = encoded()


def _picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (864, 496), "teal").save(out, "PNG")
    return out.getvalue()


FRAME = "frames/clients/a.png"
PICTURE = _picture()


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """The system's own limit, so that a real call really fails."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


async def test_a_disk_that_takes_no_more_bytes_stops_with_a_hint(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.url(hostile.whole(CLIP))
    with limited(resource.RLIMIT_FSIZE, 50_000), pytest.raises(StorageFailed) as raised:
        await fetch(downloader, url, file=FILE)
    assert "could not write" in raised.value.message
    assert raised.value.hint
    assert raised.value.exit_code is Exit.UNFINISHED
    assert leftovers(tmp_path) == []
    assert isinstance(await fetch(downloader, url, file=FILE), Fetched)


def empty(folder: Path) -> None:
    for inner in folder.iterdir():
        shutil.rmtree(inner)


CALLS = [
    (os, "mkdir"),
    (tempfile, "mkstemp"),
    (os, "fsync"),
    (os, "link"),
    (os, "chmod"),
    (os, "rename"),
]


class FailsAt:
    """Makes the N-th of the disk calls fail; counts them all."""

    def __init__(self, turn: int, error: int) -> None:
        self.turn, self.error, self.seen = turn, error, 0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            self.seen += 1
            if self.seen == self.turn:
                raise OSError(self.error, os.strerror(self.error))
            return call(*args, **options)

        return called


@pytest.mark.parametrize("error", some(errno.ENOSPC, slow=[errno.EIO, errno.EROFS, errno.EMFILE]))
async def test_a_fault_at_every_disk_call_in_turn_leaves_all_or_nothing(
    error: int, server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.url(hostile.whole(CLIP))
    frame = server.url(hostile.whole(PICTURE))
    failures = 0
    for turn in range(1, 99):
        fault = FailsAt(turn, error)
        with pytest.MonkeyPatch.context() as patch:
            for module, name in CALLS:
                patch.setattr(module, name, fault.around(getattr(module, name)))
            with suppress(StorageFailed):
                await fetch(downloader, url, file=FILE, last_frame_url=frame)
        for file in leftovers(tmp_path):
            assert (tmp_path / file).read_bytes() == {FILE: CLIP, FRAME: PICTURE}[file]
        assert isinstance(await fetch(downloader, url, file=FILE, last_frame_url=frame), Fetched)
        assert leftovers(tmp_path) == [FRAME, FILE]
        if fault.seen < turn:
            break
        failures += 1
        empty(tmp_path)
    assert failures >= 15


async def test_a_clip_that_was_found_is_synced_before_it_counts_as_done(
    server: HostileServer,
    downloader: Downloader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "videos" / "clients").mkdir(parents=True)
    (tmp_path / FILE).write_bytes(CLIP)
    count = FailsAt(0, errno.EIO)
    monkeypatch.setattr(os, "fsync", count.around(os.fsync))
    assert isinstance(await fetch(downloader, server.url(hostile.hung_up), file=FILE), Fetched)
    assert count.seen == 2  # the file and its folder


async def test_a_linked_folder_is_never_written_through(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    url = server.url(hostile.whole(CLIP))
    for link in (tmp_path / "videos", tmp_path / ".partial"):
        link.symlink_to(outside, target_is_directory=True)
        with pytest.raises(StorageFailed, match="not a plain folder"):
            await fetch(downloader, url, file=FILE)
        link.unlink()
    (tmp_path / "videos" / "clients").rmdir()
    (tmp_path / "videos" / "clients").symlink_to(outside, target_is_directory=True)
    with pytest.raises(StorageFailed, match="not a plain folder"):
        await fetch(downloader, url, file=FILE)
    assert list(outside.iterdir()) == []


async def test_a_run_folder_that_is_itself_a_link_is_fine(
    server: HostileServer, http: Any, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    downloader = Downloader(tmp_path / "linked", http, allow_private=True)
    assert isinstance(await fetch(downloader, server.url(hostile.whole(CLIP)), file=FILE), Fetched)
    assert leftovers(tmp_path / "real") == [FILE]


async def test_a_name_that_leads_outside_is_refused_even_if_the_journal_holds_it(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.url(hostile.whole(CLIP))
    for file in ("videos/../../a.mp4", "../a.mp4", str(tmp_path.parent / "a.mp4")):
        with pytest.raises(StorageFailed):
            await fetch(downloader, url, file=file)
    assert not (tmp_path.parent / "a.mp4").exists()


async def test_without_free_descriptors_a_download_fails_and_later_works(
    server: HostileServer, downloader: Downloader, tmp_path: Path
) -> None:
    url = server.url(hostile.whole(CLIP))
    (tmp_path / ".partial").mkdir()
    (tmp_path / "videos" / "clients").mkdir(parents=True)
    with limited(resource.RLIMIT_NOFILE, 3):
        result = await fetch(downloader, url, file=FILE)
    assert isinstance(result, Failed)
    assert os.strerror(errno.EMFILE) in result.message
    assert isinstance(await fetch(downloader, url, file=FILE), Fetched)
