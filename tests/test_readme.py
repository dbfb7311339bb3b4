"""The README's console sessions and its Python example work as they are printed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def _commands() -> list[str]:
    lines = "\n".join(_blocks("console")).splitlines()
    shown = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    parts = [part.strip() for line in shown for part in line.split("&&")]
    return [part for part in parts if part.startswith("seedance-batch") and "shots.csv" not in part]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "manifests", folder / "manifests", ignore=shutil.ignore_patterns("runs"))
    return folder


def test_there_are_sessions_to_run() -> None:
    assert len(_commands()) >= 8


def test_every_console_session_works_in_its_order(studio: Path) -> None:
    for command in _commands():
        words = [sys.executable, "-m", "seedance_batch", *shlex.split(command)[1:]]
        done = subprocess.run(words, cwd=studio, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_first_session_shows_what_the_command_prints(studio: Path) -> None:
    folder = studio / "again"
    shutil.copytree(ROOT / "manifests", folder / "manifests", ignore=shutil.ignore_patterns("runs"))
    block = next(b for b in _blocks("console") if "storyboard.csv --sandbox" in b)
    words = ["run", "manifests/storyboard.csv", "--sandbox", "--no-progress"]
    done = subprocess.run(
        [sys.executable, "-m", "seedance_batch", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    promised = [line.rstrip() for line in block.splitlines() if not line.startswith("$ ")]
    assert (done.stderr + done.stdout).rstrip().splitlines() == promised


def test_the_python_example_runs(studio: Path) -> None:
    for example in _blocks("python"):
        subprocess.run([sys.executable, "-c", example], cwd=studio, check=True)
