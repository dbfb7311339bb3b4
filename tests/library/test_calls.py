"""The package from Python: typed results, DataFrames in and out, events, errors with exit codes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from dataclasses import fields
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from mypy import api

import seedance_batch as sb
from seedance_batch.core.attempt import Phase
from seedance_batch.core.model import INPUT_FIELDS
from seedance_batch.core.select import Selection
from seedance_batch.errors import (
    AccountStopped,
    BudgetExceeded,
    ConsentNeeded,
    EmptySelection,
    Exit,
    FolderInUse,
    FolderMismatch,
    ManifestError,
    RowsFailed,
    SettingsError,
    UsageError,
    WorkUnfinished,
)
from seedance_batch.events import AttemptChanged, RunEvent
from seedance_batch.journal.opening import look_into
from seedance_batch.library.interface import FetchKeywords, ReadKeywords, RunKeywords
from seedance_batch.reader.source import ReadOptions
from seedance_batch.run_folder import RunFolder, held
from seedance_batch.settings import RunSettings
from tests.cli.shop import shot, shots
from tests.library.conftest import manifest
from tests.service import Service, serving, write_rows


def test_a_table_that_another_working_directory_has_bought_needs_its_own_yes(
    home: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, service: Service
) -> None:
    table = pd.DataFrame(shots(2))
    for name in ("one", "two"):
        (home / name).mkdir()
    monkeypatch.chdir(home / "one")
    assert sb.run(table, yes=True, **options).exit_code == Exit.OK
    monkeypatch.chdir(home / "two")
    with pytest.raises(ConsentNeeded, match="2 new rows are bought in") as refused:
        sb.run(table, yes=True, **options)
    assert refused.value.hint == "to buy them again: pass again=True"
    assert sb.run(table, yes=True, again=True, **options).exit_code == Exit.OK


# ── read ────────────────────────────────────────────────────────────────────────────────────────


def test_reading_gives_one_row_per_job_with_hiapis_fourteen_fields(home: Path) -> None:
    found = sb.read(manifest(home))
    assert found.problems == ()
    frame = found.to_frame()
    assert list(frame.columns) == ["row", "id", "model", *INPUT_FIELDS]
    assert list(frame["id"]) == ["shot1", "shot2"]
    assert list(frame["duration"]) == [4, 4]


def test_problems_are_values_and_only_a_plan_raises_them(home: Path) -> None:
    write_rows(home / "bad.csv", [shot(1, duration=99), shot(2, prompt="")])
    problems = sb.read("bad.csv").problems
    assert len(problems) == 2
    assert str(problems[0].place).startswith("bad.csv:2:duration")
    for use in (sb.plan, sb.run):
        with pytest.raises(ManifestError) as refused:
            use("bad.csv", sandbox=True)
        assert len(refused.value.problems) == 2
        assert refused.value.exit_code == Exit.USAGE


def test_paid_rows_under_way_are_seen_to_their_end_before_problems_are_raised(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source = manifest(home)
    with service.having(generation_time="1"):
        assert sb.run(source, yes=True, wait=0.3, **options).exit_code == Exit.UNFINISHED
    write_rows(Path(source), [*shots(2), shot(3, duration=99)])
    with pytest.raises(ManifestError):
        sb.run(source, yes=True, **options)
    with look_into(home / "runs/shots/journal.db") as journal:
        assert [a.state.phase for a in journal.attempts()] == [Phase.DONE] * 2


def test_an_empty_reading_is_an_empty_frame_with_all_its_columns(home: Path) -> None:
    frame = sb.read(pd.DataFrame({"prompt": pd.Series([], dtype=str)})).to_frame()
    assert len(frame) == 0
    assert list(frame.columns) == ["row", "id", "model", *INPUT_FIELDS]


# ── plan ────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_says_what_would_be_done_and_what_it_would_cost(
    home: Path, service: Service
) -> None:
    before = service.posts()
    planned = sb.plan(manifest(home, 3), api_url=service.api_url, limit=2)
    assert (planned.new_rows, planned.new_cost) == (2, Decimal("0.384"))
    frame = planned.to_frame()
    assert list(frame.columns) == [
        "id", "action", "reason", "seconds", "cost_usd", "spent_before_usd",
    ]  # fmt: skip
    assert list(frame["action"]) == ["new", "new"]
    assert frame["cost_usd"][0] == Decimal("0.192")
    assert service.posts() == before
    assert not (home / "runs").exists()


def test_a_plan_needs_no_key(home: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIAPI_API_KEY")
    planned = sb.plan(manifest(home), api_url=service.api_url, draft=True)
    assert planned.new_cost == Decimal("0.384")


# ── run ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_returns_the_results_sheet_and_the_same_call_again_pays_nothing(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source = manifest(home)
    finished = sb.run(source, yes=True, **options)
    assert finished.exit_code == Exit.OK
    assert finished.folder == home / "runs/shots"
    frame = finished.to_frame()
    assert list(frame["status"]) == ["done", "done"]
    assert (finished.folder / frame["video_file"][0]).is_file()
    assert list(frame.columns[:2]) == ["id", "prompt"]
    tasks = len(service.ledger()["tasks"])
    again = sb.run(source, **options)  # nothing new, nobody needs to agree
    assert again.exit_code == Exit.OK
    assert len(service.ledger()["tasks"]) == tasks


def test_a_row_that_fails_is_in_the_result(home: Path, options: dict[str, Any]) -> None:
    write_rows(home / "shots.csv", [shot(1), shot(2, prompt="forbidden fruit")])
    finished = sb.run("shots.csv", yes=True, **options)
    assert finished.exit_code == Exit.SOME_FAILED
    assert [outcome.status.value for outcome in finished.outcomes] == ["done", "failed"]


def test_a_data_frame_goes_in_with_its_own_columns_and_comes_back(
    home: Path, options: dict[str, Any]
) -> None:
    frame = pd.DataFrame(
        {
            "id": ["a", "b"],
            "prompt": ["a paper boat", "a tin boat"],
            "duration": [4, 5],
            "resolution": ["480p", "480p"],
            "generate_audio": [True, False],
            "client": ["Acme", None],
        }
    )
    finished = sb.run(frame, out="runs/frame", yes=True, **options)
    back = finished.to_frame()
    assert finished.folder == home / "runs/frame"
    assert list(back["client"]) == ["Acme", ""]
    assert list(back["duration"].astype(str)) == ["4", "5"]
    assert list(back["status"]) == ["done", "done"]
    assert sb.plan(frame, out="runs/frame", api_url=options["api_url"]).new_rows == 0


def test_a_finished_frame_has_the_columns_of_the_results_sheet(
    home: Path, options: dict[str, Any]
) -> None:
    write_rows(home / "shots.csv", [{"Name": "a", "prompt": "a boat", "seconds": 4, "status": "x"}])
    finished = sb.run("shots.csv", yes=True, **options)
    sheet = pd.read_csv(finished.folder / "results.csv")
    assert list(finished.to_frame().columns) == list(sheet.columns)
    assert "duration" not in sheet.columns


def test_two_tables_do_not_share_a_folder_unless_it_is_named(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    first, second = pd.DataFrame(shots(2)), pd.DataFrame([shot(3)])
    sb.run(first, yes=True, **options)
    before = service.posts()
    for use in (sb.plan, sb.run):
        with pytest.raises(FolderMismatch, match="belongs to another table") as refused:
            use(second, **({"api_url": options["api_url"]} if use is sb.plan else options))
        assert "out=" in (refused.value.hint or "")
    assert service.posts() == before
    assert sb.run(first, **options).exit_code == Exit.OK
    both = pd.concat([first, second])
    assert sb.plan(both, api_url=options["api_url"]).new_rows == 1
    assert sb.run(second, yes=True, out="runs/second", **options).exit_code == Exit.OK


def test_every_event_is_told(home: Path, options: dict[str, Any]) -> None:
    heard: list[RunEvent] = []
    sb.run(manifest(home, 1), yes=True, on_event=heard.append, **options)
    steps = [event for event in heard if isinstance(event, AttemptChanged)]
    assert steps[0].before is None
    assert steps[-1].attempt.state.phase == "done"


def test_what_a_watcher_raises_ends_the_run_in_order_and_is_raised_bare(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    told: list[RunEvent] = []

    def broken(event: RunEvent) -> None:
        told.append(event)
        if isinstance(event, AttemptChanged) and event.attempt.state.task_id:
            raise ZeroDivisionError("mine")

    source = manifest(home, 5)
    before = len(service.ledger()["tasks"])
    with service.having(generation_time="0.5"), pytest.raises(ZeroDivisionError, match="mine"):
        sb.run(source, yes=True, on_event=broken, concurrency=1, **options)
    assert len(service.ledger()["tasks"]) == before + 1  # no new submits
    assert isinstance(told[-1], AttemptChanged)  # it was told no more
    with look_into(home / "runs/shots/journal.db") as journal:
        assert "submitting" not in {a.state.phase for a in journal.attempts()}
    assert (home / "runs/shots/results.csv").is_file()
    assert sb.run(source, yes=True, **options).exit_code == Exit.OK
    assert len(service.ledger()["tasks"]) == before + 5


@pytest.mark.cases(1)
@pytest.mark.parametrize("fault", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("awaited", [False, True])
def test_a_watcher_that_leaves_the_program_ends_the_run_in_order_without_a_traceback(
    home: Path,
    options: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    fault: type[BaseException],
    awaited: bool,
) -> None:
    def leaving(event: RunEvent) -> None:
        if isinstance(event, AttemptChanged) and event.attempt.state.task_id:
            raise fault("mine")

    def left() -> object:
        if awaited:
            return asyncio.run(sb.arun(source, yes=True, on_event=leaving, **options))
        return sb.run(source, yes=True, on_event=leaving, **options)

    source = manifest(home, 1)
    with pytest.raises(fault, match="mine"):
        left()
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    assert (home / "runs/shots/results.csv").is_file()
    assert sb.run(source, yes=True, **options).exit_code == Exit.OK


def test_bars_are_shown_where_they_are_wanted(
    home: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    sb.run(manifest(home, 1), yes=True, **{**options, "progress": True})
    said = capsys.readouterr()
    assert "rows" in said.err
    assert said.out == ""


# ── running loops ───────────────────────────────────────────────────────────────────────────────


def test_in_a_running_loop_the_blocking_calls_work_as_in_a_notebook(
    home: Path, options: dict[str, Any]
) -> None:
    source = manifest(home, 1)

    async def cell() -> tuple[int, Exit]:
        planned = sb.plan(source, api_url=options["api_url"])
        return planned.new_rows, sb.run(source, yes=True, **options).exit_code

    assert asyncio.run(cell()) == (1, Exit.OK)


def test_ctrl_c_in_a_notebook_ends_the_run_in_order(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source = manifest(home, 3)
    before = len(service.ledger()["tasks"])

    def interrupt(event: RunEvent) -> None:
        if isinstance(event, AttemptChanged) and event.attempt.state.task_id:
            os.kill(os.getpid(), signal.SIGINT)

    async def cell() -> None:
        sb.run(source, yes=True, on_event=interrupt, concurrency=1, **options)

    loop = asyncio.new_event_loop()  # as a kernel runs one: Ctrl-C stays Python's own
    with service.having(generation_time="3600"), pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(cell())
    loop.close()
    with held(RunFolder(home / "runs/shots")):
        pass
    assert len(service.ledger()["tasks"]) == before + 1
    assert (home / "runs/shots/results.csv").is_file()


def test_arun_is_awaited_beside_other_work(home: Path, options: dict[str, Any]) -> None:
    source = manifest(home, 1)

    async def main() -> tuple[Exit, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        beside = asyncio.create_task(tick())
        finished = await sb.arun(source, yes=True, **options)
        beside.cancel()
        return finished.exit_code, ticks

    code, ticks = asyncio.run(main())
    assert code == Exit.OK
    assert ticks > 5


def test_a_cancelled_arun_can_be_continued(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source = manifest(home, 1)
    before = len(service.ledger()["tasks"])

    async def main() -> None:
        async with asyncio.timeout(0.8):
            await sb.arun(source, yes=True, **options)

    with service.having(generation_time="2"), pytest.raises(TimeoutError):
        asyncio.run(main())
    assert sb.run(source, yes=True, **options).exit_code == Exit.OK
    assert len(service.ledger()["tasks"]) == before + 1


def test_whenever_an_arun_is_cancelled_its_folder_is_free(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source = manifest(home, 1)

    async def main(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await sb.arun(source, yes=True, **options)

    with service.having(generation_time="600"):
        for hundredths in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20):  # while it opens, and later
            with pytest.raises(TimeoutError):
                asyncio.run(main(hundredths / 100))
            with held(RunFolder(home / "runs/shots"), patient=False):
                pass


# ── what stops a whole run ──────────────────────────────────────────────────────────────────────


def test_new_money_needs_a_yes(home: Path, service: Service, options: dict[str, Any]) -> None:
    before = service.posts()
    with pytest.raises(ConsentNeeded, match=r"send 2 rows for \$0.38") as refused:
        sb.run(manifest(home), **options)
    assert refused.value.exit_code == Exit.USAGE
    assert "yes=True" in (refused.value.hint or "")
    assert service.posts() == before


def test_a_yes_is_asked_for_no_more_rows_than_the_cap_lets_through(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    before = service.posts()
    with pytest.raises(ConsentNeeded, match=r"send 2 of 3 rows for \$0.38, as many as fit"):
        sb.run(manifest(home, 3), max_cost="0.4", **options)
    assert sb.run(manifest(home, 3), max_cost="0.1", **options).exit_code == Exit.BUDGET
    assert service.posts() == before


def test_how_a_run_ended_is_an_exception_where_that_is_asked_for(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    write_rows(home / "shots.csv", [shot(1), shot(2, prompt="forbidden fruit")])
    done = sb.run("shots.csv", yes=True, ids="shot1", **options)
    assert done.raise_for_exit() is done
    with service.having(api_key="sk-another"):
        account = sb.run("shots.csv", yes=True, **options)
    budget = sb.run("shots.csv", yes=True, max_cost="0.2", **options)
    failed = sb.run("shots.csv", yes=True, max_cost="none", **options)
    write_rows(home / "shots.csv", [shot(3)])
    with service.having(generation_time="20"):
        unfinished = sb.run("shots.csv", yes=True, wait=0.3, **options)
    for finished, kind, word in (
        (account, AccountStopped, "key"),
        (budget, BudgetExceeded, r"over \$0.20"),
        (failed, RowsFailed, "1 done, 1 failed"),
        (unfinished, WorkUnfinished, "1 in_flight"),
    ):
        with pytest.raises(kind, match=word) as raised:
            finished.raise_for_exit()
        assert raised.value.exit_code == finished.exit_code
        assert str(finished.folder) in (raised.value.hint or "")


def test_a_cap_holds_as_on_the_command_line(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    finished = sb.run(manifest(home, 3), yes=True, max_cost=0.4, **options)
    assert finished.exit_code == Exit.BUDGET
    assert [o.status.value for o in finished.outcomes] == ["done", "done", "new"]
    assert sb.run(manifest(home, 3), yes=True, **options).exit_code == Exit.BUDGET
    with pytest.raises(BudgetExceeded) as refused:
        sb.run(manifest(home, 3), yes=True, max_cost_per_row="0.1", **options)
    assert refused.value.exit_code == Exit.BUDGET
    assert sb.run(manifest(home, 3), yes=True, max_cost="none", **options).exit_code == Exit.OK


@pytest.mark.parametrize(
    "odd",
    [
        {"maxcost": 5},
        {"max_cost": "much"},
        {"max_cost": float("nan")},
        {"max_cost": -1},
        {"concurrency": 0},
        {"poll_interval": 0},
        {"sandbox": True},
    ],
)
def test_an_option_that_there_is_not_or_that_makes_no_sense_is_refused(
    home: Path, service: Service, options: dict[str, Any], odd: dict[str, Any]
) -> None:
    before = service.posts()
    with pytest.raises(SettingsError) as refused:
        sb.run(manifest(home), yes=True, **{**options, **odd})
    assert refused.value.exit_code == Exit.USAGE
    assert service.posts() == before


def test_a_misspelt_option_is_answered_with_the_nearest(home: Path) -> None:
    with pytest.raises(SettingsError, match=r"'max_csot'; did you mean 'max_cost'\?"):
        sb.plan(manifest(home), sandbox=True, max_csot=4)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"concurrency": "4"}, "concurrency takes a whole number or None, not '4'"),
        ({"limit": True}, "limit takes a whole number or None, not True"),
        ({"rpm": "60"}, "rpm takes a number or None, not '60'"),
        ({"poll_interval": None}, "poll_interval takes a number, not None"),
        ({"name": 5}, "name takes text, not 5"),
        ({"draft": "no"}, "draft takes True or False, not 'no'"),
        ({"out": 5}, "out takes a path, text or None, not 5"),
        ({"ids": [1]}, "ids takes a list of strings, text or None, not [1]"),
        ({"column_map": {"prompt": 7}}, "column_map takes a dict of strings, not {'prompt': 7}"),
        ({"overrides": "duration=5"}, "overrides takes a dict, not 'duration=5'"),
        ({"yes": "no"}, "yes takes True or False, not 'no'"),
        ({"on_event": "print"}, "on_event takes a function of one event, not 'print'"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_its_keyword_takes(
    home: Path, service: Service, options: dict[str, Any], odd: dict[str, Any], words: str
) -> None:
    before = service.posts()
    with pytest.raises(SettingsError) as refused:
        sb.run(manifest(home), **{"yes": True, **options, **odd})
    assert str(refused.value) == f"{words}."
    assert service.posts() == before


@pytest.mark.parametrize("name", [*get_type_hints(RunKeywords), "yes", "progress", "on_event"])
def test_no_keyword_takes_just_anything(home: Path, options: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}"):
        sb.run(manifest(home), **{"yes": True, **options, name: object()})


def test_numbers_may_be_numpys_and_overrides_of_any_type(home: Path, service: Service) -> None:
    numbers: dict[str, Any] = {"limit": np.int64(1), "rpm": np.float32(600)}
    (step,) = sb.plan(
        manifest(home), api_url=service.api_url, overrides={"duration": 7}, **numbers
    ).plan.steps
    assert step.job is not None
    assert step.job.input.duration == 7


def test_type_checkers_know_every_option() -> None:
    reading = {field.name for field in fields(ReadOptions)}
    running = {field.name for room in (RunSettings, Selection) for field in fields(room)}
    assert ReadKeywords.__annotations__.keys() == reading
    assert get_type_hints(RunKeywords).keys() == reading | (running - {"takes"}) | {"picks"}
    assert get_type_hints(FetchKeywords).keys() < running
    for use in (sb.plan, sb.run, sb.arun, sb.rerun, sb.promote):
        assert use.__annotations__["options"] == "Unpack[RunKeywords]"


@pytest.mark.slow  # seconds: mypy reads the whole library
def test_a_misspelt_name_is_told_by_a_type_checker(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import seedance_batch as sb\n\nsb.plan('a.csv')\nsb.pln('a.csv')\n")
    told, _, code = api.run(["--no-error-summary", "--cache-dir", str(tmp_path), str(script)])
    assert code == 1
    assert [line.rpartition("script.py:")[2][:2] for line in told.splitlines()] == ["4:"]


def test_ids_may_be_one_text_as_the_flag_has_it(home: Path, service: Service) -> None:
    source = manifest(home, 3)
    for ids in ("shot1, shot3", ["shot1", "shot3"]):
        assert sb.plan(source, api_url=service.api_url, ids=ids).new_rows == 2


def test_what_is_no_manifest_is_refused_in_a_sentence(home: Path) -> None:
    for use in (sb.read, sb.plan, sb.run):
        with pytest.raises(UsageError, match="not a list"):
            use([shot(1)], sandbox=True) if use is not sb.read else use([shot(1)])


def test_the_version_is_the_installed_one() -> None:
    assert sb.__version__ == metadata.version("seedance-batch")


def test_unknown_options_are_named_everywhere(home: Path) -> None:
    source = manifest(home)
    for use in (sb.read, sb.plan, sb.run):
        with pytest.raises(SettingsError, match="'colour', 'size'"):
            use(source, size=1, colour=2)
    with pytest.raises(SettingsError, match="'limit'"):
        sb.read(source, limit=1)


def test_what_stops_a_run_has_its_own_class(
    home: Path, service: Service, options: dict[str, Any]
) -> None:
    source = manifest(home)
    with pytest.raises(UsageError):
        sb.read("none.csv")
    with pytest.raises(EmptySelection):
        sb.plan(source, api_url=service.api_url, where="status == 'done'")
    with held(RunFolder(home / "runs/shots")), pytest.raises(FolderInUse):
        sb.run(source, yes=True, **options)
    sb.run(source, yes=True, **options)
    with serving() as other, pytest.raises(FolderMismatch):
        sb.run(source, yes=True, **{**options, "api_url": other.api_url})


def test_a_path_may_be_a_text_or_a_path_and_a_run_folder_stands_for_its_manifest(
    home: Path, options: dict[str, Any]
) -> None:
    source = manifest(home, 1)
    assert sb.run(str(source), yes=True, **options).exit_code == Exit.OK
    assert sb.run(home / "runs/shots", **options).exit_code == Exit.OK
    assert sb.plan(str(home / "runs/shots"), api_url=options["api_url"]).new_rows == 0
