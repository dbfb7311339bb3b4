"""A download on its way: a file in ``.partial/`` that grows, is hashed, and is published or gone.

Blocking: call it from a worker thread. The one place here that writes, so the one that knows what
a full or failing disk is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Final

from seedance_batch.core import names
from seedance_batch.errors import StorageFailed
from seedance_batch.publish import fsync_file, fsync_folder, publish

PARTIAL_FOLDER: Final = ".partial"
HEAD: Final = 512
"""Bytes by which a page is told from a file."""


@contextlib.contextmanager
def storage(deed: str) -> Iterator[None]:
    """Turn the disk's refusals into `StorageFailed`; ``deed`` completes *could not …*."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"could not {deed}: {error.strerror or error}",
            hint="free some space or repair the disk, then run the same command again",
        ) from error


class Partial:
    """A growing file under a unique name. `publish` or `discard` ends it.

    ``add`` and ``restart`` only note what is to come; the others touch the disk and block.
    """

    def __init__(self, folder: Path, ending: str) -> None:
        self.size = 0
        """Bytes of the file so far, written or held."""
        self.held = 0
        """Bytes of them that wait to be written."""
        self.head = b""
        """How the file begins, as far as `HEAD` goes."""
        self._folder = folder
        self._ending = ending
        self._chunks: list[bytes] = []
        self._file: FileIO | None = None
        self._path = Path()
        self._stale = False
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written, in hexadecimal."""
        return self._hash.hexdigest()

    def add(self, chunk: bytes) -> None:
        """Take what comes next; `write` brings it to the disk."""
        self._chunks.append(chunk)
        if len(self.head) < HEAD:
            self.head += chunk[: HEAD - len(self.head)]
        self.held += len(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Forget what was added."""
        self._chunks.clear()
        self.held, self.size, self.head = 0, 0, b""
        self._stale = self._file is not None
        self._hash = hashlib.sha256()

    def write(self) -> Path:
        """Bring everything to the disk; where it lies there. Raises `StorageFailed`."""
        # One piece: each call below gives the interpreter away and has to wait to get it back.
        content = b"".join(self._chunks)
        self._chunks.clear()
        self.held = 0
        file = self._file or self._created()
        with storage(f"write {self._path}"):
            if self._stale:
                file.seek(0)
                file.truncate()
                self._stale = False
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
        self._hash.update(content)
        return self._path

    def publish(self, file: str, *, replace: bool = False) -> None:
        """Become ``file`` below the run folder, durably; over another file only with ``replace``.

        Raises `StorageFailed`, also where the name is taken or leads out of the run folder.
        """
        self.write()
        if self._file is not None:
            self._file.close()
        move_in(self._path, self._folder, file, replace=replace)
        self._file = None

    def discard(self) -> None:
        """Leave nothing behind; harmless after `publish`."""
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(OSError):  # the next start sweeps what cannot be removed now
                self._path.unlink(missing_ok=True)

    def _created(self) -> FileIO:
        home = inside(self._folder, f"{PARTIAL_FOLDER}/-").parent
        with storage(f"create a file in {home}"):
            descriptor, name = tempfile.mkstemp(suffix=self._ending, dir=home)
        self._path = Path(name)
        self._file = FileIO(descriptor, "wb")
        return self._file


def move_in(finished: Path, folder: Path, file: str, *, replace: bool = False) -> None:
    """Give a finished file the name ``file`` below the run folder; see `Partial.publish`."""
    final = inside(folder, file)
    with storage(f"write {final}"):
        finished.chmod(0o644)
        if replace:
            final.unlink(missing_ok=True)
        publish(finished, final)


def inside(folder: Path, file: str) -> Path:
    """The path of ``file`` below the run folder, its own folder made. Raises `StorageFailed`.

    A link on the way would lead a write elsewhere, so none is followed.
    """
    relative = PurePosixPath(file)
    if relative.is_absolute() or ".." in relative.parts:
        raise StorageFailed(f"{file} lies outside {folder}")
    at = folder
    for part in relative.parts[:-1]:
        at = at / part
        if not _is_plain_folder(at):
            raise StorageFailed(
                f"{at} is not a plain folder: clips are written only below {folder}"
            )
    return at / relative.name


def _is_plain_folder(path: Path) -> bool:
    """Whether there is a folder here, and no link to one; made where there is nothing."""
    with storage(f"create {path}"):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            path.mkdir(exist_ok=True)
            fsync_folder(path.parent)
            mode = path.lstat().st_mode
    return stat.S_ISDIR(mode)


def move_aside(folder: Path, file: str) -> None:
    """Give whatever stands at ``file`` a free name beside it. Raises `StorageFailed`."""
    standing = inside(folder, file)
    for name in names.aside_names(file):
        free = folder / name
        if not os.path.lexists(free):
            with storage(f"move {standing} aside"):
                standing.rename(free)
            return


def make_durable(path: Path) -> None:
    """Sync a file that was found rather than published. Raises `StorageFailed`."""
    with storage(f"sync {path}"):
        fsync_file(path)
        fsync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what earlier runs left unfinished; the caller holds the folder's lock."""
    leftovers = folder / PARTIAL_FOLDER
    if leftovers.is_symlink() or not leftovers.is_dir():
        return
    with storage(f"clear {leftovers}"):
        shutil.rmtree(leftovers)


def files_on_disk(folder: Path) -> Iterator[str]:
    """Every file below the clips' folders, relative to the run folder: names that are taken."""
    for kind_folder in names.FOLDERS.values():
        for path in (folder / kind_folder).rglob("*"):
            if not path.is_dir():
                yield path.relative_to(folder).as_posix()
