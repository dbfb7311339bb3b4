"""Films from Python: what is made, and what is raised in the words of a caller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import seedance_batch as sb
from seedance_batch.batch.joining import ClipsLacking
from seedance_batch.clips.media import probe
from seedance_batch.errors import SettingsError
from tests.cli.shop import shot
from tests.library.conftest import manifest
from tests.service import write_rows


def test_join_makes_films_of_the_rows_that_were_chosen(home: Path, options: dict[str, Any]) -> None:
    folder = sb.run(manifest(home, 3), yes=True, **options).folder
    (film,) = sb.join(folder, progress=False)
    assert (film.file, film.ids) == (folder / "films/shots.mp4", ("shot1", "shot2", "shot3"))
    assert film.seconds == pytest.approx(3 * 97 / 24)
    (film,) = sb.join("shots.csv", ids=["shot3"], output="one.mp4", progress=False)
    assert probe(home / "one.mp4").frames == 97
    assert len(sb.join(folder, by="prompt", where="id != 'shot2'", progress=False)) == 2
    with pytest.raises(SettingsError):
        sb.join(folder, audio=7)  # type: ignore[arg-type]


def test_rows_without_a_clip_are_in_the_exception(home: Path, options: dict[str, Any]) -> None:
    write_rows(home / "shots.csv", [shot(1), shot(2, prompt="forbidden")])
    sb.run("shots.csv", yes=True, **options)
    with pytest.raises(ClipsLacking) as raised:
        sb.join("shots.csv")
    assert [(row.key, row.reason) for row in raised.value.rows] == [("shot2", "failed")]
    assert raised.value.hint == "skip_missing=True leaves them out"
    (film,) = sb.join("shots.csv", skip_missing=True, progress=False)
    assert film.ids == ("shot1",)
