"""What is behind a network library's exception; knows none of the libraries."""

from __future__ import annotations

import errno
import os


def root_reason(error: BaseException) -> str:
    """What is behind a foreign exception, in the system's words where the system refused.

    Libraries wrap what happened: *all connection attempts failed* says less than *too many open
    files*.
    """
    reason = str(error) or type(error).__name__
    at: BaseException | None = error
    while at is not None:
        # The numbers of TLS are OpenSSL's. By name: to import ssl takes longer than all this.
        if isinstance(at, OSError) and at.errno in errno.errorcode and type(at).__module__ != "ssl":
            reason = os.strerror(at.errno or 0)
        at = _wrapped(at)
    return reason


def _wrapped(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    return error.__cause__ or error.__context__
