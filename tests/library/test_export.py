"""Data sets from Python: what is made, and what is raised in the words of a caller."""

from __future__ import annotations

from pathlib import Path

import pytest

import seedance_batch as sb
from seedance_batch.batch.samples import ClipsGone
from seedance_batch.errors import SettingsError
from tests.batch.finished import finished_folder


def test_export_makes_a_data_set_of_one_folder_or_of_several(tmp_path: Path) -> None:
    one, two = (finished_folder(tmp_path / n, [int(n), 3]).path for n in ("1", "2"))
    found = sb.export(one, tmp_path / "set", progress=False)
    assert (found.samples, found.splits, len(found.made)) == (2, {"train": 2}, 1)
    found = sb.export([str(one), two], tmp_path / "set", where="id != 'shot-01'", progress=False)
    assert (found.samples, found.duplicates, found.bytes > 0) == (2, 1, True)
    for wrong in ({"format": "zip"}, {"split": "train"}, {"shard_size": 0}, {"raws": "1"}):
        with pytest.raises(SettingsError):
            sb.export(one, tmp_path / "other", **wrong)  # type: ignore[arg-type]


def test_clips_that_are_gone_are_in_the_exception(tmp_path: Path) -> None:
    folder = finished_folder(tmp_path / "run", [1, 2]).path
    (folder / "videos" / "shot-01.mp4").unlink()
    with pytest.raises(ClipsGone, match="skip_missing=True leaves them out") as raised:
        sb.export(folder, tmp_path / "set")
    assert [each.key for each in raised.value.rows] == ["shot-01"]
    assert raised.value.hint == f'sb.fetch("{folder}")'
    assert sb.export(folder, tmp_path / "set", skip_missing=True, progress=False).samples == 1
