"""Defaults for flags from the config file, and the variables that no flag has."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from seedance_batch.core.text import with_commas
from seedance_batch.errors import SettingsError

CONSENT: Final = frozenset(
    {"--yes", "--again", "--force", "--remake", "--adopt", "--release", "--plan"}
)
"""Decisions about money (a saved plan is a yes): made on the command line or not at all, so that
none has a variable or a place in the config file."""
VARIABLE: Final = "SEEDANCE_BATCH_CONFIG"
_PREFIX: Final = "SEEDANCE_BATCH_"
_NOT_FOR: Final = frozenset({"sandbox"})
"""Commands without defaults: our request budget (``rpm``) is no limit of the service."""
_JOINED: Final = frozenset({"--ids", "--rows"})
"""Flags that take several with commas between them: in the file, a list."""
_NEAR: Final = 0.75
"""How alike, of 1, a name is to one that may have been meant."""


def defaults(group: click.Group, command: str) -> dict[str, Any]:
    """click's ``default_map`` for one command, from the config file; empty where there is none.

    Raises `SettingsError` for a file that cannot be read or is not where `VARIABLE` says, for a
    name that is no flag of any command, and for a value that a flag cannot have; consent is never
    a default.
    """
    path = _config_path()
    text = _text_of(path)
    values = {} if text is None else _values(path, text)
    own = {} if command in _NOT_FOR else _flags(group, command)
    # The other commands are imported only for names that this one does not know.
    if any(_plain(name) not in own for name in values):
        with_defaults = [n for n in group.list_commands(click.Context(group)) if n not in _NOT_FOR]
        known = {flag for name in with_defaults for flag in _flags(group, name)}
        odd = [name for name in values if _plain(name) not in known]
        if odd:
            raise SettingsError("\n".join(_no_flag(path, name, known) for name in odd))
    chosen = {_plain(n): v for n, v in values.items() if _plain(n) in own}
    return {str(own[f].name): _value(path, f, own[f], value) for f, value in chosen.items()}


def check_variables(group: click.Group, command: str, environ: Mapping[str, str]) -> None:
    """Raise `SettingsError` for a ``SEEDANCE_BATCH_…`` that no command reads.

    A cap in a misspelled variable would be no cap.
    """
    given = {name for name, value in environ.items() if value and _is_ours(name)}
    odd = given - {VARIABLE} - set(_variables(group, command))
    if not odd:
        return
    names = group.list_commands(click.Context(group))
    known = {VARIABLE, *(variable for name in names for variable in _variables(group, name))}
    for name in sorted(odd - known):
        raise _no_variable(name, known)


def asks_for_help(context: click.Context, command: str) -> bool:
    """Whether a command's words hold ``--help``, and not as the value of another flag."""
    found = context.command
    subcommand = found.get_command(context, command) if isinstance(found, click.Group) else None
    if subcommand is None:
        return False
    own = click.Context(subcommand, parent=context)
    option = subcommand.get_help_option(own)
    with contextlib.suppress(click.ClickException):
        given, _, _ = subcommand.make_parser(own).parse_args(list(context.obj))
        return option is not None and option.name in given
    return False


# ── the file ────────────────────────────────────────────────────────────────────────────────────


def _config_path() -> Path:
    """Where the config file lies, whether there is one or not."""
    import platformdirs

    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    return platformdirs.user_config_path("seedance-batch", appauthor=False) / "config.toml"


def _text_of(path: Path) -> str | None:
    """The file's text; None where there is none and nobody named one."""
    named = bool(os.environ.get(VARIABLE))
    try:
        return path.read_text(encoding="utf-8-sig")  # as Windows' editors write
    except (FileNotFoundError, NotADirectoryError) as error:
        if not named:
            _refuse_former(path.with_suffix(".yaml"))
            return None
        raise SettingsError(
            f"There is no config file {path}, which {VARIABLE} names.", hint=f"unset {VARIABLE}"
        ) from error
    except OSError as error:
        hint = f"unset {VARIABLE}" if named else f"export {VARIABLE}={os.devnull}"
        reason = error.strerror or error
        raise SettingsError(
            f"The config file {path} cannot be read: {reason}", hint=hint
        ) from error
    except ValueError as error:
        raise SettingsError(f"The config file {path} is not UTF-8 text.") from error


def _refuse_former(path: Path) -> None:
    """A cap in a file that is read no longer would be no cap."""
    if path.is_file():
        raise SettingsError(
            f"{path} is no longer read: a config file is now TOML, as in: max-cost = 40",
            hint=f"mv {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.toml')))}",
        )


def _values(path: Path, text: str) -> dict[str, Any]:
    """The config file's values by flag, as it spells them."""
    import tomllib

    try:
        values = tomllib.loads(text, parse_float=str)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{_place(path, error)} is not TOML, as in: max-cost = 40") from error
    plain = [_plain(name) for name in values]
    for name in values:
        if plain.count(_plain(name)) > 1:
            raise SettingsError(f"The config file {path} sets {name} twice, with two spellings.")
    return values


def _place(path: Path, error: Exception) -> str:
    """The file and, where the error tells it, its line."""
    line = re.search(r"line (\d+)", str(error))
    return f"The config file {path}{f', line {line[1]},' if line else ''}"


def _value(path: Path, flag: str, option: click.Option, value: Any) -> Any:
    """A value as the command line would have given it: text, a list of texts, or a switch."""
    if option.multiple:
        if isinstance(value, dict) and "=" in (option.metavar or ""):
            return [f"{name}={_text(path, flag, each)}" for name, each in value.items()]
        return [_text(path, flag, each) for each in (value if isinstance(value, list) else [value])]
    if isinstance(value, list) and _JOINED & set(option.opts):
        return with_commas(_text(path, flag, each) for each in value)
    return value if isinstance(value, bool) else _text(path, flag, value)


def _text(path: Path, flag: str, value: Any) -> str:
    if isinstance(value, list | dict):
        raise SettingsError(f"The config file {path} gives {flag} more than one value.")
    return str(value).lower() if isinstance(value, bool) else str(value)


# ── names ───────────────────────────────────────────────────────────────────────────────────────


def _plain(name: str) -> str:
    """A flag's name in the one spelling by which names are compared."""
    return name.replace("-", "_")


def _options(group: click.Group, command: str) -> Iterator[click.Option]:
    found = group.get_command(click.Context(group), command)
    for parameter in found.params if found is not None else ():
        if isinstance(parameter, click.Option) and parameter.name:
            yield parameter


def _flags(group: click.Group, command: str) -> dict[str, click.Option]:
    """A command's options by flag, in the plain spelling, without those of consent."""
    return {
        _plain(name[2:]): option
        for option in _options(group, command)
        for name in option.opts
        if name.startswith("--") and name not in CONSENT
    }


def _variables(group: click.Group, command: str) -> Sequence[str]:
    """The variables that a command reads."""
    return [str(option.envvar) for option in _options(group, command) if option.envvar]


def _is_ours(name: str) -> bool:
    return name.upper().startswith(_PREFIX)


_CONSENT: Final = {_plain(flag[2:]): flag for flag in CONSENT}


def _no_flag(path: Path, name: str, known: Collection[str]) -> str:
    near = _nearest(_plain(name), {*known, *_CONSENT})
    if near in _CONSENT:
        flag = _CONSENT[near]
        return f"The config file {path} sets {name}: {flag} can only be given on the command line."
    sentence = f"The config file {path} sets {name}, which is not a flag"
    return f"{sentence}." if near is None else f"{sentence}; did you mean {near.replace('_', '-')}?"


def _no_variable(name: str, known: Collection[str]) -> SettingsError:
    # The value is not shown: it may be a key that was meant for another variable.
    by_flag = {variable.removeprefix(_PREFIX).lower(): variable for variable in known}
    near = _nearest(name[len(_PREFIX) :].lower(), {*by_flag, *_CONSENT})
    if near is None:
        return SettingsError(f"No command reads the variable {name}.", hint=f"unset {name}")
    if near in _CONSENT:
        return SettingsError(
            f"No command reads the variable {name}: {_CONSENT[near]} can only be given on the "
            "command line.",
            hint=f"unset {name}",
        )
    meant = by_flag[near]
    return SettingsError(
        f"No command reads the variable {name}; did you mean {meant}?",
        hint=f'export {meant}="${name}"; unset {name}',
    )


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that may have been meant; underscores do not count."""
    bare = {each.replace("_", ""): each for each in sorted(known)}
    close = difflib.get_close_matches(name.replace("_", ""), bare, n=1, cutoff=_NEAR)
    return bare[close[0]] if close else None
