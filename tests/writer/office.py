"""LibreOffice, where it is installed: what a spreadsheet program makes of our sheets."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def converted(sheet: Path, ending: str, workspace: Path) -> str:
    """The sheet opened and saved by LibreOffice in another format; skips where there is none."""
    program = shutil.which("soffice") or shutil.which("libreoffice")
    if program is None:
        pytest.skip("LibreOffice is not installed (on Debian: apt-get install libreoffice-calc)")
    workspace.mkdir()
    command = [
        program,
        f"-env:UserInstallation={(workspace / 'profile').as_uri()}",
        "--headless",
        "--convert-to",
        ending,
        "--outdir",
        str(workspace),
        str(sheet),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return (workspace / f"{sheet.stem}.{ending}").read_text("utf-8")
