"""Keys, addresses and choices: where they come from, and which are refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from seedance_batch.errors import SettingsError
from seedance_batch.settings import (
    RunSettings,
    access_from,
    check_settings,
    is_loopback,
    normal_base_url,
    public_access,
)

KEY = {"HIAPI_API_KEY": "sk-test"}


def test_the_key_and_the_address_come_from_hiapis_own_variables() -> None:
    access = access_from({**KEY, "HIAPI_BASE_URL": "https://gate.example/v1"})
    assert (access.base_url, access.api_key) == ("https://gate.example", "sk-test")
    assert access.origin == "https://gate.example"
    assert not access.private_files


def test_a_flag_goes_before_a_variable_and_a_variable_before_the_default() -> None:
    environ = {**KEY, "HIAPI_BASE_URL": "https://gate.example"}
    assert access_from(environ, "http://localhost:1").base_url == "http://localhost:1"
    assert access_from(environ, "http://localhost:1").private_files
    assert access_from(KEY).base_url == "https://api.hiapi.ai"
    assert public_access({}).base_url == "https://api.hiapi.ai"


def test_a_key_may_lie_in_a_file_and_loses_the_space_around_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("  sk-from-file\n")
    assert access_from({"HIAPI_API_KEY_FILE": str(file)}).api_key == "sk-from-file"
    both = {"HIAPI_API_KEY": " sk-test ", "HIAPI_API_KEY_FILE": str(file)}
    assert access_from(both).api_key == "sk-test"


@pytest.mark.parametrize("key", ["", "  ", None])
def test_without_a_key_the_hint_names_a_way_out(key: str | None) -> None:
    with pytest.raises(SettingsError, match="no API key") as refused:
        access_from({} if key is None else {"HIAPI_API_KEY": key})
    assert "--sandbox" in (refused.value.hint or "")


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-\x00", "sk-ä", "sk-“quoted”", "sk-\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        access_from({"HIAPI_API_KEY": key})
    assert key not in refused.value.message


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HIAPI_API_KEY_FILE cannot be read"):
        access_from({"HIAPI_API_KEY_FILE": str(tmp_path / "none")})
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SettingsError, match="HIAPI_API_KEY_FILE cannot be read"):
        access_from({"HIAPI_API_KEY_FILE": str(tmp_path / "binary")})


def test_the_key_and_the_secret_are_in_no_repr() -> None:
    access = access_from({**KEY, "HIAPI_WEBHOOK_SECRET": "whsec_0123456789abcdef0123"})
    assert "sk-test" not in repr(access)
    assert "0123456789abcdef" not in repr(access)
    assert access.webhook_keys


def test_the_sandbox_may_be_asked_more_often_and_a_flag_decides() -> None:
    assert RunSettings().requests_per_minute == 60
    assert RunSettings(sandbox=True).requests_per_minute == 600
    assert RunSettings(sandbox=True, rpm=7).requests_per_minute == 7


@pytest.mark.parametrize(
    "choice",
    [
        {"sandbox": True, "api_url": "https://api.hiapi.ai"},
        {"sandbox_config": Path("faults.yaml")},
        {"storage": "forever"},
        {"concurrency": 0},
        {"rpm": 0},
        {"rpm": float("inf")},
        {"poll_interval": 0.0},
        {"poll_interval": float("nan")},
        {"downloads": 0},
        {"wait": -1},
        {"max_cost": Decimal(-1)},
        {"max_cost": Decimal("NaN")},
        {"max_cost_per_row": Decimal("Infinity")},
        {"max_failures": 0},
    ],
)
def test_choices_that_contradict_each_other_or_make_no_sense_are_refused(
    choice: dict[str, Any],
) -> None:
    with pytest.raises(SettingsError, match="--"):
        check_settings(RunSettings(**choice))


def test_every_default_makes_sense() -> None:
    check_settings(RunSettings())
    check_settings(RunSettings(concurrency=None, max_failures=None, wait=0, max_cost=Decimal(0)))


# ── addresses ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://api.hiapi.ai", "https://api.hiapi.ai"),
        (" https://api.hiapi.ai/v1/ ", "https://api.hiapi.ai"),
        ("https://API.hiapi.ai:443/v1", "https://api.hiapi.ai"),
        ("https://api.hiapi.ai:8443", "https://api.hiapi.ai:8443"),
        ("https://gate.example/hiapi/v1", "https://gate.example/hiapi"),
        ("http://127.0.0.1:8787/v1", "http://127.0.0.1:8787"),
        ("http://localhost", "http://localhost"),
        ("http://[::1]:80/", "http://[::1]"),
    ],
)
def test_every_spelling_of_an_address_becomes_one(text: str, normal: str) -> None:
    assert normal_base_url(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", "api.hiapi.ai", "ftp://api.hiapi.ai", "https://", "https:///v1", "https://me@host",
        "https://:secret@host", "https://host?x=1", "https://host#x", "https://host:none",
        "https://host:99999", "http://[::1", "https://a b", "https://ex\nample.com", "https://\x00",
        "http://api.hiapi.ai", "http://10.0.0.1", "http://127.1", "http://[::ffff:127.0.0.1]",
        "http://localhost.evil.example", "http://169.254.169.254",
    ],
)  # fmt: skip
def test_an_address_to_which_no_key_may_go_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        normal_base_url(text)
    assert refused.value.hint


def test_loopback_is_this_machine_by_name_or_number() -> None:
    assert is_loopback("http://localhost:1")
    assert is_loopback("http://LOCALHOST./")
    assert is_loopback("https://127.8.8.8")
    assert is_loopback("http://[::1]/")
    assert not is_loopback("https://0.0.0.0")
    assert not is_loopback("https://api.hiapi.ai")
    assert not is_loopback("127.0.0.1")
    assert not is_loopback("http://[")
