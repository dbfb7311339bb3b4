"""Spells the command that leads on: what was typed, with what a hint changes. Runs nothing."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import click
from click.core import ParameterSource

from seedance_batch.errors import FolderMismatch, ManifestError

if TYPE_CHECKING:
    from seedance_batch.batch.batch import Batch
    from seedance_batch.batch.summary import Report
    from seedance_batch.core.attempt import Attempt
    from seedance_batch.core.steps import Plan

ALSO_AT_A_FOLDER: Final = frozenset({"api_url", "sandbox_config"})
"""Flags that a command on a run folder takes over."""
CHOICE: Final = frozenset({"rows", "ids", "where", "picks", "sample", "sample_seed", "limit"})
"""Flags that choose rows."""
_READING: Final = frozenset(
    "sheet visible encoding delimiter column_map overrides model allow_4k allow_mixed fix_mixed "
    "allow_outside max_body".split()
)
"""Flags by which a manifest is read: `check` has them too."""
_ONCE: Final = frozenset({"yes", "dry_run", "save"})
"""Flags that belong to the command that was given, not to one that follows it."""


class Changed(TypedDict, total=False):
    """What a hint may say otherwise than what was typed: parameters by name."""

    adopt: Sequence[str] | None
    again: bool
    by: str | None
    draft: bool
    draft_model: str | None
    dry_run: bool
    force: bool
    max_cost: Decimal
    max_cost_per_row: Decimal | None
    model: str | None
    out: str
    overrides: Sequence[str]
    picks: str
    plan_file: Path
    release: Sequence[str] | None
    remake: bool
    save: Path | None
    skip_missing: bool
    verbose: int
    yes: bool


def command_again(
    command: str | None = None,
    *,
    source: Path | str | None = None,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    **changed: Unpack[Changed],
) -> str:
    """The command line that is at work, shell-quoted, as a person would type it next.

    ``command`` and ``source`` replace its name and its manifest or folder; ``only`` and
    ``without`` name parameters to keep and to leave out; ``changed`` sets some anew.
    """
    from seedance_batch.batch.summary import relative

    context = click.get_current_context()
    words = ["seedance-batch", command or context.info_name or ""]
    for parameter in context.command.params:
        if isinstance(parameter, click.Argument):
            typed = context.params.get(parameter.name or "")
            words.append(str(typed) if source is None else relative(source))
    return as_typed([*words, *_flags(only, without, changed)])


def _flags(
    only: Collection[str] | None, without: Collection[str] = (), changed: Mapping[str, Any] = {}
) -> Iterator[str]:
    """What was typed beside the command and its arguments; see `command_again`."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if isinstance(parameter, click.Argument):
            continue
        if name in changed:
            yield from _flag(parameter, changed.get(name))
        elif was_typed(name) and name not in _ONCE and name not in without:
            if only is None or name in only:
                yield from _flag(parameter, context.params.get(name))


def as_typed(words: Sequence[str], *, windows: bool = os.name == "nt") -> str:
    """A command line as a person types it: Windows' shells know double quotes only, or both."""
    return subprocess.list2cmdline(words) if windows else shlex.join(words)


@contextlib.contextmanager
def or_elsewhere() -> Iterator[None]:
    """A run folder that is another's leads to the same command with one that is not; a manifest's
    problems lead to `check` with the flags by which it was read."""
    from seedance_batch.batch.summary import relative

    try:
        yield
    except ManifestError as error:
        if error.hint is not None and " seedance-batch check " in error.hint:
            error.hint = " ".join(filter(None, (error.hint, as_typed([*_flags(_READING)]))))
        raise
    except FolderMismatch as error:
        if error.free is not None:
            # In a folder where nothing was run nothing failed, and nothing was kept.
            first = click.get_current_context().info_name in {"rerun", "promote"}
            error.hint = command_again(
                "run" if first else None,
                source=error.manifest,
                without={"classes", "reasons", "force", "picks"} if first else (),
                out=relative(Path(error.free)),
            )
        raise


def was_typed(name: str) -> bool:
    """Whether a parameter stands on the command line, and not in a file or a variable."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def remember_as_typed(name: str, value: Any) -> None:
    """A parameter that came by another way, so that hints repeat it."""
    context = click.get_current_context()
    context.params[name] = value
    context.set_parameter_source(name, ParameterSource.COMMANDLINE)


def flag_of(name: str) -> str:
    """How a parameter of the command at work is spelt: ``--sheet``."""
    parameters = click.get_current_context().command.params
    return next(_spelling(each) for each in parameters if each.name == name)


def _spelling(parameter: click.Parameter) -> str:
    return next(text for text in reversed(parameter.opts) if text.startswith("--"))


def _flag(parameter: click.Parameter, value: Any) -> Iterator[str]:
    name = _spelling(parameter)
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
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else "none"
    return str(value)


# ── after a run ─────────────────────────────────────────────────────────────────────────────────


def next_command(batch: Batch, plan: Plan, report: Report) -> str | None:
    """The command that goes on from how a run ended; None where nothing is left to do."""
    from seedance_batch.batch.summary import kept_back
    from seedance_batch.core.outcome import STATUS_OF, Status, came_damaged
    from seedance_batch.events import Stop

    blocked = [s.attempt for s in report.left if s.attempt and not s.action.spends]
    statuses = {outcome.status for outcome in report.outcomes}
    statuses |= {STATUS_OF[attempt.state.phase] for attempt in blocked}
    if report.ending.stop is Stop.BUDGET:
        return command_again(max_cost=_enough(batch, plan))
    if report.ending.stop is Stop.DAY_BUDGET:
        return command_again()
    if report.ending.stop is Stop.ELSEWHERE:
        return f"check HIAPI_BASE_URL or --api-url, then: {command_again(without={'wait'})}"
    if any(a.id in plan.left_alone for a in blocked):
        return command_again(yes=True, without={"wait"})
    if Status.AMBIGUOUS in statuses or report.ending.forgotten:
        return command_again("reconcile", source=batch.folder.path, only=ALSO_AT_A_FOLDER)
    if report.ending.stop is Stop.FAILURES and Status.DOWNLOADING in statuses:
        return command_again("fetch", source=batch.folder.path, only=ALSO_AT_A_FOLDER)
    coming = statuses & {Status.SUBMITTING, Status.IN_FLIGHT, Status.DOWNLOADING}
    if coming or report.ending.stop not in {None, Stop.FAILURES, Stop.CANARY}:
        return command_again(without={"wait"})
    if Status.FAILED in statuses:
        return _after_failed_redo(plan, report) or _after_failures(batch, report, blocked)
    if Status.EXPIRED in statuses or any(map(came_damaged, report.outcomes)):
        return command_again("fetch", source=batch.folder.path, only=ALSO_AT_A_FOLDER)
    if Status.MEDIA_MISMATCH in statuses:
        return command_again("verify", source=batch.folder.path, only=()) + " --claims claims.csv"
    if report.ending.stop is Stop.FAILURES:
        return command_again("status", source=batch.folder.path, only=())
    if kept_back(plan):
        return command_again(remake=True, dry_run=True)
    return command_again() if any(step.action.spends for step in report.left) else None


def _enough(batch: Batch, plan: Plan) -> Decimal:
    """A cap for all that the same command would still do: what failed meanwhile counts twice."""
    from seedance_batch.batch.summary import lifetime_cost
    from seedance_batch.settings import NO_CAP

    left = batch.plan(rerun=plan.rerun, selected={step.key for step in plan.steps})
    costs = [cost for cost in map(lifetime_cost, (plan, left)) if cost is not None]
    return max(costs, default=NO_CAP)


def _after_failed_redo(plan: Plan, report: Report) -> str | None:
    """Where a take that was wished for failed: the same command, or with ``--force``."""
    from seedance_batch.core.attempt import Phase

    redo = plan.rerun.redo if plan.rerun else {}
    failed = [
        s.attempt.state.error_class
        for s in report.left
        if s.key in redo and s.attempt and s.attempt.state.phase is Phase.FAILED
    ]
    if not failed or plan.rerun is None:
        return None
    if any(found is not None and plan.rerun.takes(found) for found in failed):
        return command_again()
    return f"edit the row, or ask for the take again: {command_again(force=True)}"


def _after_failures(batch: Batch, report: Report, blocked: Sequence[Attempt]) -> str:
    from seedance_batch.core.attempt import mend, way_out
    from seedance_batch.core.outcome import Status
    from seedance_batch.core.steps import RerunChoice

    flags: Changed = {}
    if click.get_current_context().params.get("plan_file") is not None:
        flags = as_planned(batch)
    without = {"picks", "canary", "plan_file", "classes", "reasons", "force"}
    if any(outcome.status is Status.FAILED for outcome in report.outcomes):
        without.add("stale")  # it would leave the failed rows out again
    rerun = command_again("rerun", without=without, **flags)
    attempts = [*blocked, *(o.shown for o in report.outcomes if o.shown is not None)]
    failed = [attempt.state.error_class for attempt in attempts]
    if any(found is not None and RerunChoice().takes(found) for found in failed):
        return rerun
    for attempt in attempts:
        if mend(attempt):
            return f"{rerun} {way_out(attempt).removeprefix('rerun ')}"
    return f"edit the row, or make it again unchanged: {rerun} --force"


def as_planned(batch: Batch) -> Changed:
    """The flags that a saved plan brought along, to be typed where it is not."""
    from seedance_batch.batch.open import overrides_in

    return {
        "overrides": [f"{name}={value}" for name, value in overrides_in(batch.flags).items()],
        "model": batch.flags.get("model"),
        "draft": batch.settings.draft,
        "draft_model": batch.flags.get("draft_model"),
    }
