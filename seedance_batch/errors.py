"""The exception tree: what can go wrong, and the exit code that each kind has.

::

    SeedanceBatchError            1  internal error, when nothing below fits
    ├── UsageError                2  nothing was sent
    │   ├── SettingsError            a flag, variable or config file that cannot be used
    │   ├── ManifestError            the manifest has problems; carries all of them
    │   ├── EmptySelection           no row matches what was asked for
    │   ├── ConsentNeeded            new money, and nobody said yes
    │   ├── FolderMismatch           the run folder belongs to another API or manifest
    │   ├── FolderMissing            there is no run folder here
    │   ├── FolderUnusable           the run folder or its journal cannot be opened or written
    │   ├── JournalUnreadable        a damaged journal, or one of a version unknown here
    │   └── StoreUnusable            the store's address, credentials or options cannot be used
    ├── RowsFailed                3  asked for with ``raise_for_exit`` only
    ├── BudgetExceeded            4  the cap would be passed, or no price is known for it
    ├── WorkUnfinished            5  paid work goes on; the same command continues it
    │   ├── StorageFailed            the disk refused a write; nothing more was sent
    │   └── StoreAway                the store does not answer, or no longer lets us in
    ├── AccountStopped            6  401, 402 or 403 from the API
    ├── FolderInUse               7  another process holds the run folder
    ├── PlanDrifted               8  manifest, prices or journal moved since the plan was saved
    └── ApiUnreachable            9  before anything was sent

A row that fails is an outcome, not an exception (exit 3 or 5, see ``core.outcome``).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from enum import IntEnum
from os import strerror
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from seedance_batch.core.manifest import Finding


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    SOME_FAILED = 3
    BUDGET = 4
    UNFINISHED = 5
    ACCOUNT = 6
    IN_USE = 7
    DRIFTED = 8
    UNREACHABLE = 9
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class SeedanceBatchError(Exception):
    """Base of all errors; ``hint`` is a command or a setting that leads on."""

    exit_code: ClassVar[Exit] = Exit.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SeedanceBatchError):
    """Something asked for cannot be done as asked; nothing was sent."""

    exit_code = Exit.USAGE


class SettingsError(UsageError):
    """A flag, an environment variable or the config file cannot be used."""


class ManifestError(UsageError):
    """The manifest has problems: ``problems`` holds all of them, each with its place."""

    def __init__(
        self, message: str, problems: Sequence[Finding], *, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class EmptySelection(UsageError):
    """No row matches the selection."""


class ConsentNeeded(UsageError):
    """The plan holds new money and nobody agreed to it."""


class FolderMismatch(UsageError):
    """The run folder belongs to another API or another manifest.

    ``free`` is a folder that does not, ``manifest`` what was to be run; ``-`` is standard input.
    """

    def __init__(self, message: str, *, free: str | None = None, manifest: str = "-") -> None:
        super().__init__(message, hint=None if free is None else f'pass out="{free}"')
        self.free = free
        self.manifest = manifest


class FolderMissing(UsageError):
    """There is no run folder where one is needed."""


class FolderUnusable(UsageError):
    """The disk refused before anything was sent: the run folder or its journal cannot be used."""


class JournalUnreadable(UsageError):
    """The journal is damaged or of an unknown version; it was left as it is."""


class StoreUnusable(UsageError):
    """The store's address, credentials or options cannot be used; nothing was sent."""


class RowsFailed(SeedanceBatchError):
    """Everything ended, and some rows failed, expired or are not what was asked for."""

    exit_code = Exit.SOME_FAILED


class BudgetExceeded(SeedanceBatchError):
    """The cap would be passed, or there is a cap and no known price."""

    exit_code = Exit.BUDGET


class WorkUnfinished(SeedanceBatchError):
    """Paid work is in flight, downloading or ambiguous."""

    exit_code = Exit.UNFINISHED


class StorageFailed(WorkUnfinished):
    """The disk refused a write; nothing was sent after that."""


class StoreAway(WorkUnfinished):
    """The store does not answer, or refused; what was to go there is safe in the run folder.

    ``refused`` where it answered: credentials, rights or a name are wrong, and time alone mends
    nothing.
    """

    def __init__(self, message: str, *, hint: str | None = None, refused: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.refused = refused


class AccountStopped(SeedanceBatchError):
    """The API refused the key, the balance or the permission."""

    exit_code = Exit.ACCOUNT


class FolderInUse(SeedanceBatchError):
    """Another process works in this run folder."""

    exit_code = Exit.IN_USE


class PlanDrifted(SeedanceBatchError):
    """What the saved plan was made from has changed since."""

    exit_code = Exit.DRIFTED


class ApiUnreachable(SeedanceBatchError):
    """The API could not be reached before anything was sent."""

    exit_code = Exit.UNREACHABLE


def first_of(group: BaseExceptionGroup[BaseException]) -> SeedanceBatchError | None:
    """The first of our errors in a group, however deep; None where there is none."""
    for error in group.exceptions:
        if isinstance(error, SeedanceBatchError):
            return error
        if isinstance(error, BaseExceptionGroup) and (found := first_of(error)) is not None:
            return found
    return None


# ── What is behind a network library's exception; knows none of the libraries ─────────────────────


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
            reason = strerror(at.errno or 0)
        at = _wrapped(at)
    return reason


def _wrapped(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    return error.__cause__ or error.__context__
