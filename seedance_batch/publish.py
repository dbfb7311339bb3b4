"""Files appear whole or not at all: write beside, fsync, rename, fsync the folder.

The one way sheets and clips reach their names. Knows nothing of what it publishes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".tmp"
"""The ending of files on their way, after a dot, the name to come and eight random characters."""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path to fill; it takes ``path``'s name if the block ends well, else vanishes.

    Without ``durable`` the disk may forget it, or its bytes, when power fails: for what is made
    again when it is missing or empty. The folder must exist. Raises ``OSError`` as the file system
    gives it; ``path`` then still holds what it held before. A device or a pipe is refused: the new
    file would take its place.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise FileExistsError(errno.EEXIST, "is not an ordinary file", str(path))
    with scratch_file(path.parent, prefix=f".{path.name[:40]}.", suffix=TEMPORARY) as temporary:
        yield temporary
        temporary.chmod(0o644)
        if durable:
            fsync_file(temporary)
        temporary.replace(path)
        if durable:
            fsync_folder(path.parent)


@contextlib.contextmanager
def scratch_file(folder: Path, *, prefix: str, suffix: str) -> Iterator[Path]:
    """A new, empty file in ``folder``, for its user alone; gone after the block, unless moved."""
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=folder)
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
    finally:
        if path.exists():
            path.unlink(missing_ok=True)


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file its name, durably, and never over another file.

    Raises ``FileExistsError`` where the name is taken; ``temporary`` is then untouched. Both must
    lie on one file system.
    """
    fsync_file(temporary)
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_without_links(temporary, final)
    else:
        with contextlib.suppress(PermissionError):  # Windows: a scanner reads it; swept later
            temporary.unlink()
    fsync_folder(final.parent)


_NO_HARD_LINKS = {
    *(errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK),
    errno.EINVAL,  # Windows on FAT and on some shares
}


def _rename_without_links(temporary: Path, final: Path) -> None:
    # FAT and some network shares have no hard links; the run folder's lock keeps us alone there.
    if final.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
    temporary.rename(final)


def fsync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    _fsync(path, os.O_RDWR)


def fsync_folder(path: Path) -> None:
    """Make a folder's names durable, where the system lets a folder be opened."""
    if os.name != "nt":
        _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int | None:
    """A file's bytes; None where there is none, or it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return None
