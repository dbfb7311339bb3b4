"""Progress: bars on a terminal, lines in a log, JSON for machines; all of them only watch."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from decimal import Decimal

import pytest

from seedance_batch.core.attempt import Attempt, Phase
from seedance_batch.events import (
    AttemptChanged,
    BytesArrived,
    Paused,
    PosterMade,
    Remark,
    RequestEnded,
    RowSkipped,
    RunEvent,
    Stop,
    Stopping,
)
from seedance_batch.progress import (
    Bars,
    Course,
    JsonLines,
    Lines,
    Silent,
    event_object,
    log_event,
    observer_for,
)
from tests.core.plan_builders import attempt, job
from tests.terminal import Screen

TOLD: list[RunEvent] = [
    Stopping(Stop.BUDGET, "row \x1b[31mb would pass the budget"),
    RowSkipped("b", "its image has changed"),
    Remark("task tk-1 is unknown"),
]
NOISE: list[RunEvent] = [BytesArrived(1024), RequestEnded("list", "ok")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def row(number: int, phase: Phase, cost: str | None = "0.50") -> Attempt:
    made = attempt(job(f"row{number}"), phase=phase)
    price = Decimal(cost) if cost else None
    return replace(made, id=number, intent=replace(made.intent, est_cost=price))


def steps(number: int, *phases: Phase, cost: str | None = "0.50") -> list[RunEvent]:
    before: list[Phase | None] = [None, *phases]
    return [
        AttemptChanged(row(number, phase, cost), earlier)
        for phase, earlier in zip(phases, before, strict=False)
    ]


DONE = (Phase.SUBMITTING, Phase.IN_FLIGHT, Phase.DOWNLOADING, Phase.DONE)


def course(
    rows: int = 4, foretold: float | None = None, old: list[Attempt] | None = None
) -> Course:
    return Course(rows, old or [], started=0.0, foretold=foretold)


def taken(found: Course, events: list[RunEvent]) -> Course:
    for event in events:
        assert isinstance(event, AttemptChanged)
        found.take(event.attempt)
    return found


def test_counts_money_rate_and_time_left_follow_from_the_events() -> None:
    found = taken(course(), steps(1, *DONE) + steps(2, *DONE[:2]) + steps(3, Phase.SUBMITTING))
    assert found.words(60.0) == (
        "about 2 min left, $1.50, 1 sending, 1 in flight, 1 done, 1.0 rows/min"
    )


def test_what_an_earlier_run_ended_counts_only_once_it_changes_again() -> None:
    old = [row(1, Phase.DONE), row(2, Phase.EXPIRED), row(3, Phase.IN_FLIGHT)]
    found = course(rows=2, old=old)
    assert (found.ended, found.words(1.0)) == (0, "1 in flight")
    taken(found, steps(2, Phase.DOWNLOADING, Phase.DONE))
    assert found.ended == 1


def test_a_pause_that_the_service_asked_for_is_in_the_status_line() -> None:
    clock, stream = Clock(), io.StringIO()
    lines = Lines(course(), stream, clock)
    for event in steps(1, *DONE[:2]):
        lines(event)
    lines(Paused(3600.0, "https://a.b asks to pause for 2 h 0 min"))
    clock.now = 60.0
    lines(RequestEnded("list", "ok"))
    assert "asks to pause for 2 h 0 min" in stream.getvalue()
    assert "paused for 59 min at the service's request" in stream.getvalue()
    clock.now = 3700.0
    lines(RequestEnded("list", "ok"))
    assert "paused" not in stream.getvalue().splitlines()[-1]


def test_a_refused_create_gives_its_money_back() -> None:
    found = taken(course(), steps(1, Phase.SUBMITTING, Phase.PLANNED))
    assert found.spent == 0
    assert found.words(10.0) == ""


def test_without_a_price_no_money_is_named() -> None:
    assert "$" not in taken(course(), steps(1, *DONE, cost=None)).words(60.0)


def test_the_time_left_is_foretold_at_first_and_measured_after_a_tenth() -> None:
    found = course(rows=20, foretold=400.0)
    assert found.left(100.0) == 300.0
    taken(found, steps(1, *DONE))  # measured: 20 × 100 s; a twentieth is believed by a quarter
    assert found.left(100.0) == pytest.approx(0.25 * 2000 + 0.75 * 400 - 100)
    taken(found, steps(2, *DONE))
    assert found.left(200.0) == pytest.approx(0.5 * 2000 + 0.5 * 400 - 200)
    taken(found, steps(3, *DONE) + steps(4, *DONE))
    assert found.left(400.0) == pytest.approx(2000 - 400)  # only measured
    for number in (5, 6):  # what is under way is half done
        taken(found, steps(number, *DONE[:2]))
    assert found.left(400.0) == pytest.approx(400 * 20 / 5 - 400)


def test_where_all_rows_go_at_once_the_first_that_ends_foretells_no_hours() -> None:
    found = course(rows=10, foretold=130.0)
    for number in range(1, 11):
        taken(found, steps(number, *DONE[:2]))
    taken(found, steps(1, *DONE[2:]))
    assert found.left(120.0) is not None
    assert 0 < (found.left(120.0) or 0.0) < 100


def test_nothing_is_left_once_every_row_has_ended() -> None:
    found = course(rows=4, foretold=400.0)
    taken(found, steps(1, *DONE))
    taken(found, steps(2, *DONE) + steps(3, *DONE) + steps(4, *DONE))
    assert found.left(300.0) is None
    assert course().left(10.0) is None


def test_a_forecast_that_is_passed_says_nothing_more() -> None:
    assert course(foretold=50.0).left(60.0) is None


def test_a_run_that_was_to_do_nothing_may_see_a_row_end() -> None:
    found = taken(course(rows=0, foretold=50.0), steps(1, *DONE))
    assert found.words(10.0) == "$0.50, 1 done, 6.0 rows/min"


def test_bars_show_rows_counts_and_bytes_and_let_lines_through() -> None:
    stream, clock = Terminal(), Clock()
    bars = Bars(course(rows=2, foretold=600.0), stream, clock)
    for event in [*steps(1, *DONE), *TOLD, *NOISE]:
        clock.now += 1.0
        bars(event)
    bars.close()
    shown = stream.getvalue()
    assert " 1/2 [" in shown
    assert "$0.50, 1 done" in shown
    assert "left" in shown
    assert "clips: " in shown
    assert "Row b was left out: its image has changed.\n" in shown
    assert "\x1b[31m" not in shown


def test_bars_are_redrawn_ten_times_a_second_at_most() -> None:
    def drawn(pause: float) -> int:
        stream, clock = Terminal(), Clock()
        bars = Bars(course(rows=500), stream, clock)
        for number in range(500):
            clock.now += pause
            bars(steps(number, Phase.IN_FLIGHT)[0])
        bars.close()
        return stream.getvalue().count("in flight")

    assert drawn(0.001) < 10
    assert drawn(0.2) == 500


def test_a_log_gets_a_line_every_15_s_and_after_two_minutes_every_60_s() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines(course(rows=2), stream, clock)
    lines(steps(1, Phase.IN_FLIGHT)[0])
    for second in range(1, 601):
        clock.now = float(second)
        lines(RequestEnded("list", "ok"))
    lines.close()
    said = stream.getvalue().splitlines()
    assert said[0] == "0 of 2 rows ended: $0.50, 1 in flight"
    assert len(said) == 7 + 8


def test_what_is_worth_a_line_is_said_at_once() -> None:
    for observer in (Lines, Silent):
        stream = io.StringIO()
        shown = Lines(course(), stream, Clock()) if observer is Lines else Silent(stream)
        for event in TOLD + NOISE:
            shown(event)
        shown.close()
        assert len(stream.getvalue().splitlines()) == 3
        assert "\x1b" not in stream.getvalue()


def test_json_is_one_event_a_line_without_noise() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    for event in [*steps(1, *DONE), *TOLD, *NOISE]:
        lines(event)
    lines.close()
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["event"] for each in found] == ["row"] * 4 + ["stopping", "skipped", "remark"]
    assert [each["status"] for each in found[:4]] == list(DONE)


def test_json_names_the_moment_and_tells_a_status_once() -> None:
    stream = io.StringIO()
    lines = JsonLines(stream, wall=lambda: 1_700_000_000.25)
    for event in steps(1, Phase.IN_FLIGHT, Phase.DOWNLOADING, Phase.DOWNLOADING):
        lines(event)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["status"] for each in found] == ["in_flight", "downloading"]
    assert found[0]["time"] == "2023-11-14T22:13:20.250+00:00"


class Broken(Terminal):
    """What a pipe whose reader went away, a full disk and a closed file do."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error
        self.tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise self._error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "gone"), OSError(28, "full"), ValueError("closed")]
)
@pytest.mark.parametrize("kind", [Bars, Lines, Silent, JsonLines])
def test_a_stream_that_fails_is_written_to_no_more_and_stops_nothing(
    kind: type, error: Exception
) -> None:
    stream = Broken(error)
    shown = kind(course(), stream) if kind in {Bars, Lines} else kind(stream)
    for event in [*TOLD, *steps(1, *DONE), *TOLD]:
        shown(event)
    shown.close()
    assert stream.tries == 1


def test_a_text_that_the_stream_cannot_hold_is_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    Silent(stream)(Remark("雨 falls"))
    stream.seek(0)
    assert stream.read() == "\\u96e8 falls\n"


def test_without_a_stream_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    for as_json in (True, False):
        shown = observer_for(3, [], as_json=as_json, progress=True, stream=None)
        shown(TOLD[0])
        shown.close()


@pytest.mark.parametrize(
    ("as_json", "progress", "stream", "kind"),
    [
        (True, True, Terminal(), JsonLines),
        (False, False, Terminal(), Silent),
        (False, True, Terminal(), Bars),
        (False, True, io.StringIO(), Lines),
    ],
)
def test_the_observer_fits_where_the_output_goes(
    as_json: bool, progress: bool, stream: io.StringIO, kind: type
) -> None:
    shown = observer_for(3, [], as_json=as_json, progress=progress, stream=stream)
    assert isinstance(shown, kind)
    shown.close()


def test_a_library_may_have_bars_on_any_stream() -> None:
    bars = observer_for(3, [], stream=io.StringIO(), bars=True)
    assert isinstance(bars, Bars)
    bars(steps(1, Phase.SUBMITTING)[0])
    bars.close()


def test_the_time_left_is_there_on_eighty_columns() -> None:
    screen = Screen(80)
    found = course(rows=3_000, foretold=40_000.0)
    for number in range(1, 1_300):
        taken(found, steps(number, *(DONE if number < 1_250 else DONE[:2]), cost="12.50"))
    with screen.stream() as terminal:
        bars = Bars(found, terminal, lambda: 20_000.0)
        bars(steps(1_300, Phase.IN_FLIGHT)[0])
        bars.close()
    lines = [line for line in re.split(r"[\r\n]", screen.text) if "1249/3000" in line]
    assert "h 32 min left, $16,238" in lines[-1]
    assert len(lines[-1].partition("\x1b")[0]) <= 80


def test_posters_that_are_made_after_the_last_row_have_a_bar_or_a_line() -> None:
    screen, log, clock = Screen(80), io.StringIO(), Clock()
    made = [PosterMade(count, 40) for count in (1, 20, 40)]
    with screen.stream() as terminal:
        bars, lines = Bars(course(rows=9), terminal, clock), Lines(course(rows=9), log, clock)
        for event in made:
            clock.now += 20.0
            bars(event)
            lines(event)
        bars.close()
    assert "posters" in screen.text
    assert "20/40" in screen.text
    assert "40/40" in screen.text
    assert "20 of 40 posters made for the review page" in log.getvalue()
    assert event_object(made[0], 0.0) is None


def test_a_run_is_told_to_the_logger_and_to_nobody_who_has_none(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO", logger="seedance_batch"):
        for event in [*steps(1, *DONE), *TOLD, *NOISE]:
            log_event(event)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert told[0] == ("INFO", "row1: submitting")
    assert told[3] == ("INFO", "row1: done")
    assert ("WARNING", "Row b was left out: its image has changed.") in told
    assert "\x1b" not in caplog.text
    assert {record.name for record in caplog.records} == {"seedance_batch"}
    assert capsys.readouterr().err == ""
