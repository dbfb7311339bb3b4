"""The list of commands, each imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

_WHERE: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("manifest", "Write a starter manifest to fill in."),
    "check": ("manifest", "Find a manifest's problems; sends nothing."),
    "plan": ("run", "Show what a run would do and cost; sends nothing."),
    "run": ("run", "Plan, ask, submit, watch, download, check; again: continue."),
    "rerun": ("run", "Make failed rows again."),
    "promote": ("run", "Make final clips of the drafts that were kept."),
    "status": ("folder", "Show how a run folder stands."),
    "fetch": ("folder", "Download paid clips that are missing; never submits."),
    "reconcile": ("folder", "Settle rows whose task may or may not exist."),
    "results": ("folder", "Write the sheets anew from the journal."),
    "report": ("folder", "Write the page to look at clips and choose."),
    "verify": ("folder", "Check the clips on disk again."),
    "prices": ("service", "Show the price list, its source and its date."),
    "doctor": ("service", "Look whether anything is off; free."),
    "schema": ("manifest", "Print the JSON Schema of YAML manifests."),
    "sandbox": ("service", "Serve the sandbox by itself."),
    "help": ("help", "Show the documentation, page by page."),
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
