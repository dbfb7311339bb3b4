"""How a sheet takes its place: whole or not at all, and never over what a person changed.

Knows files and hashes, nothing of what a sheet holds.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from seedance_batch.publish import publish, replacing, scratch_file, sha256_of

_NUMBERS: Final = range(1, 1_000)
_SCRATCH: Final = ".sheet."


@dataclass(slots=True)
class Placing:
    """Puts sheets into one folder, and notes what became of each."""

    folder: Path
    written: Mapping[str, str]
    """File name → sha256 of what we wrote there last; several are separated by spaces."""
    announce: Callable[[Mapping[str, str]], None] | None = None
    """Told the new entry of ``written`` before a file takes its name, so that a death in between
    does not make a sheet of ours look like one that a person changed."""
    files: dict[str, Path] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)
    siblings: list[Path] = field(default_factory=list)

    def sweep(self, names: Iterable[str]) -> None:
        """Remove what a death in the middle of writing these sheets left behind."""
        for prefix in (_SCRATCH, *(f".{name}." for name in names)):
            for path in self.folder.glob(f"{prefix}*"):
                with contextlib.suppress(PermissionError):  # Windows: somebody reads it
                    path.unlink(missing_ok=True)

    def put(self, name: str, fill: Callable[[Path], None]) -> None:
        """Write the sheet ``name``, or a numbered sibling where a program holds that file.

        ``fill`` writes the sheet to the path it is given. Raises ``OSError`` as the file system
        gives it; every sheet is then what it was.
        """
        with _scratch(self.folder / name) as fresh:
            fill(fresh)
            for path in self._places(name):
                with contextlib.suppress(PermissionError):  # Excel locks what it has open
                    return self._place(name, fresh, path)
        raise PermissionError(f"{self.folder / name} is open in another program")

    def withdraw(self, name: str) -> None:
        """Take away a sheet that has nothing to say any more; an edited one is kept."""
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError, PermissionError):
            self._keep_if_edited(path)
            path.unlink()
        self._clear_siblings(name)

    def _places(self, name: str) -> Iterator[Path]:
        """Its name, then every sibling that is free or ours."""
        yield self.folder / name
        for path in _numbered(self.folder / name, " ({})"):
            if path.stem.endswith(" (1)"):
                continue
            if not path.exists() or self._is_ours(path):
                yield path

    def _place(self, name: str, fresh: Path, path: Path) -> None:
        digest = sha256_of(fresh)
        if not path.exists() or sha256_of(path) != digest:
            self._replace(path, fresh, digest)
        self.files[name] = path
        self.hashes[path.name] = digest
        if path.name == name:
            self._clear_siblings(name)
        else:
            self.siblings.append(path)

    def _replace(self, path: Path, fresh: Path, digest: str) -> None:
        if path.exists():
            self._keep_if_edited(path)
        if self.announce is not None:
            self.announce({path.name: f"{self.written.get(path.name, '')} {digest}".strip()})
        with replacing(path) as temporary:
            shutil.copyfile(fresh, temporary)

    def _keep_if_edited(self, path: Path) -> None:
        if not self._is_ours(path) and (copy := keep(path)):
            self.kept.append(copy)

    def _is_ours(self, path: Path) -> bool:
        return sha256_of(path) in self.written.get(path.name, "").split()

    def _clear_siblings(self, name: str) -> None:
        """Remove siblings that we wrote while the file was held, but for edited ones."""
        stem, ending = map(re.escape, os.path.splitext(name))  # noqa: PTH122
        for other in self.written:
            if re.fullmatch(rf"{stem} \(\d+\){ending}", other):
                path = self.folder / other
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    if self._is_ours(path):
                        path.unlink()


def keep(path: Path) -> Path | None:
    """Copy a person's sheet to ``<name> (yours N)``; None where such a copy is there already."""
    digest = sha256_of(path)
    for copy in _numbered(path, " (yours {})"):
        if not copy.exists():
            with _scratch(path) as temporary:
                shutil.copyfile(path, temporary)
                publish(temporary, copy)
            return copy
        if sha256_of(copy) == digest:
            return None
    raise FileExistsError(f"{path} already has a thousand kept copies")


def _numbered(path: Path, mark: str) -> Iterator[Path]:
    return (path.with_stem(path.stem + mark.format(number)) for number in _NUMBERS)


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, gone afterwards."""
    temporary = scratch_file(path.parent, prefix=_SCRATCH, suffix=path.suffix)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
