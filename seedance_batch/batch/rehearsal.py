"""Starts the embedded sandbox for a command, and stops it with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

from seedance_batch.errors import SettingsError
from seedance_batch.settings import Access


@contextlib.contextmanager
def sandbox(config: Path | None, state: Path | None) -> Iterator[Access]:
    """A running sandbox; its state lives in the run folder, so that a killed run continues.

    Raises `SettingsError` for a configuration that cannot be used.
    """
    from seedance_batch.sandbox.config import SandboxConfig, SandboxConfigError, load_config
    from seedance_batch.sandbox.server import running

    try:
        chosen = SandboxConfig() if config is None else load_config(config)
    except SandboxConfigError as error:
        raise SettingsError(f"The sandbox's configuration cannot be used: {error}") from error
    secret = chosen.webhook_secret or token_hex(32)
    chosen = chosen.model_copy(update={"webhook_secret": secret})
    with running(chosen, state=state) as address:
        yield Access(address.api_url, address.api_key, sandbox=True, webhook_keys=(secret,))
