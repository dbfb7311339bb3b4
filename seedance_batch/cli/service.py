"""Commands about the service itself: ``prices``, ``doctor`` and ``sandbox``."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from seedance_batch.cli import options as flags
from seedance_batch.errors import ApiUnreachable, Exit
from seedance_batch.sandbox.command import sandbox

__all__ = ["doctor", "prices", "sandbox"]


@click.command(epilog="Example: seedance-batch prices --sandbox")
@flags.API
@flags.JSON
def prices(**given: Any) -> int:
    """Show the price list of the API in use, its source and its date.

    A list of your own, for --price-file, is YAML in US dollars a second:

    \b
        per_second: {480p: 0.05, 720p: 0.11, 1080p: 0.24}
    """
    from seedance_batch.batch.prices import price_list
    from seedance_batch.overview import no_prices, price_note
    from seedance_batch.pricing.listing import listing, listing_object
    from seedance_batch.settings import public_access

    table = price_list(flags.run_settings(given), os.environ)
    if table is None:
        raise ApiUnreachable(
            no_prices(public_access(os.environ, given["api_url"]).base_url),
            hint="try again, or write a list of your own, as in: seedance-batch prices --help",
        )
    if given["as_json"]:
        click.echo(json.dumps(listing_object(table)))
        return Exit.OK
    for line in listing(table):
        click.echo(line)
    click.echo(price_note(table))
    return Exit.OK


@click.command(epilog="Example: seedance-batch doctor")
@flags.API
@flags.JSON
def doctor(**given: Any) -> int:
    """Look whether anything is off: key, prices, disk, fonts, SQLite. Free, changes nothing."""
    from seedance_batch.batch.doctor import examine, lines

    found = examine(flags.run_settings(given), os.environ)
    if given["as_json"]:
        for f in found:
            click.echo(json.dumps({"what": f.what, "ok": f.ok, "says": f.says}))
    else:
        for line in lines(found):
            click.echo(line)
    return Exit.OK if all(f.ok for f in found) else Exit.USAGE
