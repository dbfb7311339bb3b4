"""The command line: arguments in, exit code out. Heavy modules are imported by the commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from seedance_batch.cli.config import defaults
from seedance_batch.cli.group import Commands
from seedance_batch.errors import (
    Exit,
    ManifestError,
    SeedanceBatchError,
    StorageFailed,
    UsageError,
    first_of,
)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try it for free: seedance-batch run manifests/storyboard.csv --sandbox",
)
@click.version_option(package_name="seedance-batch", message="%(prog)s %(version)s")
def cli() -> None:
    """Turn a spreadsheet of prompts into Seedance 2.0 videos, paying for every row once."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default) and return its exit code."""
    try:
        result = cli.main(
            args=None if argv is None else list(argv),
            prog_name="seedance-batch",
            standalone_mode=False,
            default_map=defaults(cli),
        )
        return int(result) if isinstance(result, int) else Exit.OK
    except BaseExceptionGroup as group:
        error = first_of(group)
        return _failed(error) if error is not None else _broken(group)
    except SeedanceBatchError as error:
        return _failed(error)
    except click.ClickException as error:
        return _failed(_usage(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return Exit.OK
    except OSError as error:  # this machine's files or sockets, whatever was being done
        return _failed(
            StorageFailed(
                f"{error}. Nothing more was sent; what was sent before is recorded.",
                hint="mend that, then run the same command again",
            )
        )
    except Exception as error:  # the last line of defence: a person gets a sentence
        return _broken(error)


def entry() -> None:
    """The console script."""
    sys.exit(main())


def _usage(error: click.ClickException) -> UsageError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "seedance-batch"
    return UsageError(error.format_message(), hint=f"{path} --help")


def _failed(error: SeedanceBatchError) -> int:
    from seedance_batch.overview import shown

    if isinstance(error, ManifestError):
        for problem in error.problems:
            click.echo(shown(problem), err=True)
    first, *more = error.message.splitlines()
    click.echo(f"error: {shown(first)}", err=True)
    for line in more:
        click.echo(shown(line), err=True)
    if error.hint:
        click.echo(f"hint: {shown(error.hint)}", err=True)
    return error.exit_code


def _broken(error: BaseException) -> int:
    from seedance_batch.cli.crash import keep_report

    where = keep_report(error)
    click.echo(
        f"error: something broke inside ({type(error).__name__}); what was sent is recorded in "
        "the journal, and the same command continues it.",
        err=True,
    )
    if where is not None:
        click.echo(f"hint: please report it with the details in {where}", err=True)
    return Exit.INTERNAL
