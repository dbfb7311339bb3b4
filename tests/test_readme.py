"""The sessions and the Python examples of the README and of `docs/` work as they are printed."""

from __future__ import annotations

import csv
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image

from seedance_batch.clips import media
from seedance_batch.core.model import AspectRatio, Resolution
from tests.crash.forker import Forker
from tests.rig import PLAIN, until
from tests.service import serving

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
"""In the order in which they are followed; the README prepares what the others use."""
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
FIRST = "seedance-batch run manifests/storyboard.csv --sandbox"
PLAIN_CLIPS = {"SEEDANCE_BATCH_SANDBOX_CONFIG": "plain.yaml"}
"""For sessions whose clips nobody looks at."""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.M | re.S)


def _commands() -> list[str]:
    """Every line after a prompt, piece by piece; installing and testing is done by then."""
    lines = "\n".join(_blocks("console")).splitlines()
    shown = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    parts = [part.strip() for line in shown for part in line.split("&&")]
    return [part for part in parts if not part.startswith(("pip ", "pytest"))]


@dataclass(frozen=True)
class Said:
    """How a command of the sessions ended."""

    command: str
    code: int
    text: str


def _studio(folder: Path) -> None:
    """What somebody has at hand who follows the README to its end, and then each page."""
    shutil.copytree(ROOT / "manifests", folder / "manifests", ignore=shutil.ignore_patterns("runs"))
    (folder / "shots.csv").write_text(_blocks("csv")[0], encoding="utf-8")
    (folder / "frames").mkdir()
    Image.new("RGB", (1280, 720), "navy").save(folder / "frames" / "dawn.jpg")
    faults = _blocks("yaml")[0] + "clips: plain\n"  # nobody looks at them
    (folder / "faults.yaml").write_text(faults, encoding="utf-8")
    (folder / "plain.yaml").write_text("clips: plain\ngeneration_time: 0.2\n", encoding="utf-8")
    rows = yaml.safe_load((ROOT / "manifests" / "teaser.yaml").read_text(encoding="utf-8"))["rows"]
    (folder / "picks.csv").write_text(f"id,mark\n{rows[0]['id']},keep\n{rows[1]['id']},redo\n")


def _words(command: str) -> list[str]:
    """Without a file that the output goes to."""
    words = shlex.split(command)
    return words[: words.index(">")] if ">" in words else words


def _run(command: str, folder: Path, environment: Mapping[str, str], forker: Forker) -> Said:
    """A command at a terminal whose owner answers yes."""
    words = _words(command)[1:]
    log = folder / "said"
    log.write_text("", encoding="utf-8")
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n")
    try:
        pid = forker.start(
            PLAIN, dict(environment), log,
            folder=str(folder), terminal=os.ttyname(theirs), argv=words,
        )  # fmt: skip
        if words[0] == "sandbox":  # serves until it is told to end
            until(lambda: "\n" in log.read_text(encoding="utf-8") or forker.ended(pid))
            os.kill(pid, signal.SIGINT)
        code = forker.wait(pid, 600)
    finally:
        os.close(ours)
        os.close(theirs)
    text = log.read_text(encoding="utf-8")
    return Said(command, code if words[0] != "sandbox" else "http://127.0.0.1" not in text, text)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    _studio(folder)
    return folder


@pytest.fixture(scope="module")
def sessions(studio: Path, forker: Forker) -> Iterator[list[Said]]:
    """All sessions, one after another, with a sandbox where HiAPI would be."""
    with serving() as service:
        names = os.environ.keys() & {"PATH", "PYTHONPATH", "SSL_CERT_FILE", "LANG", "HOME"}
        kept = {name: os.environ[name] for name in names}
        environment = {**kept, "HIAPI_BASE_URL": service.api_url, "NO_PROXY": "*"}
        for kind in ("CACHE", "CONFIG", "STATE"):
            environment[f"XDG_{kind}_HOME"] = str(studio / "home")
        said = []
        for command in _commands():
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value.replace("…", "0123456789abcdef")
            else:
                # To draw clips would be most of the work.
                more = PLAIN_CLIPS if "--sandbox" in command else {}
                said.append(_run(command, studio, environment | more, forker))
        yield said


def test_every_command_of_the_sessions_works_in_its_turn(sessions: list[Said]) -> None:
    assert len(sessions) >= 15
    assert [each for each in sessions if each.code] == []


def test_the_first_session_shows_what_the_command_prints(sessions: list[Said]) -> None:
    block = next(b for b in _blocks("console") if FIRST in b)
    promised = [line.rstrip() for line in block.splitlines() if not line.startswith("$ ")]
    printed = next(each for each in sessions if each.command == FIRST).text
    assert [line for line in printed.splitlines() if line in promised] == promised


def test_the_second_run_does_nothing_says_so_and_is_content(sessions: list[Said]) -> None:
    first, second, *_ = (each.text for each in sessions if each.command == FIRST)
    assert "Nothing to do" not in first
    assert "Nothing to do: every row is done." in second


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_is_done_in_manifest_order_with_the_persons_columns_unchanged(
    studio: Path, sessions: list[Said]
) -> None:
    asked = _rows(studio / "manifests/storyboard.csv")
    got = _rows(studio / "manifests/runs/storyboard-sandbox/results.csv")
    assert len(got) == 12
    assert {row["status"] for row in got} == {"done"}
    assert [{name: row[name] for name in asked[0]} for row in got] == asked


def test_every_clip_is_what_its_row_asked_for(studio: Path, sessions: list[Said]) -> None:
    folder = studio / "manifests/runs/storyboard-sandbox"
    for row in _rows(folder / "results.csv"):
        probe = media.probe(folder / row["video_file"])
        quotient = AspectRatio(row["aspect_ratio"]).quotient
        assert probe.seconds == pytest.approx(float(row["duration"]) + 1 / 24, abs=0.1)
        assert probe.width / probe.height == pytest.approx(quotient, rel=0.06)
        area = Resolution(row["resolution"]).area
        assert probe.width * probe.height == pytest.approx(area, rel=0.15)
        assert probe.has_audio == (row["generate_audio"] == "true")


def test_the_python_examples_run(studio: Path, sessions: list[Said]) -> None:
    examples = "\n".join(_blocks("python"))
    assert examples.count("import seedance_batch") >= 3
    plain = 'sandbox=True, sandbox_config="plain.yaml"'  # nobody looks at these clips
    examples = re.sub(r"(?<=[(,] )sandbox=True", plain, examples)
    subprocess.run([sys.executable, "-c", examples], cwd=studio, check=True)
