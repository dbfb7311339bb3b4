"""The config file: defaults for flags, below what the command line and the environment say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from seedance_batch.cli.options import CONSENT
from seedance_batch.errors import SettingsError

VARIABLE: Final = "SEEDANCE_BATCH_CONFIG"
_NOT_FOR: Final = frozenset({"sandbox"})
"""Commands without defaults: our request budget (``rpm``) is no limit of the service."""


def config_path() -> Path:
    """Where the config file lies, whether there is one or not."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path(click.get_app_dir("seedance-batch")) / "config.yaml"


def defaults(group: click.Group, command: str) -> dict[str, Any]:
    """click's ``default_map`` for one command, from the config file; empty where there is none.

    Raises `SettingsError` for a file that cannot be read, for a name that is no flag of any
    command, and for a value that a flag cannot have; consent is never a default.
    """
    path = config_path()
    if not os.path.isfile(path):  # noqa: PTH113 - a folder that may not be read holds none
        return {}
    values = _values(path)
    own = {} if command in _NOT_FOR else _flags(group, command)
    # The other commands are imported only for names that this one does not know.
    odd = values.keys() - own.keys()
    for name in group.list_commands(click.Context(group)) if odd else ():
        odd -= set() if name in _NOT_FOR else _flags(group, name).keys()
    if odd:
        names = ", ".join(sorted(odd))
        raise SettingsError(f"The config file {path} sets {names}, which is no flag.")
    chosen = {flag: value for flag, value in values.items() if flag in own and value is not None}
    return {str(own[f].name): _value(path, f, own[f], value) for f, value in chosen.items()}


def _values(path: Path) -> dict[str, Any]:
    """The config file's values by flag, with underscores."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, ValueError, yaml.YAMLError) as error:  # a date that is none is a ValueError
        raise SettingsError(f"The config file {path} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"The config file {path} is no mapping of flags to values.")
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def _flags(group: click.Group, command: str) -> dict[str, click.Option]:
    """A command's options by flag, in the config file's spelling, without those of consent."""
    found = group.get_command(click.Context(group), command)
    return {
        name[2:].replace("-", "_"): parameter
        for parameter in (found.params if found is not None else ())
        if isinstance(parameter, click.Option) and parameter.name
        for name in parameter.opts
        if name.startswith("--") and name not in CONSENT
    }


def _value(path: Path, flag: str, option: click.Option, value: Any) -> Any:
    """A value as the command line would have given it: text, a list of texts, or a switch."""
    if option.multiple:
        return [str(each) for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, list | dict):
        raise SettingsError(f"The config file {path} gives {flag} more than one value.")
    return value if isinstance(value, bool) else str(value)
