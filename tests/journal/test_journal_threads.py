"""What was committed is seen at once, whatever other threads are reading."""

from __future__ import annotations

import threading
from pathlib import Path

from seedance_batch.core.attempt import Kind
from seedance_batch.journal.opening import open_journal
from seedance_batch.journal.records import Facts, KindFacts, set_facts, set_kind_facts


def test_a_commit_is_seen_by_the_next_read_although_others_are_reading(tmp_path: Path) -> None:
    done = threading.Event()
    with open_journal(tmp_path / "journal.db") as journal:
        flags = {f"order {n}": {"set prompt": "x" * 500} for n in range(3_000)}
        journal.write(set_kind_facts(Kind.FINAL, KindFacts(made_with=flags)))

        def read_on() -> None:
            while not done.is_set():
                journal._read("SELECT * FROM meta")

        others = [threading.Thread(target=read_on) for _ in range(2)]
        for other in others:
            other.start()
        try:
            for n in range(30):
                journal.write(set_facts(Facts(origin=str(n))))
                assert journal.facts().origin == str(n)
        finally:
            done.set()
            for other in others:
                other.join()
