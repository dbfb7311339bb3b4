"""Spells the command that leads on: what was typed, with what a hint changes. Runs nothing."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Collection, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from seedance_batch.errors import FolderMismatch

if TYPE_CHECKING:
    from seedance_batch.batch import Batch, Report
    from seedance_batch.plan import Plan, RerunChoice

ALSO_AT_A_FOLDER: Final = frozenset({"api_url", "sandbox_config"})
"""Flags that a command on a run folder takes over."""
CHOICE: Final = frozenset({"rows", "ids", "where", "picks", "sample", "sample_seed", "limit"})
"""Flags that choose rows."""
_ONCE: Final = frozenset({"yes", "dry_run", "save"})
"""Flags that belong to the command that was given, not to one that follows it."""


def again(
    command: str | None = None,
    *,
    source: Path | None = None,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    **changed: Any,
) -> str:
    """The command line that is at work, shell-quoted, as a person would type it next.

    ``command`` and ``source`` replace its name and its manifest or folder; ``only`` and
    ``without`` name parameters to keep and to leave out; ``changed`` sets some anew.
    """
    from seedance_batch.batch.summing import relative

    context = click.get_current_context()
    words = ["seedance-batch", command or context.info_name or ""]
    flags: list[str] = []
    for parameter in context.command.params:
        name, value = parameter.name or "", context.params.get(parameter.name or "")
        if isinstance(parameter, click.Argument):
            words.append(str(value) if source is None else relative(source))
        elif name in changed:
            flags += _flag(parameter, changed[name])
        elif was_typed(name) and name not in _ONCE and name not in without:
            if only is None or name in only:
                flags += _flag(parameter, value)
    return shlex.join([*words, *flags])


@contextlib.contextmanager
def or_elsewhere() -> Iterator[None]:
    """A run folder that is another's leads to the same command with one that is not."""
    from seedance_batch.batch.summing import relative

    try:
        yield
    except FolderMismatch as error:
        if error.free is not None:
            # In a folder where nothing was run nothing failed, and nothing was kept.
            first = click.get_current_context().info_name in {"rerun", "promote"}
            error.hint = again(
                "run" if first else None,
                source=Path(error.manifest),
                without={"classes", "force", "picks"} if first else (),
                out=relative(Path(error.free)),
            )
        raise


def was_typed(name: str) -> bool:
    """Whether a parameter stands on the command line, and not in a file or a variable."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _flag(parameter: click.Parameter, value: Any) -> Iterator[str]:
    name = next(text for text in reversed(parameter.opts) if text.startswith("--"))
    if isinstance(value, bool):
        if value:
            yield name
        return
    if isinstance(parameter, click.Option) and parameter.count:
        yield from [name] * value
        return
    for part in value if isinstance(value, tuple | list) else (value,):
        if part is not None:
            yield from _pair(name, _text(name, part))


def _pair(name: str, text: str) -> tuple[str, ...]:
    return (f"{name}={text}",) if text.startswith("-") else (name, text)


def _text(name: str, value: Any) -> str:
    if name == "--concurrency" and value == 0:
        return "auto"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


# ── after a run ─────────────────────────────────────────────────────────────────────────────────


def next_command(
    batch: Batch, plan: Plan, report: Report, choice: RerunChoice | None
) -> str | None:
    """The command that goes on from how a run ended; None where nothing is left to do."""
    from seedance_batch.batch.summing import kept_back
    from seedance_batch.events import Stop
    from seedance_batch.outcome import Status, came_damaged

    statuses = {outcome.status for outcome in report.outcomes}
    if report.ending.stop is Stop.BUDGET:
        return again(max_cost=_enough(batch, plan, choice))
    if report.ending.stop is Stop.ELSEWHERE:
        return f"check HIAPI_BASE_URL or --api-url, then: {again(without={'wait'})}"
    if Status.AMBIGUOUS in statuses or report.ending.forgotten:
        return again("reconcile", source=batch.folder.path, only=ALSO_AT_A_FOLDER)
    if report.ending.stop is Stop.FAILURES and Status.DOWNLOADING in statuses:
        return again("fetch", source=batch.folder.path, only=ALSO_AT_A_FOLDER)
    coming = statuses & {Status.SUBMITTING, Status.IN_FLIGHT, Status.DOWNLOADING}
    if coming or report.ending.stop not in {None, Stop.FAILURES}:
        return again(without={"wait"})
    if Status.FAILED in statuses:
        return _after_failures(batch, report)
    if Status.EXPIRED in statuses or any(map(came_damaged, report.outcomes)):
        return again("fetch", source=batch.folder.path, only=ALSO_AT_A_FOLDER)
    if Status.MEDIA_MISMATCH in statuses:
        return again("verify", source=batch.folder.path, only=()) + " --claims claims.csv"
    if report.ending.stop is Stop.FAILURES:
        return again("status", source=batch.folder.path, only=())
    return again(remake=True, dry_run=True) if kept_back(plan) else None


def _enough(batch: Batch, plan: Plan, choice: RerunChoice | None) -> Decimal | None:
    """A cap for all that the same command would still do: what failed meanwhile counts twice."""
    from seedance_batch.batch.summing import lifetime_cost

    left = batch.plan(rerun=choice, selected={step.key for step in plan.steps})
    costs = [cost for cost in map(lifetime_cost, (plan, left)) if cost is not None]
    return max(costs, default=None)


def _after_failures(batch: Batch, report: Report) -> str:
    from seedance_batch.plan import RerunChoice

    flags: dict[str, Any] = {}
    if click.get_current_context().params.get("plan_file") is not None:
        flags = as_planned(batch)
    rerun = again("rerun", without={"picks", "canary", "plan_file", "classes", "force"}, **flags)
    failed = [o.shown.state.error_class for o in report.outcomes if o.shown is not None]
    if any(found is not None and RerunChoice().takes(found) for found in failed):
        return rerun
    return f"edit the row, or make it again unchanged: {rerun} --force"


def as_planned(batch: Batch) -> dict[str, Any]:
    """The flags that a saved plan brought along, to be typed where it is not."""
    from seedance_batch.batch.opening import overrides_in

    return {
        "overrides": [f"{name}={value}" for name, value in overrides_in(batch.flags).items()],
        "model": batch.flags.get("model"),
        "draft": batch.settings.draft,
    }
