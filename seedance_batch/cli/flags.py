"""Flags that commands share, and how they become settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from seedance_batch.errors import EmptySelection, SettingsError, UsageError

if TYPE_CHECKING:
    from seedance_batch.core.select import Selection
    from seedance_batch.reader.source import ReadOptions
    from seedance_batch.settings import RunSettings

F = TypeVar("F", bound=Callable[..., Any])
CONSENT: Final = frozenset(
    {"--yes", "--again", "--force", "--remake", "--adopt", "--release", "--plan"}
)
"""Decisions about money (a saved plan is a yes): made on the command line or not at all, so that
none has a variable or a place in the config file."""


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """A click option with its ``SEEDANCE_BATCH_…`` variable."""
    flag = next(name for name in names if name.startswith("--")).split("/")[0]
    if flag not in CONSENT:
        attributes.setdefault("envvar", f"SEEDANCE_BATCH_{flag[2:].replace('-', '_').upper()}")
    return click.option(*names, **attributes)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, shown in this order."""

    def decorate(function: F) -> F:
        for add in reversed(options):
            function = add(function)
        return function

    return decorate


def usd(given: object) -> Decimal:
    """An amount of US dollars, exact and finite. Raises ``click.BadParameter``."""
    text = str(given)  # a number, where it comes from the config file
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        comma = re.fullmatch(r"\$?(\d+),(\d{1,2})", text)
        advice = f"; write {comma[1]}.{comma[2]}" if comma else ""
        raise click.BadParameter(f"{text!r} is no amount{advice}.")
    return amount


def cap(given: object) -> Decimal:
    """An amount of US dollars, or ``none`` for no cap. Raises ``click.BadParameter``."""
    from seedance_batch.settings import NO_CAP

    return NO_CAP if str(given).casefold() == "none" else usd(given)


def tasks_at_once(given: object) -> int:
    """A number of tasks; 0 stands for ``auto``. Raises ``click.BadParameter``."""
    text = str(given)
    if text == "auto":
        return 0
    if not text.isdecimal() or not int(text):
        raise click.BadParameter(f"{text!r} is neither a positive number nor auto.")
    return int(text)


_PATH = click.Path(path_type=Path)
MANIFEST = click.argument("manifest", metavar="MANIFEST", type=_PATH)
FOLDER = click.argument("folder", metavar="FOLDER", type=_PATH)

READING = together(
    option("--sheet", help="Sheet of the workbook; default: the first."),
    option("--encoding", hidden=True, help="Encoding of a text file; default: detected."),
    option("--delimiter", hidden=True, help="Delimiter of a CSV file; default: detected."),
    option("--map", "column_map", multiple=True, metavar="FIELD=HEADING",
           help="Say which column feeds a field."),
    option("--set", "overrides", multiple=True, metavar="FIELD=VALUE",
           help="Set a field in every row."),
    option("--model", hidden=True, help="Set the model of every row."),
    option("--allow-4k", is_flag=True, hidden=True,
           help="Allow resolution 4k, which is not documented."),
    option("--allow-mixed", is_flag=True, hidden=True,
           help="Allow frames and references in one row."),
    option("--allow-outside", is_flag=True, hidden=True,
           help="Allow media files outside the manifest's folder."),
    option("--max-body", type=click.IntRange(min=1), metavar="BYTES", hidden=True,
           help="Largest request body, media included; default: 10 MiB."),
)  # fmt: skip

ADDRESS = together(
    option("--sandbox", is_flag=True, help="Use the embedded sandbox: no key, no money."),
    option(
        "--sandbox-config",
        type=_PATH,
        metavar="FILE",
        help="Settings of the sandbox, faults included.",
    ),
    option("--api-url", metavar="URL", help="Use the API at this address."),
)
API = together(
    ADDRESS,
    option("--price-file", type=_PATH, metavar="FILE", help="Use the prices in this file."),
)

JSON = option("--json", "as_json", is_flag=True, help="Print JSON for programs, on stdout.")
REHEARSED = option("--sandbox", is_flag=True, help="Use the manifest's sandbox run folder.")
OUT = option("--out", type=_PATH, metavar="DIR", help="The run folder; default: runs/<name>.")

WAITING = together(
    option("--rpm", type=click.FloatRange(min=1), help="Requests per minute (60)."),
    option("--poll-interval", type=click.FloatRange(min=0.1), default=2.0, hidden=True,
           help="Shortest time between status checks, in seconds."),
    option("--downloads", type=click.IntRange(1, 16), default=4, hidden=True,
           help="Downloads at the same time."),
    option("--wait", type=click.FloatRange(min=0), help="Stop waiting after this many seconds."),
)  # fmt: skip
PACE = together(
    option("-j", "--concurrency", type=tasks_at_once, metavar="N|auto", default="10",
           show_default=True,
           help="Tasks at once; auto finds the limit."),
    WAITING,
)  # fmt: skip

MONEY = together(
    option("--max-cost", type=cap, metavar="USD|none",
           help="Never spend more than this on the run folder."),
    option("--max-cost-per-row", type=usd, metavar="USD",
           help="Never spend more than this on one row."),
    option("--max-failures", type=click.IntRange(min=0), metavar="N", default=10,
           show_default=True, help="Stop after N failures in a row; 0: never."),
    option("--canary", type=click.IntRange(min=1), metavar="N",
           help="Try the N cheapest rows before the others."),
    option("--draft", is_flag=True, help="Make cheap drafts: 480p, 4 s, no sound."),
    option("--remake", is_flag=True, help="Buy rows again that were made with other flags."),
    option("--again", is_flag=True, hidden=True,
           help="Buy rows even if they look bought elsewhere."),
)  # fmt: skip

SELECTION = together(
    option("--rows", metavar="1-20,57", help="Pick rows by number; the first row is 1."),
    option("--ids", metavar="A,B", help="Pick rows by id."),
    option("--where", metavar="EXPR", help="Pick rows by a condition: \"[Shot no.] == '4'\"."),
    option(
        "--from", "picks", type=_PATH, metavar="CSV", help="Pick the rows marked in a picks file."
    ),
    option("--sample", type=click.IntRange(min=1), metavar="N", help="Pick N rows at random."),
    option("--sample-seed", type=int, default=0, hidden=True, help="Seed of the random pick."),
    option("--limit", type=click.IntRange(min=1), metavar="N", help="Take only the first N rows."),
)

SAVED = together(
    option(
        "--save", type=_PATH, metavar="FILE", help="Save the plan, to run it later as approved."
    ),
    option("--plan", "plan_file", type=_PATH, metavar="FILE", help="Run this saved plan exactly."),
)

CLIPS = together(
    option("--name", default="{id}", show_default=True, metavar="PATTERN",
           help="File names of the clips."),
    option("--callback-url", metavar="URL", hidden=True,
           help="Public address that HiAPI calls when a clip is ready."),
    option("--callback-bind", metavar="HOST:PORT", hidden=True,
           help="Local address that receives those calls."),
)  # fmt: skip
OUTPUT = together(
    option("--storage", type=click.Choice(["temp", "persistent"]), hidden=True,
           help="How long HiAPI stores the clips."),
    CLIPS,
)  # fmt: skip

QUIET = together(
    option("-q", "--quiet", is_flag=True, help="Show less."),
    option("--no-progress", is_flag=True, help="Show no progress bars."),
)
TALK = together(
    option("-y", "--yes", is_flag=True, help="Approve new spending without asking."),
    option("-v", "--verbose", count=True, help="Show more detail."),
    QUIET,
)


def check_place(path: Path) -> None:
    """Raise `UsageError` where a file cannot be written for want of its folder."""
    if not path.parent.is_dir():
        raise UsageError(
            f"{path} cannot be written: the folder {path.parent} does not exist.",
            hint=f"mkdir -p {shlex.quote(str(path.parent))}",
        )


def run_settings(given: Mapping[str, Any]) -> RunSettings:
    """The settings in a command's parameters."""
    from seedance_batch.settings import RunSettings

    names = RunSettings.__dataclass_fields__.keys() & given.keys()
    chosen = {name: given[name] for name in names}
    if "concurrency" in chosen:
        chosen["concurrency"] = chosen["concurrency"] or None
    if "max_failures" in chosen:
        chosen["max_failures"] = chosen["max_failures"] or None
    return RunSettings(**chosen)


def read_options(given: Mapping[str, Any]) -> ReadOptions:
    """How the manifest is to be read, from a command's parameters."""
    from seedance_batch.core.model import Allow
    from seedance_batch.reader.source import ReadOptions

    plain = ReadOptions()
    return ReadOptions(
        sheet=given.get("sheet"),
        encoding=given.get("encoding"),
        delimiter=given.get("delimiter"),
        column_map=pairs("--map", given.get("column_map") or ()),
        model=given.get("model"),
        overrides=pairs("--set", given.get("overrides") or ()),
        allow=Allow(
            resolution_4k=bool(given.get("allow_4k")),
            mixed_references=bool(given.get("allow_mixed")),
        ),
        allow_outside=bool(given.get("allow_outside")),
        max_body=given.get("max_body") or plain.max_body,
    )


def selection(
    given: Mapping[str, Any], *, marks: Collection[str] | None = None, page: str | None = None
) -> Selection:
    """Which rows are meant. ``marks`` of a list of picks count; None means all that it names.

    ``page`` is the command that writes the page to choose on, for hints.
    """
    from seedance_batch.core.select import Selection

    ids = given.get("ids")
    picks = given.get("picks")
    from_ids = None if picks is None else picked(picks, marks, page)
    if given.get("plan_file") is not None:  # it brings its rows, whatever a file or variable says
        return Selection(from_ids=from_ids)
    return Selection(
        rows=given.get("rows"),
        ids=None if ids is None else [part.strip() for part in ids.split(",") if part.strip()],
        where=given.get("where"),
        from_ids=from_ids,
        sample=given.get("sample"),
        sample_seed=given.get("sample_seed") or 0,
        limit=given.get("limit"),
    )


def picked(path: Path, marks: Collection[str] | None, page: str | None) -> list[str]:
    """The ids in a list of picks that bear one of these marks; None means any but reject.

    Raises `EmptySelection` where there are none, and what `read_picks` does.
    """
    from seedance_batch.page.picks import EXPORT, Mark, read_picks

    hint = None if page is None else f"{EXPORT}: {page}"
    wanted = [Mark.KEEP, Mark.REDO, None] if marks is None else marks
    try:
        found = [pick.id for pick in read_picks(path) if pick.mark in wanted]
    except UsageError as error:
        error.hint = hint
        raise
    if not found:
        marked = f"row marked {' or '.join(marks)}" if marks else "row that is not marked reject"
        raise EmptySelection(f"{path} has no {marked}.", hint=hint)
    return found


def pairs(flag: str, given: tuple[str, ...]) -> dict[str, str]:
    """``name=value`` texts as a mapping."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SettingsError(f"{flag} {text!r} is not of the form name=value.")
        found[name.strip()] = value
    return found
