"""A fifth of all answers goes wrong, in every way there is: every row finishes, paid once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.tables import Tell
from tests.rig import Bench

SHARE = 0.20
MOST_RETRIES = 0.35
"""Of the first tries."""

BEFORE = ("429", "503", "500", "502", "504", "408", "425", "reset", "stall", "html", "empty")
AFTER = ("500_after", "502_after", "504_after", "reset_after", "stall_after", "html_after",
         "empty_after", "cut", "processing")  # fmt: skip
LOOKS = (*BEFORE, "cut", "html_after", "empty_after")
FILES = ("403", "404", "416", "429", "500", "503", "reset", "cut", "short", "no_length",
         "wrong_length", "empty", "html", "no_moov", "stall")  # fmt: skip
ENVELOPES = ["doc", "hiapi_error", "invalid_request_error", "html", "empty"]


def faults() -> dict[str, Any]:
    """A fifth of the answers, spread evenly over all faults."""
    shares = {
        kind: dict.fromkeys(names, SHARE / len(names))
        for kind, names in (("create", BEFORE + AFTER), ("look", LOOKS), ("files", FILES))
    }
    waits = {"stall_seconds": 0.3, "processing_seconds": 0.5, "retry_after_seconds": 0.0}
    return {**shares, **waits, "envelopes": ENVELOPES}


SEED = 5
"""Of the sandbox: which answers go wrong is the same in every run."""


@pytest.mark.parametrize("rows", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_every_row_finishes_and_is_paid_once(
    rows: int, make_bench: Callable[..., Bench], tell: Tell
) -> None:
    bench = make_bench(rows)
    before = len(bench.service.requests("api", "POST"))
    bench.service.configure(faults=faults(), seed=SEED)
    ran = bench.forked("--downloads", "8", "-j", "40")
    again = [bench.forked().code for _ in range(3) if ran.code] if ran.code == 5 else []
    assert ran.code == 0 or 0 in again, ran.output
    bench.service.configure(faults={})
    assert bench.verdict(rows).holds
    ratio = retries(bench, rows, before)
    tell(f"mixed faults, {rows} rows", *(f"{k:<8} retries ÷ first tries {v:.2f}" for k, v in ratio))
    assert all(value <= MOST_RETRIES for _, value in ratio), ratio


def retries(bench: Bench, rows: int, creates_before: int) -> list[tuple[str, float]]:
    """Requests beyond the first of each, by kind."""
    creates = len(bench.service.requests("api", "POST")) - creates_before
    files = len(bench.file_requests())
    return [("creates", creates / rows - 1), ("files", files / rows - 1)]
