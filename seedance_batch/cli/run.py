"""``plan``, ``run``, ``rerun`` and ``promote``: from a manifest to clips, the price first."""

from __future__ import annotations

import os
from typing import Any

import click

from seedance_batch.cli import options as flags

_SHARED = flags.together(
    flags.MANIFEST,
    flags.API,
    flags.OUT,
    flags.MONEY,
    flags.SELECTION,
    flags.PACE,
    flags.OUTPUT,
    flags.SAVED,
    flags.READING,
    flags.JSON,
    flags.TALK,
)
_DRY_RUN = flags.option("--dry-run", is_flag=True, help="Only show the plan.")


@click.command(epilog="Example: seedance-batch plan shots.csv --max-cost 40 --save plan.json")
@_SHARED
def plan(**given: Any) -> int:
    """Show what a run of MANIFEST would do to each row, why, and for how much.

    Sends nothing and changes nothing. With --max-cost, exits 4 when the plan is dearer.
    """
    from seedance_batch.cli.planning import show

    return show(given, os.environ)


@click.command(epilog="Example: seedance-batch run manifests/storyboard.csv --sandbox")
@_SHARED
@_DRY_RUN
def run(**given: Any) -> int:
    """Turn the rows of MANIFEST into clips; the same command again continues.

    Shows the plan and its price, asks before new money is spent, and leaves clips and results
    sheets in runs/<name> beside the manifest. Nothing is ever paid for twice.
    """
    from seedance_batch.cli.planning import show
    from seedance_batch.cli.running import carry_out

    return show(given, os.environ) if given["dry_run"] else carry_out(given, os.environ)


@click.command(epilog="Example: seedance-batch rerun shots.csv --class transient")
@_SHARED
@flags.option("--class", "classes", multiple=True, help="Failed rows of this class only.")
@flags.option("--force", is_flag=True, help="Refused content too, unchanged.")
@_DRY_RUN
def rerun(**given: Any) -> int:
    """Make failed rows of MANIFEST again: new attempts, for new money.

    Takes transient failures; refused content needs an edit or --force; expired and media_mismatch
    rows were paid for, and need --class. With --from, makes new takes of the rows marked redo.
    """
    from seedance_batch.cli.planning import rerun_choice, show
    from seedance_batch.cli.running import carry_out

    choice = rerun_choice(given)
    if given["dry_run"]:
        return show(given, os.environ, marks={"redo"}, choice=choice)
    return carry_out(given, os.environ, marks={"redo"}, choice=choice)


@click.command(epilog="Example: seedance-batch promote runs/shots --from picks.csv")
@_SHARED
@_DRY_RUN
def promote(**given: Any) -> int:
    """Make final clips of the drafts marked keep in a list of picks.

    A final clip is a new generation and may differ from its draft, also where the row gives a
    seed, which is sent again.
    """
    from seedance_batch.cli.again import again, was_typed
    from seedance_batch.cli.planning import show
    from seedance_batch.cli.running import carry_out
    from seedance_batch.errors import UsageError

    if given["picks"] is None:
        raise UsageError(
            "promote needs a list of picks.",
            hint=again(picks="picks.csv"),
        )
    if given["draft"] and was_typed("draft"):
        raise UsageError("promote makes final clips; --draft is for run.")
    given["draft"] = False  # a config file's is for run
    click.echo("A final is a new generation, and may differ from its draft.", err=True)
    if given["dry_run"]:
        return show(given, os.environ, marks={"keep"})
    return carry_out(given, os.environ, marks={"keep"})
