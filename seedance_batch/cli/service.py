"""Commands about the service itself: ``prices``, ``doctor`` and ``sandbox``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seedance_batch.cli import flags
from seedance_batch.errors import ApiUnreachable, Exit
from seedance_batch.streams import tell

if TYPE_CHECKING:
    from seedance_batch.sandbox.config import SandboxConfig
    from seedance_batch.sandbox.server import SandboxAddress

__all__ = ["doctor", "prices", "sandbox"]


@dataclass(frozen=True, kw_only=True)
class OfService(flags.Priced, flags.Json):
    """What ``prices`` takes."""


@flags.command(OfService, epilog="Example: seedance-batch prices --sandbox")
def prices(given: OfService) -> int:
    """Show the price list of the API in use, its source and its date.

    A list of your own, for --price-file, is YAML in US dollars a second:

    \b
        per_second: {480p: 0.05, 720p: 0.11, 1080p: 0.24}
    """
    from seedance_batch.batch.access import price_list
    from seedance_batch.core.overview import no_prices, price_note
    from seedance_batch.core.pricing import listing, listing_object
    from seedance_batch.settings import public_access

    table, absence = price_list(flags.run_settings(given), os.environ)
    if table is None:
        raise ApiUnreachable(
            no_prices(public_access(os.environ, given.api_url).base_url, absence),
            hint="try again, or write a list of your own, as in: seedance-batch prices --help",
        )
    if given.as_json:
        tell("prices", listing_object(table))
        return Exit.OK
    for line in listing(table):
        click.echo(line)
    click.echo(price_note(table))
    return Exit.OK


@dataclass(frozen=True, kw_only=True)
class Examining(OfService, flags.InStore):
    """What ``doctor`` takes."""


@flags.command(Examining, epilog="Example: seedance-batch doctor")
def doctor(given: Examining) -> int:
    """Check key, prices, disk, fonts and SQLite, and a store. Free; leaves a marker in that."""
    from seedance_batch.batch.preflight import diagnosis_lines, examine

    found = examine(flags.run_settings(given), os.environ)
    if given.as_json:
        for f in found:
            tell("diagnosis", {"what": f.what, "ok": f.ok, "message": f.says})
    else:
        for line in diagnosis_lines(found):
            click.echo(line)
    return Exit.OK if all(f.ok for f in found) else Exit.USAGE


# ── ``seedance-batch sandbox``: serves the sandbox alone and tells how to reach it ────────────────


F = TypeVar("F", bound=Callable[..., Any])


def _option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """A click option with a variable of its own: `SEEDANCE_BATCH_RPM` is no limit of a service."""
    flag = names[0].removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=f"SEEDANCE_BATCH_SANDBOX_{flag}", **attributes)


@click.command(epilog="Example: seedance-batch sandbox --port 8080 --state sandbox.db")
@_option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port of the API; 0 picks a free one."
)
@_option(
    "--files-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the clip files; 0 picks a free one.",
)
@_option("--host", default="127.0.0.1", show_default=True, help="Loopback address to bind.")
@_option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="Answer to this name too, for clients pointed here by name.",
)
@_option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    help="SQLite file for tasks, keys and ledger; default: memory.",
)
@_option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with settings and faults; flags override it.",
)
@_option("--rpm", type=click.IntRange(1), help="Limit of API requests per minute; default: none.")
@_option("--max-at-once", type=click.IntRange(0), help="Limit of unfinished tasks; default: none.")
@_option("--generation-time", help="Seconds, or lognormal:MEDIAN:SIGMA.  [default: 2.0]")
@_option("--speed", type=float, help="Make the service this many times faster.  [default: 1]")
@_option(
    "--clips", type=click.Choice(["full", "plain"]), help="plain: quick to render, without text."
)
@_option("--api-key", help="The only valid key; default: any that starts with sk-.")
@_option("--seed", type=int, help="Seed of faults and generation times.  [default: 0]")
@_option("--json", "as_json", is_flag=True, help="Print one JSON line with the URLs.")
def sandbox(
    port: int,
    files_port: int,
    host: str,
    host_names: tuple[str, ...],
    state: Path | None,
    config_file: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Serve a local stand-in for HiAPI: no key, no money, real MP4s. Ctrl-C ends it."""
    from seedance_batch.sandbox.answers import is_this_machine
    from seedance_batch.sandbox.config import SandboxConfigError
    from seedance_batch.sandbox.ledger import StateError
    from seedance_batch.sandbox.server import serve_forever

    if not is_this_machine(host):
        raise click.UsageError(
            f"{host} is not a loopback address; the sandbox serves only on those"
        )
    try:
        serve_forever(
            _config(config_file, settings),
            state=state,
            host="127.0.0.1" if host == "localhost" else host,
            port=port,
            files_port=files_port,
            host_names=host_names,
            announce=_tell_json if as_json else _tell,
        )
    except (SandboxConfigError, StateError, OSError) as error:
        raise click.UsageError(str(error)) from error


def _config(file: Path | None, settings: dict[str, Any]) -> SandboxConfig:
    from seedance_batch.sandbox.config import SandboxConfig, checked, load_config

    base = load_config(file) if file else SandboxConfig()
    given = {name: value for name, value in settings.items() if value is not None}
    return checked({**base.model_dump(exclude_unset=True), **given}, "options")


def _tell(address: SandboxAddress) -> None:
    click.echo(f"sandbox API    {address.api_url}")
    click.echo(f"sandbox files  {address.files_url}")
    click.echo(f"ledger         {address.api_url}/sandbox/ledger")
    click.echo(f"export HIAPI_BASE_URL={address.api_url} HIAPI_API_KEY={address.api_key}")


def _tell_json(address: SandboxAddress) -> None:
    urls = {"api_url": address.api_url, "files_url": address.files_url}
    tell("sandbox", urls | {"api_key": address.api_key})
