"""The quick benches, as assertions; ``python -m tests.benchmarks`` prints the whole table."""

from __future__ import annotations

import pytest

from . import cases
from .cases import Bench

QUICK = [
    cases.ten_slots(rows=60),
    cases.ten_slots_called_back(rows=40),
    cases.outage(rows=20),
]


def held(bench: Bench) -> None:
    found, checks = bench.run()
    missed = [str(check) for check in checks if not check.passed]
    assert not missed, f"{bench.name}\n{found}\n" + "\n".join(missed)


@pytest.mark.cases(1)
@pytest.mark.parametrize("bench", QUICK, ids=lambda bench: bench.name)
def test_a_run_is_as_fast_as_the_account_allows(bench: Bench) -> None:
    held(bench)


@pytest.mark.slow
@pytest.mark.parametrize("bench", list(cases.all_benches()), ids=lambda bench: bench.name)
def test_the_whole_table_is_reached(bench: Bench) -> None:
    held(bench)
