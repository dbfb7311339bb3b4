"""Whatever encoding a pipe was set to: JSON is UTF-8, and no character ends a command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.rig import PROGRAM, environment, some

ROWS = """id,prompt,duration,resolution
rocket-🚀,A rocket 🚀,4,480p
café,A café,4,480p
日本,雨の路地,4,480p
"""


def said(
    folder: Path, encoding: str, *words: str, code: int = 0, **more: str
) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own, whose streams have that encoding."""
    (folder / "emoji.csv").write_text(ROWS, encoding="utf-8")
    (folder / "plain.yaml").write_text("clips: plain\ngeneration_time: 0.1\n", encoding="utf-8")
    if "--sandbox" in words:
        words = (*words, "--sandbox-config", "plain.yaml")
    variables = environment(folder, PYTHONIOENCODING=encoding, **more)
    ended = subprocess.run(
        [*PROGRAM, *words], cwd=folder, env=variables, capture_output=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert b"Traceback" not in ended.stderr + ended.stdout
    assert b"broke inside" not in ended.stderr
    return ended


ENCODINGS = some("cp1252", slow=["ascii", "latin-1", "cp932", "utf-16", "cp437", "koi8-r"])


@pytest.mark.more
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_line_of_json_is_utf_8(tmp_path: Path, encoding: str) -> None:
    emoji, sandbox = "emoji.csv", "--sandbox"
    for words in (
        ["run", emoji, sandbox, "--json"],
        ["plan", emoji, sandbox, "--json"],
        ["status", emoji, "--json", "--by", "prompt"],
        ["verify", emoji, "--json"],
    ):
        lines = said(tmp_path, encoding, *words).stdout.splitlines()
        found = [json.loads(line.decode()) for line in lines]
    assert found[-1]["checked"] == 3
    refused = said(tmp_path, encoding, "plan", "夜🚀.csv", "--json", code=2)
    assert "夜🚀.csv" in json.loads(refused.stdout.decode())["message"]


@pytest.mark.more
def test_json_may_be_asked_for_by_a_variable_or_the_config_file(tmp_path: Path) -> None:
    plan = ("plan", "emoji.csv", "--sandbox")
    asked = said(tmp_path, "cp1252", *plan, SEEDANCE_BATCH_JSON="1")
    assert "café" in asked.stdout.decode()
    config = tmp_path / "config.toml"
    config.write_text("json = true\n")
    asked = said(tmp_path, "cp1252", *plan, SEEDANCE_BATCH_CONFIG=str(config))
    assert "café" in asked.stdout.decode()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_words_for_people_lose_no_more_than_the_characters_that_are_not_there(
    tmp_path: Path, encoding: str
) -> None:
    for words in (["plan", "emoji.csv", "--sandbox", "-v"], ["check", "emoji.csv"], ["--help"]):
        said(tmp_path, encoding, *words)
    shown = said(tmp_path, encoding, "plan", "emoji.csv", "--sandbox", "-v").stdout
    assert "caf" in shown.decode(encoding, "replace")


@pytest.mark.cases(2)
@pytest.mark.parametrize(
    "words",
    [
        ["run", "夜.csv"],
        ["run", "shots.csv", "--out", "夜"],
        ["run", "夜/shots.csv"],
        ["run", "emoji.csv"],
        ["run", "shots.csv", "--name", "{client}/{id}"],
        ["plan", "shots.csv", "--out", "runs/夜"],
    ],
)
def test_under_a_locale_without_the_letters_of_a_name_nothing_is_sent(
    tmp_path: Path, words: list[str]
) -> None:
    for name in ("夜.csv", "shots.csv", "夜/shots.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        rows = "id,client,prompt,duration,resolution\na,Café,A boat,4,480p\n"
        (tmp_path / name).write_text(rows, encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    refused = said(tmp_path, "utf-8", *words, "--sandbox", code=2, **plain)
    assert b"locale (ascii) cannot write" in refused.stderr
    assert b"PYTHONUTF8=1" in refused.stderr
    assert not list(tmp_path.glob("**/journal.db"))
