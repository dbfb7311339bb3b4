"""The config file gives defaults, and never consent."""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest

from seedance_batch.cli.config_file import CONSENT, VARIABLE, check_variables, defaults
from seedance_batch.cli.main import cli
from seedance_batch.errors import Exit, SettingsError
from tests.cli.shop import say


def _written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    path = tmp_path / "config.toml"
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
    _written(tmp_path, monkeypatch, "max-cost = 40\nrpm = 30\njson = true\n")
    assert defaults(cli, "run") == {"max_cost": "40", "rpm": "30", "as_json": True}
    assert defaults(cli, "schema") == {}
    _written(tmp_path, monkeypatch, "\ufeffrpm = 30\r\n")  # as editors of Windows save it
    assert defaults(cli, "run") == {"rpm": "30"}


def test_without_a_config_file_or_a_word_in_it_nothing_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nowhere"))
    assert defaults(cli, "run") == {}
    _written(tmp_path, monkeypatch, "# max-cost = 40\n")
    assert defaults(cli, "run") == {}


@pytest.mark.parametrize(
    "content",
    [b"- a list", b"text", b"a = [", b"\xff\xfe\xfa", b"wait = 2026-02-31", b"max-cost: 40"],
)
def test_a_config_file_that_is_no_toml_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    _written(tmp_path, monkeypatch, content)
    with pytest.raises(SettingsError, match=r"config\.toml"):
        defaults(cli, "run")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        *(
            (f[2:], f"sets {f[2:]}: {f} can only be given on the command line.")
            for f in sorted(CONSENT)
        ),
        ("rmp", "sets rmp, which is not a flag"),
    ],
)
def test_consent_and_slips_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, said: str
) -> None:
    _written(tmp_path, monkeypatch, f"{flag} = true\n")
    for command in ("run", "reconcile", "status"):
        with pytest.raises(SettingsError, match=re.escape(said)):
            defaults(cli, command)


def test_a_saved_plan_is_a_yes_and_is_named_on_the_command_line_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--plan" in CONSENT
    monkeypatch.setenv("SEEDANCE_BATCH_PLAN", "p.json")
    said = say("run", "x.csv", "--sandbox")
    assert said.code == Exit.USAGE
    assert "--plan can only be given on the command line." in said.err
    monkeypatch.delenv("SEEDANCE_BATCH_PLAN")
    _written(tmp_path, monkeypatch, "plan = 'p.json'\n")
    said = say("run", "x.csv", "--sandbox")
    assert said.code == Exit.USAGE
    assert "sets plan: --plan can only be given on the command line." in said.err


def test_no_decision_about_money_comes_from_the_environment() -> None:
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in cli.list_commands(context)]
    options = [p for c in commands if c is not None for p in c.params if set(p.opts) & CONSENT]
    assert {flag for option in options for flag in option.opts} >= CONSENT
    assert [option.opts for option in options if option.envvar is not None] == []


def test_every_other_flag_has_a_variable_and_the_sandbox_commands_have_their_own() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        options = [p for p in command.params if isinstance(p, click.Option)]
        own = "SANDBOX_" if name == "sandbox" else ""
        for option in options:
            flag = next(each for each in option.opts if each.startswith("--"))
            variable = f"SEEDANCE_BATCH_{own}{flag[2:].replace('-', '_').upper()}"
            assert option.envvar == (None if flag in CONSENT else variable)


def test_the_sandbox_commands_variables_mean_nothing_to_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEEDANCE_BATCH_SANDBOX_RPM", "7")
    check_variables(cli, "run", os.environ)
    assert _understood("sandbox")["rpm"] == 7
    assert _understood("run", "x.csv")["rpm"] is None
    monkeypatch.setenv("SEEDANCE_BATCH_RPM", "8")
    assert _understood("sandbox")["rpm"] == 7


def test_a_flag_on_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _written(tmp_path, monkeypatch, "rpm = 30\n")
    assert _understood("run", "x.csv", "--rpm", "20")["rpm"] == 20
    assert _understood("run", "x.csv")["rpm"] == 30


def test_numbers_switches_and_lists_mean_what_they_mean_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "max-cost = 0.50\nconcurrency = 4\nno-progress = true\nset = ['a=b', 'c=d']\n"
    text += "map = 'prompt=Text'\nids = ['a', 7, 'c, d']\n"
    _written(tmp_path, monkeypatch, text + "sheet = 2026\nverbose = 2\n")
    found = _understood("run", "x.csv")
    assert (found["max_cost"], found["concurrency"]) == (Decimal("0.50"), 4)
    assert (found["no_progress"], found["verbose"]) == (True, 2)
    assert (found["overrides"], found["column_map"]) == (("a=b", "c=d"), ("prompt=Text",))
    assert (found["sheet"], found["name"]) == ("2026", "{id}")
    assert found["ids"] == 'a,7,"c, d"'


def test_set_and_map_may_be_written_as_a_mapping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "[set]\nresolution = '480p'\naspect_ratio = '16:9'\ngenerate_audio = false\n"
        "[map]\nprompt = 'Text'\n"
    )
    _written(tmp_path, monkeypatch, text)
    found = _understood("run", "x.csv")
    wanted = ("resolution=480p", "aspect_ratio=16:9", "generate_audio=false")
    assert found["overrides"] == wanted
    assert found["column_map"] == ("prompt=Text",)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("max-cots", "max-cots, which is not a flag; did you mean max-cost?"),
        ("zzz", "zzz, which is no"),
    ],
)
def test_a_slip_is_told_as_it_is_written_with_the_flag_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, said: str
) -> None:
    _written(tmp_path, monkeypatch, f"{key} = 1\n")
    with pytest.raises(SettingsError, match=re.escape(said)):
        defaults(cli, "run")


def test_a_flag_in_two_spellings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, monkeypatch, "max-cost = 1\nmax_cost = 100\n")
    with pytest.raises(SettingsError, match="twice"):
        defaults(cli, "run")


@pytest.mark.parametrize("place", ["none.toml", ".", "none/config.toml"])
def test_a_config_file_that_a_variable_names_has_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / place))
    said = say("plan", "x.csv", "--sandbox")
    assert said.code == Exit.USAGE
    assert str(tmp_path / place) in said.err
    assert f"hint: unset {VARIABLE}" in said.err


def test_what_lies_at_the_usual_place_and_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "seedance-batch/config.toml"
    place.mkdir(parents=True)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    said = say("plan", "x.csv", "--sandbox")
    assert said.code == Exit.USAGE
    assert str(place) in said.err
    assert f"hint: export {VARIABLE}=/dev/null" in said.err
    monkeypatch.setenv(VARIABLE, "/dev/null")
    assert defaults(cli, "plan") == {}


def test_a_config_file_of_the_former_kind_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = tmp_path / "seedance-batch/config.yaml"
    former.parent.mkdir()
    former.write_text("max-cost: 5\n")
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    said = say("plan", "x.csv", "--sandbox")
    assert said.code == Exit.USAGE
    assert f"{former} is no longer read" in said.err


@pytest.mark.parametrize("text", ["max-cots = 1", "a = [", "rpm = 'soon'", "max-failures = 'soon'"])
def test_help_is_given_whatever_the_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    _written(tmp_path, monkeypatch, text)
    monkeypatch.setenv("SEEDANCE_BATCH_MAXCOST", "1")
    for words in (["run", "--help"], ["run", "x.csv", "--rpm", "9", "--help"], ["--version"]):
        assert say(*words).code == Exit.OK
    assert say("run", "x.csv", "--sandbox", "--name", "--help").code == Exit.USAGE


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("SEEDANCE_BATCH_MAXCOST", "did you mean SEEDANCE_BATCH_MAX_COST?"),
        ("seedance_batch_max_cost", "did you mean SEEDANCE_BATCH_MAX_COST?"),
        ("SEEDANCE_BATCH_YES", "--yes can only be given on the command line."),
        ("SEEDANCE_BATCH_API_KEY", "SEEDANCE_BATCH_API_KEY."),
    ],
)
def test_a_variable_that_no_command_reads_is_refused_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, variable: str, advice: str
) -> None:
    monkeypatch.setenv(variable, "ten")
    said = say("plan", "x.csv", "--sandbox")
    assert said.code == Exit.USAGE
    assert f"error: No command reads the variable {variable}" in said.err
    assert advice in said.err
    assert "ten" not in said.err.replace("--", "")


def test_each_variable_of_any_command_is_known_to_all() -> None:
    for variable in ("MAX_COST", "CONCURRENCY", "BY", "CLAIMS", "JSON", "CONFIG"):
        check_variables(cli, "schema", {f"SEEDANCE_BATCH_{variable}": "1"})
    with pytest.raises(SettingsError):
        check_variables(cli, "schema", {"SEEDANCE_BATCH_COST": "1"})


@pytest.mark.parametrize("text", ["rpm = [1, 2]\n", "rpm = {a = 1}\n", "rpm = 'soon'\n"])
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
    _written(tmp_path, monkeypatch, "rpm = 40\n")
    assert _understood("sandbox")["rpm"] is None
