"""``init``, ``check``, ``schema``, ``prices``, ``doctor``, ``sandbox``: they need no run folder."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seedance_batch.cli import flags
from seedance_batch.cli.outputs import until_ended
from seedance_batch.core.text import shown, some
from seedance_batch.errors import ApiUnreachable, Exit, UsageError
from seedance_batch.streams import speak_utf8, tell

if TYPE_CHECKING:
    from seedance_batch.core.manifest import Manifest
    from seedance_batch.core.pricing import PriceTable
    from seedance_batch.sandbox.config import SandboxConfig
    from seedance_batch.sandbox.server import SandboxAddress


@click.command(epilog="Example: seedance-batch init shots.xlsx frames")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("pictures", required=False, type=click.Path(path_type=Path))
def init(path: Path, pictures: Path | None) -> int:
    """Write a starter manifest: .csv, .yaml or .xlsx, with three rows to replace.

    With a folder of PICTURES it has one row for each picture, which begins with it.
    """
    from seedance_batch.cli.starter import write_starter

    if path.is_dir() and pictures is None:
        name = f"{path.resolve().name}.csv"
        words = ["seedance-batch", "init", str(path.parent / name), str(path)]
        raise UsageError(f"{path} is a folder: name the file to write.", hint=shlex.join(words))
    if path.exists():
        raise UsageError(f"{path} already exists; it was left unchanged.")
    flags.check_place(path)
    rows = write_starter(path, pictures)
    name = shlex.quote(str(path))
    if pictures is None:
        click.echo(f"Wrote {path}. Try it: seedance-batch run {name} --sandbox")
    else:
        count = some(rows, "row")
        click.echo(f"Wrote {path} with {count}. Fill in the prompts: seedance-batch check {name}")
    return Exit.OK


@dataclass(frozen=True, kw_only=True)
class Checking(flags.OfManifest, flags.Json):
    """What ``check`` takes."""

    strict: bool = flags.option("--strict", help="Treat warnings as problems.")
    net: bool = flags.option("--net", help="Also check each URL once, and the models' rules.")


@flags.command(Checking, epilog="Example: seedance-batch check shots.xlsx --sheet Final")
def check(given: Checking) -> int:
    """Find every problem in MANIFEST and name its cell. Sends nothing."""
    from seedance_batch.batch.open import read_source

    manifest = read_source(given.manifest, flags.read_options(given))
    if given.net:
        manifest = _looked_at(manifest)
    if given.as_json:
        found = [each.as_json() for each in manifest.findings]
        source = dict(manifest.source)
        tell("check", {"rows": len(manifest.jobs), "source": source, "findings": found})
    else:
        _show(manifest, strict=given.strict)
    refused = manifest.problems or (given.strict and manifest.warnings)
    return Exit.USAGE if refused else Exit.OK


def _looked_at(manifest: Manifest) -> Manifest:
    from seedance_batch.batch.preflight import look_at_addresses, rule_findings
    from seedance_batch.core.overview import Pace
    from seedance_batch.settings import DEFAULT_RPM, public_access

    access = public_access(os.environ)
    local, pace = access.private_files, Pace(10, DEFAULT_RPM)
    seen = look_at_addresses(manifest, allow_private=local, pace=pace)
    rules = rule_findings(manifest, access.base_url, _price_table())
    return replace(manifest, findings=(*manifest.findings, *seen, *rules))


def _price_table() -> PriceTable | None:
    """The list of the API in use; nobody needs it here where it does not come."""
    from seedance_batch.batch.access import price_list
    from seedance_batch.errors import SeedanceBatchError
    from seedance_batch.settings import RunSettings

    try:
        return price_list(RunSettings(), os.environ).table
    except SeedanceBatchError:
        return None


def _show(manifest: Manifest, *, strict: bool) -> None:
    from seedance_batch.core.manifest import Severity
    from seedance_batch.reader.read import grouped

    source = dict(manifest.source)
    kind = source.pop("format", "a table")
    click.echo(shown("; ".join([f"Read as {kind}", *(f"{k}: {v}" for k, v in source.items())])))
    for severity, word in ((Severity.RECEIPT, "read as"), (Severity.WARNING, "warning")):
        these = (f for f in manifest.findings if f.severity is severity)
        for line in grouped(these, numbered=True):
            click.echo(f"{word}: {shown(line)}")
    for line in grouped(manifest.problems, numbered=True):
        click.echo(shown(line), err=True)
    problems, warnings = len(manifest.problems), len(manifest.warnings) if strict else 0
    if problems or warnings:
        counts = [some(problems, "problem")] if problems else []
        counts += [some(warnings, "warning")] if warnings else []
        found = " and ".join(counts)
        click.echo(f"error: {manifest.path} has {found}; nothing was sent.", err=True)
    else:
        click.echo(f"{some(len(manifest.jobs), 'row')}, no problems.")


@click.command(epilog="Example: seedance-batch schema > manifest.schema.json")
@click.argument("what", type=click.Choice(["manifest", "output"]), default="manifest")
def schema(what: str) -> int:
    """Print the JSON Schema of YAML manifests, for editors; or that of all --json output."""
    from seedance_batch.cli.starter import manifest_schema, output_schema

    found = output_schema() if what == "output" else manifest_schema()
    speak_utf8()
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    return Exit.OK


# ── About the service itself: ``prices`` and ``doctor`` ───────────────────────────────────────────


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


def _option(name: str, **attributes: Any) -> Any:
    """An option with a variable of its own: `SEEDANCE_BATCH_RPM` is no limit of a service."""
    variable = name.removeprefix("--").replace("-", "_").upper()
    return flags.option(name, envvar=f"SEEDANCE_BATCH_SANDBOX_{variable}", **attributes)


# fmt: off


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What ``sandbox`` takes; what has the name of a field of `SandboxConfig` is one."""

    port: int = _option("--port", type=click.IntRange(0, 65535), default=0,
        help="Port of the API; 0 picks a free one.")
    files_port: int = _option("--files-port", type=click.IntRange(0, 65535), default=0,
        help="Port of the clip files; 0 picks a free one.")
    host: str = _option("--host", default="127.0.0.1", show_default=True,
        help="Loopback address to bind.")
    host_names: tuple[str, ...] = _option("--host-name", metavar="NAME",
        help="Answer to this name too, for clients pointed here by name.")
    state: Path | None = _option("--state", type=click.Path(dir_okay=False, path_type=Path),
        help="SQLite file for tasks, keys and ledger; default: memory.")
    config: Path | None = _option("--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="YAML file with settings and faults; flags override it.")
    rpm: int | None = _option("--rpm", type=click.IntRange(1),
        help="Limit of API requests per minute; default: none.")
    max_at_once: int | None = _option("--max-at-once", type=click.IntRange(0),
        help="Limit of unfinished tasks; default: none.")
    generation_time: str | None = _option("--generation-time",
        help="Seconds, or lognormal:MEDIAN:SIGMA.  [default: 2.0]")
    speed: float | None = _option("--speed", type=float,
        help="Make the service this many times faster.  [default: 1]")
    clips: str | None = _option("--clips", type=click.Choice(["full", "plain"]),
        help="plain: quick to render, without text.")
    api_key: str | None = _option("--api-key",
        help="The only valid key; default: any that starts with sk-.")
    seed: int | None = _option("--seed", type=int,
        help="Seed of faults and generation times.  [default: 0]")
    as_json: bool = _option("--json", help="Print one JSON line with the URLs.")


# fmt: on


@flags.command(Serving, epilog="Example: seedance-batch sandbox --port 8080 --state sandbox.db")
def sandbox(given: Serving) -> int:
    """Serve a local stand-in for HiAPI: no key, no money, real MP4s. Ctrl-C ends it."""
    from seedance_batch.sandbox.answers import is_this_machine
    from seedance_batch.sandbox.config import SandboxConfigError
    from seedance_batch.sandbox.ledger import StateError
    from seedance_batch.sandbox.server import running

    if not is_this_machine(given.host):
        raise click.UsageError(
            f"{given.host} is not a loopback address; the sandbox serves only on those"
        )
    try:
        with (
            until_ended() as wait,
            running(
                _config(given),
                state=given.state,
                host="127.0.0.1" if given.host == "localhost" else given.host,
                port=given.port,
                files_port=given.files_port,
                host_names=given.host_names,
            ) as address,
        ):
            (_tell_json if given.as_json else _tell)(address)
            wait()
    except (SandboxConfigError, StateError, OSError) as error:
        raise click.UsageError(str(error)) from error
    return Exit.OK


def _config(given: Serving) -> SandboxConfig:
    from seedance_batch.sandbox.config import SandboxConfig, checked, load_config

    base = load_config(given.config) if given.config else SandboxConfig()
    names = {each.name for each in fields(given)} & SandboxConfig.model_fields.keys()
    typed = {name: value for name in names if (value := getattr(given, name)) is not None}
    return checked({**base.model_dump(exclude_unset=True), **typed}, "options")


def _tell(address: SandboxAddress) -> None:
    click.echo(f"sandbox API    {address.api_url}")
    click.echo(f"sandbox files  {address.files_url}")
    click.echo(f"ledger         {address.api_url}/sandbox/ledger")
    click.echo(f"export HIAPI_BASE_URL={address.api_url} HIAPI_API_KEY={address.api_key}")


def _tell_json(address: SandboxAddress) -> None:
    urls = {"api_url": address.api_url, "files_url": address.files_url}
    tell("sandbox", urls | {"api_key": address.api_key})
