"""The config file gives defaults, and never consent."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedance_batch.cli import cli
from seedance_batch.cli.config import VARIABLE, defaults
from seedance_batch.errors import SettingsError


def _written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(path))


def test_a_flag_of_the_config_file_is_a_default_where_a_command_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, monkeypatch, "max-cost: 40\nrpm: 30\njson: true\n")
    found = defaults(cli)
    assert found["run"] == {"max_cost": 40, "rpm": 30, "as_json": True}
    assert found["schema"] == {}


def test_without_a_config_file_nothing_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.yaml"))
    assert defaults(cli) == {}


@pytest.mark.parametrize("text", ["yes: true\n", "force: true\n", "remake: true\n", "rmp: 3\n"])
def test_consent_and_slips_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    _written(tmp_path, monkeypatch, text)
    with pytest.raises(SettingsError, match="which is no flag"):
        defaults(cli)


def test_a_flag_on_the_command_line_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _written(tmp_path, monkeypatch, "rpm: 30\n")
    context = cli.make_context(
        "seedance-batch", ["run", "x.csv", "--rpm", "20"], default_map=defaults(cli)
    )
    command = cli.get_command(context, "run")
    assert command is not None
    chosen = command.make_context("run", ["x.csv", "--rpm", "20"], parent=context)
    plain = command.make_context("run", ["x.csv"], parent=context)
    assert (chosen.params["rpm"], plain.params["rpm"]) == (20, 30)
