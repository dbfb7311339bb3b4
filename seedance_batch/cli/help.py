"""``help``: shows the documentation that comes with the program. Needs no network."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import cast

import click

from seedance_batch.errors import UsageError


@click.command(epilog="Example: seedance-batch help producers")
@click.argument("topic", required=False)
@click.pass_context
def help(context: click.Context, topic: str | None) -> None:
    """Show a page of the documentation; without a TOPIC, list the pages.

    The name of a command shows the command's own --help.
    """
    found = pages()
    if topic is None:
        click.echo(_listed(found))
    elif topic in found:
        click.echo_via_pager(_text(found[topic]))
    else:
        click.echo(_help_of(context, topic, [*found]))


def pages() -> dict[str, Path]:
    """The pages by topic, sorted."""
    return {path.stem: path for path in sorted(_folder().glob("*.md"))}


def _folder() -> Path:
    """In the package where pip has unpacked it; beside the package in a checkout."""
    package = Path(__file__).parent.parent
    packed = package / "docs"
    return packed if packed.is_dir() else package.parent / "docs"


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _listed(found: dict[str, Path]) -> str:
    formatter = click.HelpFormatter(width=100)
    with formatter.section("Topics"):
        formatter.write_dl([(topic, _title(page)) for topic, page in found.items()])
    return formatter.getvalue() + "\nseedance-batch help TOPIC shows one of them."


def _title(page: Path) -> str:
    return _text(page).partition("\n")[0].removeprefix("# ")


def _help_of(context: click.Context, name: str, topics: list[str]) -> str:
    """What ``--help`` of a command says. Raises `UsageError` where there is no such command."""
    root = context.find_root()
    group = cast(click.Group, root.command)
    command = group.get_command(root, name)
    if command is None:
        raise _unknown(name, [*topics, *group.list_commands(root)])
    return command.get_help(click.Context(command, parent=root, info_name=name))


def _unknown(name: str, known: list[str]) -> UsageError:
    close = difflib.get_close_matches(name.casefold(), known, n=1)
    sentence = f"There is no topic and no command {name!r}"
    if close:
        meant = f"seedance-batch help {close[0]}"
        return UsageError(f"{sentence}; did you mean {close[0]}?", hint=meant)
    return UsageError(f"{sentence}.", hint="seedance-batch help")
