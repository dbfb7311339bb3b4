"""The run folder: where it is, what lies in it, and who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from seedance_batch.errors import FolderInUse, FolderMissing, FolderUnusable
from seedance_batch.reader.source import absent, address_of, is_address, manifests_in

if TYPE_CHECKING:
    from filelock import FileLock

JOURNAL: Final = "journal.db"
SANDBOX_STATE: Final = "sandbox.db"
SANDBOX_ACCOUNT: Final = "sandbox-account.db"
POSTERS: Final = "posters"
FILMS: Final = "films"
"""Where films made of clips lie, also in folders one deeper."""
_STDIN: Final = Path("-")
COPY_PARTS: Final = f".{JOURNAL}."
"""How the names of files begin that copies of the journal are made in, also while a run goes on."""
_LEFTOVER: Final = re.compile(
    r"\.(sheet\.[a-z0-9_]{8}\.\w+|(?!journal\.db\.).+\.[a-z0-9_]{8}\.tmp)"
)
"""Names that `publish.replacing` and the sheets give to files on their way."""
WORKBOOK_PARTS: Final = ".workbook."
"""How the names of folders begin that hold the parts of a workbook that is being written."""
HOME_MARK: Final = ".home"
"""Tells a folder from others that had or will have its place, to those who share its store."""
_LOCK: Final = ".lock"
_HOLDER: Final = ".lock.json"
_A_LOOK: Final = 0.3
"""Seconds; longer than somebody holds the lock who only looks whether it is free."""
_A_REBUILD: Final = 30.0
"""Seconds; longer than the sheets and posters of 20,000 rows take."""
_A_FILM: Final = 3600.0
"""Seconds; longer than a film that is being made is not written to."""
_UNSAFE_FOR_WAL: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone", "afpfs", "davfs"}
    | {"webdav", "macfuse", "osxfuse", "fuse-t"}  # as macOS calls them
)
_SYNCED: Final = frozenset(
    {"dropbox", "onedrive", "google drive", "googledrive", "icloud drive", "mobile documents"}
    | {"cloudstorage"}  # macOS: ~/Library/CloudStorage/Dropbox and its like
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

    @property
    def sandbox_account(self) -> Path:
        """What runs know of that sandbox's account: no other folder has a part in it."""
        return self.path / SANDBOX_ACCOUNT

    def exists(self) -> bool:
        """Whether anything was ever run here."""
        return self.journal.exists()


class Lengths(NamedTuple):
    """How long names may be: bytes; on Windows characters."""

    part: int
    """One part of a path."""
    whole: int


def lengths_at(path: Path) -> Lengths:
    """What the disk takes on which ``path`` lies, or will."""
    if os.name == "nt":
        return Lengths(255, 259)
    there = next(each for each in (path, *path.parents) if each.exists())
    try:
        return Lengths(os.pathconf(there, "PC_NAME_MAX"), os.pathconf(there, "PC_PATH_MAX") - 1)
    except (OSError, ValueError):
        return Lengths(255, 4095)


def real(path: Path | str) -> Path:
    """Where a path leads, links followed: a ring of links leads to itself, and opens nowhere."""
    return Path(os.path.realpath(path))


def default_folder(manifest: Path, *, sandbox: bool) -> RunFolder:
    """``runs/<name>`` beside the manifest, so that another working directory buys nothing twice.

    A sheet of ours, fed back from its run folder, continues that folder.
    """
    own = RunFolder(real(manifest).parent)
    if own.exists():
        return own
    name = manifest.stem + ("-sandbox" if sandbox else "")
    return RunFolder(real(manifest).parent / "runs" / name)


def folder_of(given: Path | str, *, out: Path | None, sandbox: bool) -> RunFolder:
    """The run folder that a manifest or the folder itself names.

    Raises `FolderMissing` where there is none yet.
    """
    is_web = is_address(given)
    given = Path(f"{address_of(str(given)).name}.csv" if is_web else given)
    if out is not None:
        found = RunFolder(real(out))
    elif given.is_dir():
        found = RunFolder(real(given))
    else:
        named = Path("stdin") if given == _STDIN else given
        found = default_folder(named, sandbox=sandbox)
        if not found.exists() and not sandbox:
            rehearsed = default_folder(named, sandbox=True)
            found = rehearsed if rehearsed.exists() else found
    if not found.exists() and is_web:
        raise FolderMissing(
            f"There is no run folder at {found.path}: nothing has been run there yet."
        )
    if not found.exists():
        raise _missing(given, found, out)
    return found


def _missing(given: Path, found: RunFolder, out: Path | None) -> FolderMissing:
    from seedance_batch.journal.opening import has_traces

    if given != _STDIN and not os.path.lexists(given):
        sentence, hint = absent(given)
        return FolderMissing(sentence, hint=hint)
    manifest = given
    if given.is_dir():
        inside = _folders_in(given)
        if inside:
            return FolderMissing(
                f"{given} is not a run folder; it contains {', '.join(map(str, inside))}.",
                hint=f"seedance-batch status {shlex.quote(str(inside[0]))}",
            )
        manifest = given / next(iter(manifests_in(given)), "")
    if has_traces(found.path):
        return FolderMissing(
            f"The run folder {found.path} has lost its journal; its sheets and clips are still "
            "there.",
            hint=f"put a copy back as {shlex.quote(str(found.journal))}",
        )
    sentence = f"There is no run folder at {found.path}: nothing has been run there yet."
    if manifest.is_dir():
        return FolderMissing(sentence)
    where = "" if out is None else f" --out {shlex.quote(str(out))}"
    run = f"seedance-batch run {shlex.quote(str(manifest))} --sandbox{where}"
    return FolderMissing(sentence, hint=run)


def _folders_in(given: Path) -> list[Path]:
    """Run folders in ``given`` or in its ``runs``, sorted."""
    return sorted(p.parent for each in ("*", "runs/*") for p in given.glob(f"{each}/{JOURNAL}"))


@contextlib.contextmanager
def held(folder: RunFolder, *, briefly: bool = False, patient: bool = True) -> Iterator[None]:
    """Hold the folder for this process alone, making it if need be.

    ``briefly`` promises to others that only sheets are written; the ``patient`` wait for the end
    of that. The system frees the lock when its holder dies. Raises `FolderInUse` naming pid and
    host, and `FolderUnusable` where the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.path / _LOCK, thread_local=False)
        _acquire(lock, folder, patient=patient)
    except Timeout:
        raise _in_use(folder) from None
    except OSError as error:
        raise FolderUnusable(
            f"The run folder {folder.path} cannot be used: {error}. Nothing was sent.",
            hint="check that the folder is writable and the disk has room, or choose --out",
        ) from error
    try:
        _name_holder(folder, briefly=briefly)
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder.path / _HOLDER).unlink(missing_ok=True)
        lock.release()


def holder_is_alive(folder: RunFolder) -> bool:
    """Whether who named itself as the folder's holder still works; nobody's lock is touched.

    For what people are shown only: the name stays after a kill, and its number may be another's.
    """
    holder = _holder(folder)
    if not {"pid", "host"} <= holder.keys() or holder.get("briefly"):
        return False
    if holder["host"] != platform.node() or os.name == "nt":  # there a look would be a kill
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError, OverflowError):
        return False
    return True


def _acquire(lock: FileLock, folder: RunFolder, *, patient: bool) -> None:
    from filelock import Timeout

    try:
        lock.acquire(timeout=_A_LOOK, poll_interval=0.05)
    except Timeout:
        if not (patient and _holder(folder).get("briefly") is True):
            raise
        lock.acquire(timeout=_A_REBUILD, poll_interval=0.05)


def _holder(folder: RunFolder) -> dict[str, Any]:
    """What the process that holds the folder says of itself; empty where it cannot be read."""
    try:
        return dict(json.loads((folder.path / _HOLDER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _name_holder(folder: RunFolder, *, briefly: bool) -> None:
    # For the other process's message and patience only; the lock itself is the system's.
    with contextlib.suppress(OSError):
        holder = {"pid": os.getpid(), "host": platform.node(), "briefly": briefly}
        (folder.path / _HOLDER).write_text(json.dumps(holder), encoding="utf-8")


def _in_use(folder: RunFolder) -> FolderInUse:
    holder = _holder(folder)
    known = {"pid", "host"} <= holder.keys()
    who = f"process {holder['pid']} on {holder['host']}" if known else "another process"
    return FolderInUse(
        f"{who} is working in {folder.path}; nothing was sent.",
        hint=f"seedance-batch status {shlex.quote(str(folder.path))}",
    )


def sweep_leftovers(folder: RunFolder) -> None:
    """Remove sheets, posters and films that a dead process left half written.

    The caller holds the lock. What cannot be removed harms nobody and is left.
    """
    for path in folder.path.glob(f"{WORKBOOK_PARTS}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
    sweep_place(folder.path)
    sweep_place(folder.path / POSTERS)
    films = folder.path / FILMS
    for place in (films, *films.glob("*/")):
        sweep_place(place, unless_written_since=time.time() - _A_FILM)  # one may just be made


def sweep_place(place: Path, unless_written_since: float = float("inf")) -> None:
    """Remove what `publish.replacing` and the sheets left half written in one folder."""
    for path in place.glob(".*"):
        if _LEFTOVER.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < unless_written_since:
                    path.unlink()


def wal_is_safe(path: Path) -> bool:
    """Whether write-ahead logging may be used: not on network shares, not in synced folders."""
    resolved = path.resolve()  # on Windows the letter of a share becomes \\\\server\\share
    parts = [part.casefold() for part in resolved.parts]
    if not _SYNCED.isdisjoint(parts) or any(part.startswith("onedrive - ") for part in parts):
        return False
    is_share = resolved.drive.startswith("\\\\")
    return not is_share and _file_system(resolved) not in _UNSAFE_FOR_WAL


def _file_system(resolved: Path) -> str:
    """The type of the mount that a path lies on; empty where the system does not tell."""
    best, kind = -1, ""
    for point, of_type in _mounts():
        if resolved.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), of_type
    return kind


def _mounts() -> Iterator[tuple[Path, str]]:
    """Where what is mounted, and its type; nothing where the system does not tell."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if platform.system() == "Darwin":
            told = subprocess.run(["/sbin/mount"], capture_output=True, timeout=5, check=True)
            yield from mounts_of_macos(told.stdout.decode(errors="replace"))
        else:
            mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
            fields = [line.split(" ") for line in mounts.splitlines()]
            yield from ((Path(f[1].replace("\\040", " ")), f[2]) for f in fields if len(f) > 2)


def mounts_of_macos(told: str) -> Iterator[tuple[Path, str]]:
    """What macOS's ``mount`` tells: ``//me@nas/films on /Volumes/films (smbfs, nodev)``."""
    for found in re.finditer(r"(?m)^.*? on (/.*) \(([^,)\n]+)[^()\n]*\)$", told):
        yield Path(found[1]), found[2]
