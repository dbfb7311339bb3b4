"""``init``, ``check`` and ``schema``: about manifests alone; nothing is ever sent."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seedance_batch.cli import flags
from seedance_batch.core.text import some
from seedance_batch.errors import Exit, UsageError
from seedance_batch.streams import tell

if TYPE_CHECKING:
    from seedance_batch.core.manifest import Manifest
    from seedance_batch.core.pricing import PriceTable


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
    from seedance_batch.core.text import shown
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
    from seedance_batch.streams import speak_utf8

    found = output_schema() if what == "output" else manifest_schema()
    speak_utf8()
    click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    return Exit.OK
