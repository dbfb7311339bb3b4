"""The durable record of attempts: SQLite in the run folder, one writer, commits in groups.

Intent is written before the deed and fact after it; what this file holds is what happened. It
decides nothing: states come from `seedance_batch.state`, and every sheet can be rebuilt from here.
"""

from seedance_batch.journal.journal import (
    Journal,
)
from seedance_batch.journal.opening import (
    SCHEMA_VERSION,
    connect_to_look,
    look_into,
    open_journal,
)
from seedance_batch.journal.operations import (
    add_attempts,
    add_blob,
    forget_planned,
    lost,
    put_blob,
    rekey,
    renew,
    run_closed,
    run_opened,
    save,
    set_meta,
    set_rows,
    set_sheet_hashes,
)

__all__ = [
    "SCHEMA_VERSION",
    "Journal",
    "add_attempts",
    "add_blob",
    "connect_to_look",
    "forget_planned",
    "look_into",
    "lost",
    "open_journal",
    "put_blob",
    "rekey",
    "renew",
    "run_closed",
    "run_opened",
    "save",
    "set_meta",
    "set_rows",
    "set_sheet_hashes",
]
