"""Whether what would be published holds the package, all of it, and nothing else.

Run it as ``python -m tests.packed dist/*``; it names what is missing or too much, and fails then.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
LEFT_OUT = (".ci", ".git")
"""What a source distribution does without, by the beginning of its path."""
PAGES = "seedance_batch/docs/"
"""Where the wheel has the repository's ``docs/``."""


def wanted() -> set[str]:
    """Every file of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return {name for name in listed.stdout.decode().split("\0") if name}


def packed(path: Path) -> set[str]:
    """The files in a wheel or in a source distribution, as the repository names them."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = {name for name in wheel.namelist() if not name.endswith("/")}
        return {
            f"docs/{name.removeprefix(PAGES)}" if name.startswith(PAGES) else name
            for name in names
            if ".dist-info/" not in name
        }
    with tarfile.open(path) as source:
        names = {member.name for member in source if member.isfile()}
    bare = {PurePosixPath(*PurePosixPath(name).parts[1:]).as_posix() for name in names}
    return bare - {"PKG-INFO"}


def expected(path: Path) -> set[str]:
    """What should be in it."""
    if path.suffix == ".whl":
        return {name for name in wanted() if name.startswith(("seedance_batch/", "docs/"))}
    return {name for name in wanted() if not name.startswith(LEFT_OUT)}


def main(paths: list[str]) -> int:
    """Compare each file; 1 where one of them differs."""
    wrong = 0
    for path in map(Path, paths):
        there = {name for name in packed(path) if not name.startswith(LEFT_OUT)}
        missing, surplus = expected(path) - there, there - expected(path)
        wrong += len(missing) + len(surplus)
        sys.stdout.write(f"{path.name}: {len(there)} files\n")
        sys.stdout.writelines(f"  missing: {name}\n" for name in sorted(missing))
        sys.stdout.writelines(f"  too much: {name}\n" for name in sorted(surplus))
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
