"""What somebody meets whose first try goes wrong: everything at once, and a way on."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedance_batch.cli.main import main
from seedance_batch.errors import Exit

MANIFESTS = Path(__file__).parent.parent / "manifests"


def test_three_bad_cells_are_named_at_once_and_nothing_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(
        "id,prompt,duration,aspect_ratio\n"
        "a,A quiet street,3,16:9\n"
        "b,A quiet street,5,4:5\n"
        'c,"",5,16:9\n',
        encoding="utf-8",
    )
    assert main(["run", str(bad), "--sandbox"]) == Exit.USAGE
    said = capsys.readouterr().err
    for place in ("bad.csv:2:duration", "bad.csv:3:aspect_ratio", "bad.csv:4:prompt"):
        assert place in said
    assert not (tmp_path / "runs").exists()


def test_without_a_key_the_hint_names_both_ways_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIAPI_API_KEY", raising=False)
    monkeypatch.delenv("HIAPI_API_KEY_FILE", raising=False)
    assert main(["run", str(MANIFESTS / "storyboard.csv"), "--out", str(tmp_path)]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "--sandbox" in said
    assert "HIAPI_API_KEY" in said
    assert list(tmp_path.iterdir()) == []
