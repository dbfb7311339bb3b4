"""Clips from URLs to checked files: stream to ``.partial/``, verify, publish; never half a file.

Holds no key, knows no HiAPI URL and no journal. What a row does next is the caller's decision.
"""

from seedance_batch.download.client import file_client
from seedance_batch.download.downloader import Downloader, in_threads
from seedance_batch.download.look import look_at
from seedance_batch.download.partial import files_on_disk, move_aside, sweep
from seedance_batch.download.results import Failed, Fetched, Gone, Limits, NoFrame, Result, Wrong
from seedance_batch.download.transfer import Offload

__all__ = [
    "Downloader",
    "Failed",
    "Fetched",
    "Gone",
    "Limits",
    "NoFrame",
    "Offload",
    "Result",
    "Wrong",
    "file_client",
    "files_on_disk",
    "in_threads",
    "look_at",
    "move_aside",
    "sweep",
]
