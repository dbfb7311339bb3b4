"""The price before, the budget during: caps, unknown prices, canaries."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from seedance_batch.errors import Exit
from tests import patient
from tests.cli.shop import QUICK, ROW_COST, Shop, say, shot, shots
from tests.cli.test_consent import terminal
from tests.service import Service

# ── --max-cost ──────────────────────────────────────────────────────────────────────────────────


def test_a_plan_that_is_dearer_than_the_cap_exits_4_and_its_hint_is_a_cap_that_fits(
    shop: Shop,
) -> None:
    shop.fill(3)
    said = shop.plan("--max-cost", "0.50")
    assert said.code == Exit.BUDGET
    assert "the plan costs $0.58; the cap is $0.50" in said.err
    assert say(*said.hint).code == Exit.OK
    assert shop.plan("--max-cost", "0.576").code == Exit.OK
    assert shop.tasks() == []


def test_a_run_sends_rows_in_order_while_they_fit_and_its_hint_buys_the_rest(shop: Shop) -> None:
    shop.write(shot(1), shot(2, duration=15), shot(3))
    said = shop.run("--max-cost", "0.9", "--out", "bought here")
    assert said.code == Exit.BUDGET
    assert shop.prompts() == [shot(1)["prompt"]]  # the third would fit, and is not preferred
    assert "2 rows are left" in said.out
    assert {"run", "--out", "bought here", "--max-cost", "1.11"} <= set(said.hint)
    last = say(*said.hint, "--yes", *QUICK)
    assert last.code == Exit.OK
    assert len(shop.tasks()) == 3
    assert shop.charged() == Decimal("1.104")


def test_the_cap_counts_what_the_folder_has_cost_before(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run("--max-cost", "0.50").code == Exit.OK
    shop.fill(3)
    said = shop.run("--max-cost", "0.50")
    assert said.code == Exit.BUDGET
    assert "1 row is left" in said.out
    assert len(shop.tasks()) == 2
    assert shop.run("--max-cost", "0.50").code == Exit.BUDGET
    assert shop.charged() <= Decimal("0.50")


def test_an_attempt_that_failed_counts_as_charged(shop: Shop) -> None:
    shop.fill(2)
    with shop.service.having(faults={"tasks": {"TASK_TIMEOUT": 1.0}}):
        assert shop.run().code == Exit.SOME_FAILED
        said = shop.run("--max-cost", "0.6", command="rerun")
    assert said.code == Exit.BUDGET
    assert len(shop.tasks()) == 3
    assert said.hint[0] == "rerun"
    assert say(*said.hint, "--yes", *QUICK).code == Exit.OK  # a third try of one, a second of one
    assert len(shop.tasks()) == 5


def test_nothing_new_is_within_any_cap(shop: Shop) -> None:
    shop.fill(1)
    assert shop.run().code == Exit.OK
    assert shop.run("--max-cost", "0").code == Exit.OK
    assert shop.plan("--max-cost", "0").code == Exit.OK


@pytest.mark.parametrize("cap", ["-1", "nan", "inf", "much", ""])
def test_a_cap_that_is_no_amount_is_refused(shop: Shop, cap: str) -> None:
    shop.fill(1)
    assert shop.run(f"--max-cost={cap}").code == Exit.USAGE
    assert shop.tasks() == []


def test_a_row_over_its_own_cap_stops_the_whole_before_anything_is_sent(shop: Shop) -> None:
    shop.write(shot(1), shot(2, duration=15))
    said = shop.run("--max-cost-per-row", "0.2")
    assert said.code == Exit.BUDGET
    assert "shot2 at $0.72" in said.err
    assert shop.tasks() == []
    assert say(*said.hint, "--yes", *QUICK).code == Exit.OK
    assert len(shop.tasks()) == 2


# ── unknown prices ──────────────────────────────────────────────────────────────────────────────


class _Front(BaseHTTPRequestHandler):
    """Stands before the sandbox and has a price list of its own."""

    server: _FrontServer

    def do_GET(self) -> None:
        if self.path == "/api/pricing":
            self._answer(*self.server.pricing)
        else:
            self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        names = {"authorization", "content-type", "idempotency-key"}
        headers = {k: v for k, v in self.headers.items() if k.lower() in names}
        url = self.server.upstream + self.path
        found = patient.request(self.command, url, content=content, headers=headers)
        self._answer(found.status_code, found.content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class _FrontServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, pricing: tuple[int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Front)
        self.upstream, self.pricing = upstream, pricing


@dataclass
class Priced(Service):
    """A service with a price list of its own."""

    server: _FrontServer

    def list_away(self) -> None:
        """The price list is not to be had any more."""
        self.server.pricing = (500, b"")


@contextmanager
def pricing(service: Service, status: int, content: Any) -> Iterator[Priced]:
    """The service with another price list."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with _FrontServer(service.api_url, (status, body)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Priced(f"http://127.0.0.1:{server.server_port}", server)
        finally:
            server.shutdown()
            thread.join()


def _model(**entry: Any) -> dict[str, Any]:
    plain = {"model_name": "seedance-2-0", "factors": ["duration"], "base_usd_value": 0.05}
    return {"data": [{**plain, "policies": [], **entry}]}


_ODD_RULE = {"rule": {"resolution": {"over": 1}}, "pricing_type": "fixed", "usd_value": 0.01}


@pytest.mark.cases(4)
@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b""),
        (404, b"<html>"),
        (200, b"<html>"),
        (200, {"data": []}),
        (200, _model(base_usd_value=None)),
        (200, _model(base_usd_value=0)),
        (200, _model(base_usd_value=-1)),
        (200, _model(factors=["duration", "pixels"])),
        (200, _model(policies=[_ODD_RULE])),
        (200, _model(policies=[{"rule": {}, "pricing_type": "auction", "usd_value": 1}])),
        (200, b'{"data":[{"model_name":"seedance-2-0","factors":["duration"],'
              b'"base_usd_value":1e999999999}]}'),
    ],
)  # fmt: skip
def test_under_a_cap_an_unknown_price_sends_nothing(shop: Shop, status: int, content: Any) -> None:
    shop.fill(1)
    before = shop.service.posts()
    with pricing(shop.service, status, content) as odd:
        for command, cap in (("plan", "--max-cost-per-row"), ("run", "--max-cost")):
            flags = ["--yes", *QUICK] if command == "run" else []
            said = say(command, "shots.csv", "--api-url", odd.api_url, cap, "40", *flags)
            assert said.code == Exit.BUDGET, said.err
            assert "no known price" in said.err
            assert (
                "add --price-file FILE; for the form, see seedance-batch prices --help" in said.err
            )
    assert shop.service.posts() == before


def test_without_a_cap_an_unknown_price_is_said_and_never_guessed(shop: Shop) -> None:
    shop.fill(2)
    with pricing(shop.service, 500, b"") as odd:
        said = say("run", "shots.csv", "--api-url", odd.api_url, "--yes", *QUICK)
    assert said.code == Exit.OK
    assert "unknown" in said.err
    assert "8 s of 480p" in said.err
    assert [row["est_cost_usd"] for row in shop.results()] == ["", ""]
    assert "Cost: an unknown amount for 2 clips" in said.out
    status = json.loads(shop.at("status", "--json").out)
    assert status["money"]["unpriced_attempts"] == 2
    # What was bought at an unknown price is no part of a sum that a cap could be held against.
    shop.fill(3)
    said = shop.run("--max-cost", "40", "--out", str(shop.run_folder))
    assert said.code in {Exit.BUDGET, Exit.USAGE}
    assert len(shop.tasks()) == 2


def test_where_no_price_list_comes_it_is_said_from_where_with_the_ways_on(shop: Shop) -> None:
    shop.fill(1)
    with pricing(shop.service, 500, b"") as odd:
        plan = say("plan", "shots.csv", "--api-url", odd.api_url)
        prices = say("prices", "--api-url", odd.api_url)
    for said, code in ((plan, Exit.OK), (prices, Exit.UNREACHABLE)):
        assert said.code == code
        words = said.out + said.err
        assert f"The price list could not be fetched from {odd.api_url}: HTTP 500" in words
        assert "seedance-batch prices --help" in words
    assert "--price-file FILE" in plan.out
    assert "--sandbox" in plan.out
    assert prices.out == ""


@pytest.mark.parametrize(
    ("status", "content", "code", "words"),
    [
        (503, b"busy", "answer", "HTTP 503"),
        (200, b"<html>", "form", "a web page"),
        (200, b'{"data": []}', "form", "no prices in the form that this version knows"),
    ],
)
def test_a_plan_says_why_the_price_list_did_not_come(
    shop: Shop, status: int, content: bytes, code: str, words: str
) -> None:
    shop.fill(1)
    with pricing(shop.service, status, content) as odd:
        said = say("plan", "shots.csv", "--api-url", odd.api_url)
        (told,) = say("plan", "shots.csv", "--api-url", odd.api_url, "--json").lines
    assert words in said.out
    assert told["no_price_list"]["code"] == code
    assert words in told["no_price_list"]["message"]
    assert told["new_cost_usd"] is None


def test_a_plan_tells_a_machine_that_is_offline_from_a_proxy_that_does_not_connect(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(1)
    with socket.create_server(("127.0.0.1", 0)) as closing:
        here = f"127.0.0.1:{closing.getsockname()[1]}"
    said = say("plan", "shots.csv", "--api-url", f"http://{here}")
    assert "there is no connection (" in said.out
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{here}")
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    (told,) = say("plan", "shots.csv", "--api-url", "https://api.example.com", "--json").lines
    assert told["no_price_list"]["code"] == "proxy"
    assert f"the proxy {here} (HTTPS_PROXY) does not connect" in told["no_price_list"]["message"]
    assert "secret" not in str(told)


def test_prices_of_an_earlier_day_are_named_as_such_with_what_kept_todays_away(shop: Shop) -> None:
    shop.fill(1)
    with pricing(shop.service, 200, _model()) as odd:
        assert say("plan", "shots.csv", "--api-url", odd.api_url).code == Exit.OK
        odd.list_away()
        said = say("plan", "shots.csv", "--api-url", odd.api_url)
    assert "HTTP 500" in said.out
    assert "These are prices of an earlier list." in said.out


def test_the_price_file_that_the_help_shows_can_be_used(shop: Shop) -> None:
    shop.fill(1)
    shown = say("prices", "--help").out.splitlines()
    (example,) = (line.strip() for line in shown if "per_second" in line)
    (shop.folder / "own.yaml").write_text(example)
    assert "$0.20" in shop.plan("--price-file", "own.yaml").out


def test_an_amount_with_a_comma_is_refused_with_what_was_meant(shop: Shop) -> None:
    said = shop.plan("--max-cost", "40,5")
    assert said.code == Exit.USAGE
    assert "'40,5' is no amount; write 40.5." in said.err


def test_a_price_file_goes_before_the_services_own_list(shop: Shop) -> None:
    shop.fill(2)
    (shop.folder / "prices.yaml").write_text("per_second: {480p: 1.25, 720p: 2}\n")
    with pricing(shop.service, 500, b"") as odd:
        flags = ["--api-url", odd.api_url, "--price-file", "prices.yaml"]
        assert "$10.00" in say("plan", "shots.csv", *flags).out
        said = say("run", "shots.csv", *flags, "--max-cost", "5", "--yes", *QUICK)
    assert said.code == Exit.BUDGET
    assert len(shop.tasks()) == 1


@pytest.mark.parametrize(
    "content",
    ["per_second: 0", "per_second: -1", "per_second: {480p: null}", "rate: 1", "- 1", "a: [", ""],
)
def test_a_price_file_that_names_no_price_is_refused(shop: Shop, content: str) -> None:
    shop.fill(1)
    (shop.folder / "prices.yaml").write_text(content)
    said = shop.run("--price-file", "prices.yaml", "--max-cost", "5")
    assert said.code == Exit.USAGE
    assert "prices.yaml" in said.err
    assert shop.tasks() == []


def test_a_resolution_that_the_price_file_does_not_name_has_no_price(shop: Shop) -> None:
    shop.fill(1)
    (shop.folder / "prices.yaml").write_text("per_second: {720p: 1}")
    assert shop.run("--price-file", "prices.yaml", "--max-cost", "5").code == Exit.BUDGET
    assert shop.tasks() == []


def test_the_first_look_at_prices_needs_no_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.fill(1)
    monkeypatch.delenv("HIAPI_API_KEY")
    assert "$0.19" in shop.plan().out
    said = say("prices", "--api-url", shop.service.api_url)
    assert "$0.048 /s" in said.out
    assert f"Prices from {shop.service.api_url}/api/pricing, 20" in said.out
    (found,) = say("prices", "--api-url", shop.service.api_url, "--json").lines
    assert found["models"]["seedance-2-0"]["per_second_usd"]["resolution 480p"] == "0.048"


def test_a_list_that_was_had_before_serves_a_plan_while_its_source_is_away(shop: Shop) -> None:
    shop.fill(1)
    with pricing(shop.service, 200, _model()) as odd:
        assert "$0.20" in say("plan", "shots.csv", "--api-url", odd.api_url).out
    said = say("plan", "shots.csv", "--api-url", odd.api_url)
    assert "$0.20" in said.out
    assert "(kept copy)" in said.out


@pytest.mark.parametrize("price_file", [False, True])
def test_an_api_that_nobody_answers_at_is_exit_9_before_anything_is_sent(
    shop: Shop, price_file: bool
) -> None:
    shop.fill(1)
    (shop.folder / "prices.yaml").write_text("per_second: 1")
    with pricing(shop.service, 200, {}) as gone:
        pass
    flags = ["--price-file", "prices.yaml"] if price_file else []
    said = say("run", "shots.csv", "--api-url", gone.api_url, "--yes", *QUICK, *flags)
    assert said.code == Exit.UNREACHABLE
    assert "nothing was sent" in said.err


# ── drafts and canaries ─────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_drafts_are_small_silent_and_stand_beside_the_finals(shop: Shop) -> None:
    shop.write(shot(1, resolution="720p", duration=10))
    said = shop.plan("--draft")
    assert "As drafts $0.19, as final clips $0.72." in said.out
    assert shop.run("--draft").code == Exit.OK
    assert shop.run().code == Exit.OK
    draft, final = (task["input"] for task in shop.tasks())
    assert (draft["resolution"], draft["duration"], draft["generate_audio"]) == ("480p", 4, False)
    assert (final["resolution"], final["duration"]) == ("720p", 10)
    assert (shop.run_folder / "drafts/shot1.mp4").is_file()
    assert (shop.run_folder / "videos/shot1.mp4").is_file()
    assert shop.results()[0]["video_file"] == "videos/shot1.mp4"
    assert shop.run("--draft").code == Exit.OK
    assert len(shop.tasks()) == 2


def test_a_good_canary_sings_first_and_the_rest_follows(shop: Shop) -> None:
    shop.write(shot(1, duration=8), *shots(5)[1:])
    said = shop.run("--canary", "2")
    assert said.code == Exit.OK
    assert "Canary: 2 rows first." in said.err
    assert shop.prompts()[:2] == [shot(2)["prompt"], shot(3)["prompt"]]
    assert len(shop.tasks()) == 5


def test_a_bad_canary_keeps_the_rest_from_being_sent(shop: Shop) -> None:
    shop.write(shot(1), shot(2), shot(3, prompt="forbidden"), shot(4, duration=8))
    said = shop.run("--canary", "3")
    assert said.code == Exit.SOME_FAILED
    assert len(shop.tasks()) == 3
    assert shop.statuses() == ["done", "done", "failed", "new"]
    held = "2 of 3 canary rows came back well"
    assert f"1 other row was held back: {held}." in said.out
    assert said.out.count("held back") == 1


def test_a_bad_canary_is_in_the_end_event_with_what_was_held_back(shop: Shop) -> None:
    shop.write(*(shot(n, prompt=f"forbidden {n}") for n in (1, 2)), shot(3), shot(4))
    end = shop.run("--canary", "2", "--json").lines[-1]
    assert (end["event"], end["exit_code"], end["stop"], end["unsent"]) == ("end", 3, "canary", 2)
    assert end["message"] == "0 of 2 canary rows came back well"


def test_a_cap_is_the_folders_until_another_one_is_given(shop: Shop) -> None:
    shop.fill(6)
    assert shop.run("--max-cost", "0.40").code == Exit.BUDGET
    for flags in ([], ["-q"], ["--rows", "5"], ["--draft"]):
        assert shop.run(*flags).code == Exit.BUDGET
        assert len(shop.tasks()) == 2
    said = shop.plan()
    assert said.code == Exit.BUDGET
    assert "The earlier cap of $0.40 still applies" in said.out
    assert "given before" not in shop.plan("--max-cost", "5").out
    assert shop.run("--max-cost", "0.60").code == Exit.BUDGET
    assert shop.run().code == Exit.BUDGET
    assert len(shop.tasks()) == 3
    assert shop.run("--max-cost", "none", "--rows", "4").code == Exit.OK
    assert shop.run("--rows", "5-6").code == Exit.OK
    assert len(shop.tasks()) == 6


def test_a_cap_that_nothing_was_sent_under_holds_as_well(shop: Shop) -> None:
    shop.fill(2)
    with pricing(shop.service, 500, b"") as odd:
        run = ["run", "shots.csv", "--api-url", odd.api_url, *QUICK, "--out", str(shop.run_folder)]
        assert say(*run, "--yes", "--max-cost", "0.2").code == Exit.BUDGET
    assert shop.run("--out", str(shop.run_folder)).code == Exit.BUDGET
    assert len(shop.tasks()) == 1


def _age_kept_lists(shop: Shop, days: float) -> None:
    """As if the kept price list had been had so many days ago."""
    for path in (shop.folder.parent / "cache").rglob("prices-*.json"):
        kept = json.loads(path.read_text())
        path.write_text(json.dumps(kept | {"dated": time.time() - days * 86_400}))


@pytest.mark.more
def test_under_a_cap_a_list_kept_from_before_is_not_todays(shop: Shop) -> None:
    shop.fill(6)
    run = ["run", "shots.csv", "--yes", *QUICK, "--max-cost", "1.20"]
    with pricing(shop.service, 200, _model(base_usd_value="0.05")) as odd:
        run += ["--api-url", odd.api_url]
        assert "$1.20" in say("plan", "shots.csv", "--api-url", odd.api_url).out
        odd.list_away()
        _age_kept_lists(shop, days=1)
        assert "(kept copy)" in say("plan", "shots.csv", "--api-url", odd.api_url).out
        said = say(*run)
        assert said.code == Exit.BUDGET
        assert "a cap is not checked against a list that may be out of date" in said.err
        assert "--price-file" in said.err
        assert shop.tasks() == []
        _age_kept_lists(shop, days=0)
        assert say(*run).code == Exit.OK
    assert len(shop.tasks()) == 6


def test_what_is_under_way_is_seen_to_its_end_where_a_cap_lets_nothing_new_through(
    shop: Shop,
) -> None:
    shop.fill(1)
    with shop.service.having(generation_time="6"):
        assert shop.run("--wait", "0.5").code == Exit.UNFINISHED
    shop.fill(2)
    said = shop.run("--max-cost-per-row", "0.01")
    assert "No new row is sent" in said.err
    assert said.code == Exit.BUDGET
    assert shop.statuses() == ["done", "new"]
    assert len(shop.tasks()) == 1


def test_a_row_without_an_id_that_is_bought_again_for_another_setting_is_said(shop: Shop) -> None:
    rows = [{k: v for k, v in shot(n).items() if k != "id"} for n in (1, 2)]
    shop.write(*rows)
    assert shop.run().code == Exit.OK
    assert "an id column" not in shop.plan().out
    shop.write(rows[0], rows[1] | {"duration": 5})
    assert "1 new row repeats the prompt of a row that was made before" in shop.plan().out


def test_after_a_canary_nothing_is_bought_that_the_plan_did_not_show(shop: Shop) -> None:
    shop.fill(4)
    said = shop.run("--where", "status == 'new'", "--limit", "2", "--canary", "1")
    assert said.code == Exit.OK
    assert shop.statuses() == ["done", "done", "new", "new"]


@pytest.mark.slow
def test_a_canary_is_taken_from_what_fits_under_the_cap(shop: Shop) -> None:
    shop.write(shot(1, duration=10), shot(2), shot(3))
    assert shop.run("--max-cost", "0.6", "--canary", "1").code == Exit.BUDGET
    assert shop.prompts() == [shot(1)["prompt"]]


@pytest.mark.more
def test_a_canary_that_fails_is_not_bought_again_for_the_same_yes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fill(3)
    with shop.service.having(faults={"tasks": {"TASK_TIMEOUT": 1.0}}):
        assert shop.run().code == Exit.SOME_FAILED
        with terminal(monkeypatch, "y\n"):
            shop.run("--canary", "1", command="rerun")
    assert len(shop.tasks()) == 3 + 3


def test_a_canary_stays_within_the_cap(shop: Shop) -> None:
    shop.fill(4)
    said = shop.run("--canary", "2", "--max-cost", "0.3")
    assert said.code == Exit.BUDGET
    assert shop.charged() == ROW_COST
    assert "0.77" in said.hint


def test_a_lost_answer_is_settled_although_the_budget_is_used_up(shop: Shop) -> None:
    shop.fill(2)
    with shop.service.having(faults={"create": {"reset_after": 1.0}}):
        assert shop.run("--max-cost", "0.2", "--wait", "1").code == Exit.UNFINISHED
    assert shop.run("--max-cost", "0.2").code == Exit.BUDGET
    assert shop.statuses() == ["done", "new"]
    assert shop.charged() == ROW_COST
