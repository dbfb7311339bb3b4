"""The command line: arguments in, exit code out. Heavy modules are imported by the commands."""

from __future__ import annotations

import difflib
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from seedance_batch.cli.config_file import asks_for_help, check_variables, defaults
from seedance_batch.core.text import redact, shown
from seedance_batch.errors import (
    Exit,
    ManifestError,
    SeedanceBatchError,
    SettingsError,
    StorageFailed,
    UsageError,
    first_of,
)
from seedance_batch.streams import speak_utf8, tell, unminded_output

if TYPE_CHECKING:
    from seedance_batch.core.manifest import Finding

# ── The list of commands, each imported only when it is asked for ─────────────────────────────────


_WHERE: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("preparing", "Write a starter manifest to fill in."),
    "check": ("preparing", "Find a manifest's problems; sends nothing."),
    "plan": ("run", "Show what a run would do and cost; sends nothing."),
    "run": ("run", "Plan, ask, submit, watch, download, check; again: continue."),
    "rerun": ("run", "Try failed rows again."),
    "promote": ("run", "Make final clips of the drafts that were kept."),
    "status": ("folder", "Show how a run folder stands."),
    "fetch": ("folder", "Download paid clips that are missing; never submits."),
    "reconcile": ("folder", "Settle rows whose task may or may not exist."),
    "results": ("folder", "Write the results sheets again."),
    "report": ("outputs", "Write the page to watch and choose clips."),
    "join": ("outputs", "Make one film of the clips."),
    "export": ("outputs", "Make a data set of the clips."),
    "verify": ("folder", "Check the downloaded clips."),
    "prices": ("preparing", "Show the price list, its source and its date."),
    "doctor": ("preparing", "Check the installation and the account; free."),
    "schema": ("preparing", "Print the JSON Schema of YAML manifests, or of --json."),
    "sandbox": ("preparing", "Serve the sandbox by itself."),
    "help": ("main", "Show the documentation, page by page."),
}


class Commands(click.Group):
    """A group that knows its commands' names and help without importing them."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click does; ``ctx.obj`` holds the words of the command that follows."""
        ctx.obj = tuple(ctx.args)
        return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a batch meets them."""
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the room that holds a command."""
        if cmd_name not in _WHERE:
            return None
        room, _ = _WHERE[cmd_name]
        module = import_module(f"seedance_batch.cli.{room}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with a line each."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in _WHERE.items()])


# ── Keeps the details of an internal error in a file, so that no traceback reaches a person ───────


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


# ── The command line: arguments in, exit code out. Heavy modules are imported by the commands ─────


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="To try: seedance-batch init shots.csv, then seedance-batch run shots.csv --sandbox",
)
@click.version_option(package_name="seedance-batch", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Turn a spreadsheet of prompts into Seedance 2.0 videos, paying for every row once."""
    command = context.invoked_subcommand
    if command is not None and command != "help":  # whoever mends a setting may read its page
        try:
            check_variables(cli, command, os.environ)
            context.default_map = {command: defaults(cli, command)}
        except SettingsError:
            if not asks_for_help(context, command):
                raise


_SEEN_THROUGH: Final = frozenset({"run", "rerun", "promote", "fetch"})
"""Commands that go on to their end, and to their own exit code, whoever stops reading."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default) and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not words:
        argv = words = ["--help"]
    with unminded_output() as out:
        try:
            result = cli.main(
                args=None if argv is None else words,  # click reads Windows' wildcards out of argv
                prog_name="seedance-batch",
                standalone_mode=False,
            )
            out.flush()
            if isinstance(out.fault, OSError) and _is_all(out.fault, words):
                raise out.fault
            return int(result) if isinstance(result, int) else Exit.OK
        except BaseException as error:
            return _ended(error, words)


def _is_all(fault: OSError, words: Sequence[str]) -> bool:
    """Whether output that got lost was all that a command was for, and somebody wanted it."""
    return _SEEN_THROUGH.isdisjoint(words[:1]) and not isinstance(fault, BrokenPipeError)


def _ended(error: BaseException, words: Sequence[str]) -> int:
    """Say why a command ended before its end, and return its exit code."""
    as_json = _asks_for_json(words)
    if as_json:
        speak_utf8()
    match error:
        case BaseExceptionGroup() if (found := first_of(error)) is not None:
            return _failed(found, as_json=as_json)
        case SeedanceBatchError():
            return _failed(error, as_json=as_json)
        case click.ClickException():
            return _failed(_usage(error), as_json=as_json)
        case KeyboardInterrupt() | click.Abort():
            return _interrupted(as_json=as_json)
        case OSError():  # this machine's files or sockets, whatever was being done
            return _failed(_refused(error, words), as_json=as_json)
        case Exception() | BaseExceptionGroup():  # the last line of defence: a sentence
            return _broken(error, as_json=as_json)
    raise error


def _refused(error: OSError, words: Sequence[str]) -> SeedanceBatchError:
    hint = "fix that, then run the same command again"
    if _SEEN_THROUGH.isdisjoint(words[:1]):
        return UsageError(f"{error}. Nothing was sent.", hint=hint)
    return StorageFailed(
        f"{error}. Nothing more was sent; what was sent before is recorded.", hint=hint
    )


def _asks_for_json(words: Sequence[str]) -> bool:
    # Also where the words make no sense otherwise, so that click has parsed none of them.
    return "--json" in words or os.environ.get(_JSON, "").casefold() in {"1", "true", "yes", "on"}


_JSON: Final = "SEEDANCE_BATCH_JSON"


def entry() -> None:
    """The console script."""
    # What is imported lives on. To search it for cycles as often as Python does, each 700 objects,
    # takes a tenth of a start.
    gc.set_threshold(10_000)
    sys.exit(main())


def _usage(error: click.ClickException) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "seedance-batch"
    return UsageError(error.format_message(), hint=f"{path} --help")


def _failed(error: SeedanceBatchError, *, as_json: bool) -> int:
    problems = error.problems if isinstance(error, ManifestError) else ()
    if as_json:
        _tell_error(error.exit_code, error.message, error.hint, problems)
    if problems:
        from seedance_batch.reader.read import grouped

        for problem in grouped(problems, numbered=True):
            click.echo(shown(problem), err=True)
    first, *more = error.message.splitlines()
    click.echo(f"error: {shown(first)}", err=True)
    for line in more:
        click.echo(shown(line), err=True)
    if error.hint:
        click.echo(f"hint: {shown(error.hint)}", err=True)
    return error.exit_code


def _tell_error(
    code: int, message: str, hint: str | None, problems: Sequence[Finding] = ()
) -> None:
    told = {"exit_code": int(code), "message": redact(message), "hint": hint}
    tell("error", told | {"problems": [each.as_json() for each in problems]})


def _interrupted(*, as_json: bool) -> int:
    if as_json:
        _tell_error(Exit.INTERRUPTED, "Interrupted.", None)
    click.echo("Interrupted.", err=True)
    return Exit.INTERRUPTED


def _broken(error: BaseException, *, as_json: bool) -> int:
    where = keep_report(error)
    message = (
        f"an internal error occurred ({type(error).__name__}); what was sent is recorded in "
        "the journal, and the same command continues it."
    )
    hint = None if where is None else f"please report it with the details in {where}"
    if as_json:
        _tell_error(Exit.INTERNAL, message, hint)
    click.echo(f"error: {message}", err=True)
    if hint is not None:
        click.echo(f"hint: {hint}", err=True)
    return Exit.INTERNAL


# ── ``help``: shows the documentation that comes with the program. Needs no network ───────────────


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
