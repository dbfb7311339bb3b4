"""Keeps the details of an internal error in a file, so that no traceback reaches a person."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path

from seedance_batch.redact import redact


def keep_report(error: BaseException) -> Path | None:
    """Write the traceback, without secrets, to a private file; None where that fails too."""
    text = redact("".join(traceback.format_exception(error)))
    try:
        descriptor, name = tempfile.mkstemp(prefix="seedance-batch-error-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        return Path(name)
    except OSError:
        return None
