"""The run folder: where it is, what lies in it, and who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from seedance_batch.errors import FolderInUse, FolderMissing, StorageFailed

JOURNAL: Final = "journal.db"
SANDBOX_STATE: Final = "sandbox.db"
POSTERS: Final = "posters"
_LEFTOVER: Final = re.compile(r"\.(sheet\.[a-z0-9_]{8}\.\w+|.+\.[a-z0-9_]{8}\.tmp)")
"""Names that `publish.replacing` and the sheets give to files on their way."""
_LOCK: Final = ".lock"
_HOLDER: Final = ".lock.json"
_UNSAFE_FOR_WAL: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "afpfs", "davfs"}
)
_SYNCED: Final = frozenset(
    {"dropbox", "onedrive", "google drive", "googledrive", "icloud drive", "mobile documents"}
)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths in one run folder."""

    path: Path

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / JOURNAL

    @property
    def sandbox_state(self) -> Path:
        """What the embedded sandbox remembers for this folder."""
        return self.path / SANDBOX_STATE

    def exists(self) -> bool:
        """Whether anything was ever run here."""
        return self.journal.exists()


def default_folder(manifest: Path, *, sandbox: bool) -> RunFolder:
    """``runs/<name>`` beside the manifest, so that another working directory buys nothing twice.

    A sheet of ours, fed back from its run folder, continues that folder.
    """
    own = RunFolder(manifest.resolve().parent)
    if own.exists():
        return own
    name = manifest.stem + ("-sandbox" if sandbox else "")
    return RunFolder(manifest.resolve().parent / "runs" / name)


def folder_of(given: Path, *, out: Path | None, sandbox: bool) -> RunFolder:
    """The run folder that ``M`` or ``D`` names. Raises `FolderMissing` where there is none yet."""
    if out is not None:
        found = RunFolder(out.resolve())
    elif given.is_dir():
        found = RunFolder(given.resolve())
    else:
        found = default_folder(given, sandbox=sandbox)
        if not found.exists() and not sandbox:
            rehearsed = default_folder(given, sandbox=True)
            found = rehearsed if rehearsed.exists() else found
    if not found.exists():
        raise FolderMissing(
            f"There is no run folder at {found.path}: nothing was run there yet.",
            hint=f"seedance-batch run {shlex.quote(str(given))} --sandbox",
        )
    return found


@contextlib.contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """Hold the folder for this process alone, making it if need be.

    The system frees the lock when its holder dies. Raises `FolderInUse` naming pid and host.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.path / _LOCK, thread_local=False)
        lock.acquire(timeout=0.3, poll_interval=0.05)  # longer than a mere look takes
    except Timeout:
        raise _in_use(folder) from None
    except OSError as error:
        raise StorageFailed(
            f"The run folder {folder.path} cannot be used: {error}. Nothing was sent.",
            hint="check that the folder is writable and the disk has room, or choose --out",
        ) from error
    try:
        _name_holder(folder)
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder.path / _HOLDER).unlink(missing_ok=True)
        lock.release()


def _name_holder(folder: RunFolder) -> None:
    # For the message of the other process only; the lock itself is the system's.
    with contextlib.suppress(OSError):
        holder = {"pid": os.getpid(), "host": platform.node()}
        (folder.path / _HOLDER).write_text(json.dumps(holder), encoding="utf-8")


def _in_use(folder: RunFolder) -> FolderInUse:
    try:
        holder = json.loads((folder.path / _HOLDER).read_text(encoding="utf-8"))
        who = f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return FolderInUse(
        f"{who} is working in {folder.path}; nothing was sent.",
        hint=f"seedance-batch status {shlex.quote(str(folder.path))}",
    )


def sweep_leftovers(folder: RunFolder) -> None:
    """Remove sheets and posters that a dead process left half written; the caller holds the lock.

    What cannot be removed harms nobody and is left.
    """
    for place in (folder.path, folder.path / POSTERS):
        for path in place.glob(".*"):
            if _LEFTOVER.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.unlink()


def wal_is_safe(path: Path) -> bool:
    """Whether write-ahead logging may be used: not on network shares, not in synced folders."""
    if {part.casefold() for part in path.resolve().parts} & _SYNCED:
        return False
    return _file_system(path) not in _UNSAFE_FOR_WAL


def _file_system(path: Path) -> str:
    """The type of the mount that ``path`` lies on; empty where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    resolved = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(fields[1].replace("\\040", " "))
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind
