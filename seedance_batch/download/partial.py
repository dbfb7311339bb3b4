"""A download on its way: a file in ``.partial/`` that grows, is hashed, and is published or gone.

Blocking: call it from a worker thread. The one place here that writes, so the one that knows what
a full or failing disk is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from seedance_batch import names
from seedance_batch.errors import StorageFailed
from seedance_batch.publish import fsync_file, fsync_folder, publish

PARTIAL_FOLDER = ".partial"


@contextlib.contextmanager
def storage(deed: str) -> Iterator[None]:
    """Turn the disk's refusals into `StorageFailed`; ``deed`` completes *could not …*."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"could not {deed}: {error.strerror or error}",
            hint="free some space or mend the disk, then run the same command again",
        ) from error


class Partial:
    """A growing file under a unique name. `publish` or `discard` ends it."""

    def __init__(self, folder: Path, ending: str) -> None:
        home = inside(folder, f"{PARTIAL_FOLDER}/-").parent
        with storage(f"create a file in {home}"):
            descriptor, name = tempfile.mkstemp(suffix=ending, dir=home)
        self.path = Path(name)
        self.size = 0
        self._folder = folder
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append. Raises `StorageFailed`."""
        # One piece: each call below gives the interpreter away and has to wait to get it back.
        content = b"".join(chunks)
        left = memoryview(content)
        with storage(f"write {self.path}"):
            while left:
                left = left[self._file.write(left) :]
        self._hash.update(content)
        self.size += len(content)

    def restart(self) -> None:
        """Forget what was written."""
        with storage(f"empty {self.path}"):
            self._file.seek(0)
            self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0

    def publish(self, file: str, *, replace: bool = False) -> None:
        """Become ``file`` below the run folder, durably; over another file only with ``replace``.

        Raises `StorageFailed`, also where the name is taken or leads out of the run folder.
        """
        self._file.close()
        final = inside(self._folder, file)
        with storage(f"write {final}"):
            self.path.chmod(0o644)
            if replace:
                final.unlink(missing_ok=True)
            publish(self.path, final)

    def discard(self) -> None:
        """Leave nothing behind; harmless after `publish`."""
        self._file.close()
        with contextlib.suppress(OSError):  # the next start sweeps what cannot be removed now
            self.path.unlink(missing_ok=True)


def inside(folder: Path, file: str) -> Path:
    """The path of ``file`` below the run folder, its own folder made. Raises `StorageFailed`.

    A link on the way would lead a write elsewhere, so none is followed.
    """
    relative = PurePosixPath(file)
    if relative.is_absolute() or ".." in relative.parts:
        raise StorageFailed(f"{file} lies outside of {folder}")
    at = folder
    for part in relative.parts[:-1]:
        at = at / part
        with storage(f"create {at}"):
            if not at.is_symlink() and not at.exists():
                at.mkdir(exist_ok=True)
                fsync_folder(at.parent)
        if at.is_symlink() or not at.is_dir():
            raise StorageFailed(f"{at} is no plain folder: clips are written below {folder} only")
    return at / relative.name


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


def sha256_of(path: Path) -> str:
    """A file's hash, in hexadecimal. Raises `StorageFailed`."""
    with storage(f"read {path}"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
