"""The config file: defaults for flags, below what the command line and the environment say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from seedance_batch.errors import SettingsError

VARIABLE: Final = "SEEDANCE_BATCH_CONFIG"
_CONSENT: Final = frozenset({"yes", "force", "remake"})


def config_path() -> Path:
    """Where the config file lies, whether there is one or not."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path(click.get_app_dir("seedance-batch")) / "config.yaml"


def defaults(group: click.Group) -> dict[str, Any]:
    """click's ``default_map`` from the config file; empty where there is none.

    Raises `SettingsError` for a file that cannot be read, and for a name that is no flag; consent
    is never a default.
    """
    path = config_path()
    if not os.path.isfile(path):  # noqa: PTH113 - a folder that may not be read holds none
        return {}
    from seedance_batch.settings import config_defaults

    values = config_defaults(path)
    context = click.Context(group)
    found: dict[str, dict[str, Any]] = {}
    known: set[str] = set()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        flags = _flags(command) if command is not None else {}
        known |= flags.keys()
        found[name] = {flags[flag]: value for flag, value in values.items() if flag in flags}
    odd = sorted(values.keys() - known)
    if odd:
        raise SettingsError(f"The config file {path} sets {', '.join(odd)}, which is no flag.")
    return found


def _flags(command: click.Command) -> dict[str, str]:
    """Flag, in the config file's spelling → parameter, without those that are consent."""
    return {
        name[2:].replace("-", "_"): parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name
        for name in parameter.opts
        if name.startswith("--") and name[2:] not in _CONSENT
    }
