"""What a machine cannot hold is said before any spend: names beyond its locale, no place for
temporary files."""

from __future__ import annotations

import sys
import tempfile

import pytest

from seedance_batch.errors import Exit
from tests.cli.shop import Shop, say, shot


@pytest.fixture
def ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A locale as `LC_ALL=C PYTHONUTF8=0` leaves it."""
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")

    def encoded(name: str) -> bytes:
        return name.encode("ascii", "surrogateescape")

    monkeypatch.setattr("os.fsencode", encoded)


@pytest.mark.usefixtures("ascii_only")
def test_a_clip_whose_name_the_locale_cannot_hold_is_not_bought(shop: Shop) -> None:
    shop.write(shot(1), shot(2, id="夜读"))
    for said in (shop.plan(), shop.run()):
        assert said.code == Exit.USAGE
        assert "this system's locale (ascii) cannot write that name. Nothing was sent." in said.err
    assert shop.tasks() == []
    command = ("run", str(shop.manifest), "--api-url", shop.service.api_url, "--yes", "-q")
    assert say(*command, "--name", "{duration}-{resolution}").code == Exit.OK
    assert len(shop.tasks()) == 2


def test_a_clip_whose_path_is_too_long_for_the_disk_is_not_bought(shop: Shop) -> None:
    shop.write(shot(1), shot(2, prompt="夜读" * 90))
    for said in (shop.plan("--name", DEEP), shop.run("--name", DEEP)):
        assert said.code == Exit.USAGE
        assert "The clip of row shot2 would be named " in said.err
        assert "bytes and 32 for what lies beside it, of 4095 for a whole path" in said.err
        assert "--name" in said.err
    assert shop.tasks() == []
    assert shop.run("--name", "{prompt}/{id}").code == Exit.OK
    assert len(shop.tasks()) == 2


DEEP = f"{'{prompt}/' * 21}{{id}}"


def test_a_disk_with_short_names_is_asked_before_money_is_spent(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encrypted(path: object, name: str) -> int:  # as eCryptfs says of itself
        return {"PC_NAME_MAX": 143, "PC_PATH_MAX": 4096}[name]

    shop.write(shot(1), shot(2, prompt="夜读" * 90))
    monkeypatch.setattr("os.pathconf", encrypted)
    said = shop.run("--name", "{prompt}")
    assert said.code == Exit.USAGE
    assert "bytes and 32 for what lies beside it, of 143 for one name" in said.err
    assert shop.tasks() == []
    assert shop.run("--name", "{id}").code == Exit.OK


@pytest.mark.slow
def test_without_a_place_for_temporary_files_everything_is_delivered(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    shop.fill(1)
    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", None)
    said = shop.run()
    assert said.code == Exit.OK, said.err
    assert (shop.run_folder / "results.xlsx").is_file()
    assert not list(shop.run_folder.glob(".workbook*"))
