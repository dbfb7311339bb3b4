"""``seedance-batch sandbox``: what it prints, how it ends, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from seedance_batch.cli.preparing import sandbox
from seedance_batch.sandbox.config import SandboxConfigError, load_config
from tests import patient
from tests.events_page import valid_output

CODE = "import sys; from seedance_batch.cli.preparing import sandbox; sandbox(sys.argv[1:])"


def _start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.cases(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_json_is_one_line_and_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    process = _start("--json", "--api-key", "sk-mine")
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert valid_output(told)["event"] == "sandbox"
    assert told["api_key"] == "sk-mine"
    assert patient.get(f"{told['api_url']}/api/pricing").is_success
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")


def test_people_are_given_a_ready_export_line() -> None:
    process = _start()
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert lines[3].startswith("export HIAPI_BASE_URL=http://127.0.0.1:")


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("rpm: 5\nseed: 3\nfaults:\n  create: {429: 0.1, reset_after: 0.1}\n")
    process = _start("--json", "--config", str(file), "--rpm", "7")
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())["api_url"]
    shown = patient.get(f"{address}/sandbox/config").json()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert (shown["rpm"], shown["seed"]) == (7, 3)
    assert shown["faults"]["create"] == {"429": 0.1, "reset_after": 0.1}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("rpm: many\n", "rpm"),
        ("faults:\n  create: {429: 2}\n", "faults.create.429"),
        ("faults:\n  create: {teapot: 0.1}\n", "faults.create"),
        ("faults:\n  creates: {}\n", "faults.creates"),
        ("generation_time: lognormal:a:b\n", "generation_time"),
        ("- 1\n", "name: value"),
        ("a: [\n", "line"),
        ("webhook_secret: short\n", "webhook_secret"),
    ],
)
def test_a_bad_file_is_refused_with_file_and_place(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(text)
    with pytest.raises(SandboxConfigError, match=r"faults\.yaml") as caught:
        load_config(file)
    assert place in str(caught.value)
    result = CliRunner().invoke(sandbox, ["--config", str(file)])
    assert result.exit_code == 2


def test_an_empty_file_is_the_default_and_a_missing_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("")
    assert load_config(file).rpm is None
    with pytest.raises(SandboxConfigError, match="gone"):
        load_config(tmp_path / "gone.yaml")


def test_only_loopback_is_served() -> None:
    result = CliRunner().invoke(sandbox, ["--host", "0.0.0.0"])  # noqa: S104
    assert result.exit_code == 2
    assert "loopback" in result.output


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys; import seedance_batch.sandbox, seedance_batch.cli.preparing;"
        "print([m for m in ('av', 'PIL', 'uvicorn', 'numpy', 'pydantic', 'httpx') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
