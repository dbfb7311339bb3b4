"""The config file gives defaults, and never consent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest

from seedance_batch.cli import cli
from seedance_batch.cli.config import VARIABLE, defaults
from seedance_batch.cli.options import CONSENT
from seedance_batch.errors import Exit, SettingsError
from tests.cli.shop import say


def _written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    monkeypatch.setenv(VARIABLE, str(path))


def _understood(*words: str) -> dict[str, Any]:
    """A command's parameters, as click hands them to it."""
    name, *rest = words
    context = click.Context(cli, default_map={name: defaults(cli, name)})
    command = cli.get_command(context, name)
    assert command is not None
    return command.make_context(name, list(rest), parent=context).params


def test_a_flag_of_the_config_file_is_a_default_where_a_command_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, monkeypatch, "max-cost: 40\nrpm: 30\njson: true\n")
    assert defaults(cli, "run") == {"max_cost": "40", "rpm": "30", "as_json": True}
    assert defaults(cli, "schema") == {}


def test_without_a_config_file_or_a_word_in_it_nothing_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.yaml"))
    assert defaults(cli, "run") == {}
    _written(tmp_path, monkeypatch, "# max-cost: 40\n")
    assert defaults(cli, "run") == {}


@pytest.mark.parametrize(
    "content", [b"- a list", b"text", b"a: [", b"\xff\xfe\xfa", b"wait: 2026-02-31"]
)
def test_a_config_file_that_is_no_mapping_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    _written(tmp_path, monkeypatch, content)
    with pytest.raises(SettingsError, match=r"config\.yaml"):
        defaults(cli, "run")


@pytest.mark.parametrize("flag", [*sorted(flag[2:] for flag in CONSENT), "rmp"])
def test_consent_and_slips_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    _written(tmp_path, monkeypatch, f"{flag}: true\n")
    for command in ("run", "reconcile", "status"):
        with pytest.raises(SettingsError, match="which is no flag"):
            defaults(cli, command)


def test_no_decision_about_money_comes_from_the_environment() -> None:
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    options = [p for c in commands if c is not None for p in c.params if set(p.opts) & CONSENT]
    assert {flag for option in options for flag in option.opts} >= CONSENT
    assert [option.opts for option in options if option.envvar is not None] == []


def test_a_flag_on_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _written(tmp_path, monkeypatch, "rpm: 30\n")
    assert _understood("run", "x.csv", "--rpm", "20")["rpm"] == 20
    assert _understood("run", "x.csv")["rpm"] == 30


def test_numbers_switches_and_lists_mean_what_they_mean_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "max-cost: 0.5\nconcurrency: 4\nno-progress: true\nset: [a=b, c=d]\nmap: prompt=Text\n"
    _written(tmp_path, monkeypatch, text + "sheet: 2026\nname: null\nverbose: 2\n")
    found = _understood("run", "x.csv")
    assert (found["max_cost"], found["concurrency"]) == (Decimal("0.5"), 4)
    assert (found["no_progress"], found["verbose"]) == (True, 2)
    assert (found["overrides"], found["column_map"]) == (("a=b", "c=d"), ("prompt=Text",))
    assert (found["sheet"], found["name"]) == ("2026", "{id}")


@pytest.mark.parametrize("text", ["rpm: [1, 2]\n", "rpm: {a: 1}\n", "rpm: soon\n"])
def test_a_value_that_a_flag_cannot_have_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    _written(tmp_path, monkeypatch, text)
    said = say("run", "x.csv", "--sandbox")
    assert said.code == Exit.USAGE
    assert "rpm" in said.err


def test_our_request_budget_is_no_limit_of_the_sandbox_that_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, monkeypatch, "rpm: 40\n")
    assert _understood("sandbox")["rpm"] is None
