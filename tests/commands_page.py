"""Writes ``docs/commands.md`` from the commands themselves: ``python -m tests.commands_page``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import click

from seedance_batch.cli.main import cli

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"
HEAD = """# Commands: every one with every flag

Also the flags that `--help` leaves out to fit one screen; they are marked ·.
"""


def page() -> str:
    """The page as it should be."""
    context = click.Context(cli, info_name="seedance-batch")
    names = cli.list_commands(context)
    return "\n".join([HEAD, *(_section(context, name) for name in names)])


def _section(parent: click.Context, name: str) -> str:
    command = cli.get_command(parent, name)
    if command is None:
        raise LookupError(name)
    context = click.Context(command, parent, info_name=name)
    lines = [f"## {name}", "", *_paragraphs(command.help or ""), f"    {_usage(context)}", ""]
    options = [p for p in command.params if isinstance(p, click.Option)]
    if options:
        lines += ["| flag | |", "|---|---|", *(_flag(option, context) for option in options), ""]
    return "\n".join(lines)


def _usage(context: click.Context) -> str:
    return " ".join([context.command_path, *context.command.collect_usage_pieces(context)])


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield " ".join(paragraph.replace("\b", "").split())
        yield ""


def _flag(option: click.Option, context: click.Context) -> str:
    shown = copy.copy(option)
    shown.hidden = False
    names, help = shown.get_help_record(context) or ("", "")
    if not help:
        raise ValueError(f"{context.command_path} {names} has no help")
    cells = f"`{names}`{' ·' if option.hidden else ''}", " ".join(help.split())
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
