"""A batch from end to end: all that the command line and the library do."""

from seedance_batch.batch.batch import Batch
from seedance_batch.batch.opening import (
    open_batch,
    open_plan,
    read_source,
    rerun_choice,
)
from seedance_batch.batch.running import Report, run_batch
from seedance_batch.batch.summing import work_in

__all__ = [
    "Batch",
    "Report",
    "open_batch",
    "open_plan",
    "read_source",
    "rerun_choice",
    "run_batch",
    "work_in",
]
