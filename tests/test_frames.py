"""A DataFrame's own columns and its index come back as they were; logs hold no signed address."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import seedance_batch as sb
from seedance_batch.reader.typed_file import as_given, table_of_frame, types_of
from tests import patient
from tests.service import SMALL, Service, serving


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as found:
        yield found


@pytest.fixture
def api(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The sandbox as if it were the service, and a working directory of the test's own."""
    for name in list(os.environ):
        if name.startswith(("HIAPI_", "SEEDANCE_BATCH_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HIAPI_API_KEY", f"sk-{tmp_path.name}")
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return service.api_url


def shots(**columns: object) -> pd.DataFrame:
    rows = [{"prompt": f"a paper boat, number {n}", **SMALL} for n in (1, 2)]
    return pd.DataFrame(rows).assign(**columns)  # type: ignore[arg-type]


def bought(frame: pd.DataFrame, api: str) -> sb.Finished:
    return sb.run(
        frame, api_url=api, yes=True, progress=False, rpm=60_000, poll_interval=0.1, out="runs/f"
    )


def test_own_columns_come_back_with_their_types_and_can_be_merged(api: str) -> None:
    given = shots(
        shot=[7, 12],
        take=pd.array([3, None], dtype="Int64"),
        weight=[1.0, 2.5],
        hero=[True, False],
        day=pd.to_datetime(["2026-03-01", "2026-03-02"]),
        code=["007", "8"],
    )
    given.index = pd.Index(["dawn", "dusk"], name="id")
    finished = bought(given, api)
    sheet = finished.to_frame()
    assert list(sheet["id"]) == ["dawn", "dusk"]
    assert [outcome.key for outcome in finished.outcomes] == ["dawn", "dusk"]
    for name in ("shot", "take", "weight", "hero", "day", "code", "duration"):
        assert list(sheet[name].dropna()) == list(given[name].dropna()), name
        assert sheet[name].dtype == given[name].dtype, name
    assert len(given.reset_index().merge(sheet[["shot", "status"]], on="shot")) == 2
    assert sb.plan(given, api_url=api, out="runs/f").new_rows == 0


@pytest.mark.parametrize(
    ("index", "headings"),
    [
        (pd.Index(["a", "b"], name="id"), ["id", "prompt"]),
        (pd.Index([3, 4], name="shot"), ["shot", "prompt"]),
        (pd.MultiIndex.from_tuples([(1, 2), (1, 3)], names=["scene", "shot"]),
         ["scene", "shot", "prompt"]),
        (pd.RangeIndex(2), ["prompt"]),
        (pd.Index(["a", "b"], name="prompt"), ["prompt"]),
        (pd.MultiIndex.from_tuples([(1, 2), (1, 3)], names=["scene", None]), ["prompt"]),
    ],
)  # fmt: skip
def test_an_index_with_a_name_is_a_column(index: pd.Index, headings: list[str]) -> None:
    frame = pd.DataFrame({"prompt": ["a boat", "a kite"]}, index=index)
    (table,) = table_of_frame(frame, "frame")
    assert table.headings == headings
    assert list(types_of(frame)) == headings


def test_what_is_no_number_any_more_stays_text() -> None:
    types = types_of(pd.DataFrame({"n": [1], "big": [2**60]}))
    sheet = as_given(pd.DataFrame({"n": ["one", "2"], "big": [str(2**60), ""]}), types)
    assert list(sheet["n"]) == ["one", "2"]
    assert sheet["big"].tolist()[0] == 2**60  # exact, although a cell is missing


def test_nothing_that_is_logged_names_an_address_of_a_clip(
    api: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        finished = bought(shots(), api)
        patient.get(f"{api}/api/pricing")  # somebody else's request is logged as ever
    assert [outcome.status for outcome in finished.outcomes] == ["done", "done"]
    (theirs,) = [record for record in caplog.records if record.name == "httpx"]
    assert "/api/pricing" in theirs.getMessage()
    assert "files" not in caplog.text
    keys = {outcome.key for outcome in finished.outcomes}
    done = {r.getMessage() for r in caplog.records if r.name == "seedance_batch"}
    assert {f"{key}: done" for key in keys} <= done
