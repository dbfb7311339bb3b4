"""Flags: what a command takes, as frozen dataclasses that click's parameters fill once."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from seedance_batch.cli.config_file import CONSENT
from seedance_batch.errors import SettingsError, UsageError
from seedance_batch.streams import speak_utf8

if TYPE_CHECKING:
    from seedance_batch.clips.kept import Hands, KeptClips
    from seedance_batch.core.select import Selection
    from seedance_batch.page.marks import Pick
    from seedance_batch.reader.source import ReadOptions
    from seedance_batch.settings import RunSettings

G = TypeVar("G")

# ── A class is what a command takes, and each field of it is a flag ──────────────────────────────


def option(*names: str, **attributes: Any) -> Any:
    """A field that is a click option, with its ``SEEDANCE_BATCH_…`` variable."""
    flag = next(name for name in names if name.startswith("--"))
    if flag not in CONSENT:
        attributes.setdefault("envvar", f"SEEDANCE_BATCH_{flag[2:].replace('-', '_').upper()}")
    return field(metadata={"option": (names, attributes)})


def argument(metavar: str, *, optional: bool = False, many: bool = False) -> Any:
    """A field that is a click argument: a path; None for an optional one that is left out.

    ``many`` makes it a tuple of paths.
    """
    count = -1 if many else 1
    return field(metadata={"argument": metavar, "required": not optional, "count": count})


def command(given: type[G], *, epilog: str) -> Callable[[Callable[[G], int]], click.Command]:
    """Make a command of a function of one ``given``, a class of flags."""

    def decorate(function: Callable[[G], int]) -> click.Command:
        return click.Command(
            function.__name__,
            params=[_parameter(each) for each in _in_order(given)],
            callback=lambda **values: function(given(**values)),
            help=function.__doc__,
            epilog=epilog,
        )

    return decorate


def _in_order(given: type) -> list[Field[Any]]:
    """The fields as ``--help`` lists them: the class's own come first, then each base's."""
    inherited = [each for b in given.__bases__ if is_dataclass(b) for each in _in_order(b)]
    return [each for each in fields(given) if each not in inherited] + inherited


def _parameter(flag: Field[Any]) -> click.Parameter:
    """A field as click has it, under the field's own name."""
    if "argument" in flag.metadata:
        return _Argument(
            [flag.name],
            metavar=flag.metadata["argument"],
            type=_Source(path_type=Path),
            required=flag.metadata["required"],
            nargs=flag.metadata["count"],
        )
    names, attributes = flag.metadata["option"]
    return _Option([*names, flag.name], **_BY_TYPE.get(str(flag.type), {}) | attributes)


class _Filled(click.Parameter):
    """One for which an empty text is an error. What comes of a shell's variable that is not set
    would be the working directory as a path, and the real API as an address."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> Any:
        value, source = super().consume_value(ctx, opts)
        if value == "" or (isinstance(value, tuple | list) and "" in value):
            words = "it is empty; is a variable in the command not set?"
            raise click.BadParameter(words, ctx, self)
        return value, source


class _Argument(_Filled, click.Argument):
    pass


class _Option(_Filled, click.Option):
    pass


_PATH: Final = click.Path(path_type=Path)


class _Source(click.Path):
    """A path; an address on the web stays a text, which a path would change."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from seedance_batch.reader.source import is_address

        return value if is_address(value) else super().convert(value, param, ctx)


_BY_TYPE: Final[Mapping[str, dict[str, Any]]] = {
    "bool": {"is_flag": True},
    "tuple[str, ...]": {"multiple": True},
    "Path | None": {"type": _PATH},
}
"""What a field's annotation says of its option."""


# ── What texts mean ──────────────────────────────────────────────────────────────────────────────


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


def _in_utf8(_context: click.Context, _parameter: click.Parameter, wanted: bool) -> bool:
    if wanted:
        speak_utf8()
    return wanted


# ── What commands take, in groups ────────────────────────────────────────────────────────────────

# fmt: off

_FROM_1: Final = click.IntRange(min=1)


@dataclass(frozen=True, kw_only=True)
class OfManifest:
    """A manifest, and how it is read; see `ReadOptions`."""

    manifest: Path | str = argument("MANIFEST")
    sheet: str | None = option("--sheet", help="Sheet of the workbook; default: the first.")
    visible: bool = option("--visible", hidden=True,
        help="Leave out rows that are hidden or filtered.")
    encoding: str | None = option("--encoding", hidden=True,
        help="Encoding of a text file; default: detected.")
    delimiter: str | None = option("--delimiter", hidden=True,
        help="Delimiter of a CSV file; default: detected.")
    column_map: tuple[str, ...] = option("--map", metavar="FIELD=HEADING",
        help="Say which column feeds a field.")
    overrides: tuple[str, ...] = option("--set", metavar="FIELD=VALUE",
        help="Set a field in every row.")
    model: str | None = option("--model", hidden=True, help="Set the model of every row.")
    allow_4k: bool = option("--allow-4k", hidden=True,
        help="Allow resolution 4k, which is not documented.")
    allow_mixed: bool = option("--allow-mixed", hidden=True,
        help="Allow frames and references in one row.")
    fix_mixed: bool = option("--fix-mixed", hidden=True,
        help="Where a row has frames and references, send the frames as reference images.")
    allow_outside: bool = option("--allow-outside", hidden=True,
        help="Allow media files outside the manifest's folder.")
    max_body: int | None = option("--max-body", type=_FROM_1, metavar="BYTES", hidden=True,
        help="Largest request body, media included; default: 10 MiB.")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Which API is meant."""

    sandbox: bool = option("--sandbox", help="Use the embedded sandbox: no key, no money.")
    sandbox_config: Path | None = option("--sandbox-config", metavar="FILE",
        help="Settings of the sandbox, faults included.")
    api_url: str | None = option("--api-url", metavar="URL", help="Use the API at this address.")


@dataclass(frozen=True, kw_only=True)
class Priced(Address):
    """Which API is meant, and what it costs."""

    price_file: Path | None = option("--price-file", metavar="FILE",
        help="Use the prices in this file.")


@dataclass(frozen=True, kw_only=True)
class Json:
    """Whom the output is for."""

    as_json: bool = option("--json", callback=_in_utf8, help="Print JSON for programs, on stdout.")


@dataclass(frozen=True, kw_only=True)
class Out:
    """Where the run folder is, if not at its usual place."""

    out: Path | None = option("--out", metavar="DIR", help="The run folder; default: runs/<name>.")


@dataclass(frozen=True, kw_only=True)
class OfFolder(Out):
    """A run folder, or the manifest that has one."""

    folder: Path | str = argument("FOLDER")


@dataclass(frozen=True, kw_only=True)
class Rehearsed(OfFolder):
    """A run folder, perhaps that of a rehearsal."""

    sandbox: bool = option("--sandbox", help="Use the manifest's sandbox run folder.")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Who works on clips."""

    dask: str | None = option("--dask", metavar="ADDRESS|local", hidden=True,
        help="Hand work on clips to this Dask scheduler's workers, or to a cluster started here.")


@dataclass(frozen=True, kw_only=True)
class InStore:
    """Where clips are kept, if not on this disk."""

    store: str | None = option("--store", metavar="URL", hidden=True,
        help="Keep clips, sheets and page in this store: s3://bucket/prefix.")


@dataclass(frozen=True, kw_only=True)
class Waiting(Spread, InStore):
    """How work under way is waited for, and how clips arrive."""

    rpm: float | None = option("--rpm", type=click.FloatRange(min=1),
        help="Requests per minute (60).")
    priority: str = option("--priority", type=click.Choice(["high", "normal", "low"]),
        default="normal", hidden=True, help="How urgent it is beside other runs under this key.")
    poll_interval: float = option("--poll-interval", type=click.FloatRange(min=0.1), default=2.0,
        hidden=True, help="Shortest time between status checks, in seconds.")
    downloads: int = option("--downloads", type=click.IntRange(1, 16), default=4, hidden=True,
        help="Downloads at the same time.")
    wait: float | None = option("--wait", type=click.FloatRange(min=0),
        help="Stop waiting after this many seconds.")
    name: str = option("--name", default="{id}", show_default=True, metavar="PATTERN",
        help="File names of the clips.")
    callback_url: str | None = option("--callback-url", metavar="URL", hidden=True,
        help="Public address that HiAPI calls when a clip is ready.")
    callback_bind: str | None = option("--callback-bind", metavar="HOST:PORT", hidden=True,
        help="Local address that receives those calls.")


@dataclass(frozen=True, kw_only=True)
class Watched(Json):
    """How work is shown while it goes on."""

    quiet: bool = option("-q", "--quiet", help="Show less.")
    no_progress: bool = option("--no-progress", help="Show no progress bars.")

    @property
    def progress(self) -> bool:
        """Whether bars are wanted."""
        return not (self.quiet or self.no_progress)


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Which rows are meant."""

    rows: str | None = option("--rows", metavar="1-20,57",
        help="Pick rows by number; the first row is 1.")
    ids: str | None = option("--ids", metavar="A,B", help="Pick rows by id.")
    where: str | None = option("--where", metavar="EXPR",
        help="Pick rows by a condition: \"[Shot no.] == '4'\".")
    picks: Path | None = option("--from", metavar="CSV|marks",
        help="Pick the rows marked in a picks file, or on the served page.")


@dataclass(frozen=True, kw_only=True)
class Planning(Choosing, OfManifest, Priced, Out, Waiting, Watched):
    """What ``plan`` takes, and ``run`` and its kin."""

    max_cost: Decimal | None = option("--max-cost", type=cap, metavar="USD|none",
        help="Never spend more than this on the run folder.")
    max_cost_per_row: Decimal | None = option("--max-cost-per-row", type=usd, metavar="USD",
        help="Never spend more than this on one row.")
    max_cost_per_day: Decimal | None = option("--max-cost-per-day", type=cap, hidden=True,
        metavar="USD|none", help="Never spend more than this in a day, in all run folders.")
    max_failures: int = option("--max-failures", type=click.IntRange(min=0), metavar="N",
        default=10, show_default=True, help="Stop after N failures in a row; 0: never.")
    canary: int | None = option("--canary", type=_FROM_1, metavar="N",
        help="Try the N cheapest rows before the others.")
    draft: bool = option("--draft", help="Make cheap drafts: 480p, 4 s, no sound.")
    draft_model: str | None = option("--draft-model", metavar="MODEL", hidden=True,
        help="Make drafts with this cheaper model.")
    remake: bool = option("--remake", help="Buy rows again that were made with other flags.")
    again: bool = option("--again", hidden=True,
        help="Buy rows even if they look bought elsewhere.")

    sample: int | None = option("--sample", type=_FROM_1, metavar="N",
        help="Pick N rows at random.")
    sample_seed: int = option("--sample-seed", default=0, hidden=True,
        help="Seed of the random pick.")
    limit: int | None = option("--limit", type=_FROM_1, metavar="N",
        help="Take only the first N rows.")

    concurrency: int = option("-j", "--concurrency", type=tasks_at_once, metavar="N|auto",
        default="10", show_default=True, help="Tasks at once; auto finds out.")

    storage: str | None = option("--storage", type=click.Choice(["temp", "persistent"]),
        hidden=True, help="How long HiAPI stores the clips.")

    save: Path | None = option("--save", metavar="FILE",
        help="Save the plan, to run it later as approved.")
    plan_file: Path | None = option("--plan", metavar="FILE", help="Run this saved plan exactly.")

    yes: bool = option("-y", "--yes", help="Approve new spending without asking.")
    verbose: int = option("-v", "--verbose", count=True, help="Show more detail.")


# fmt: on


# ── What the flags come to ───────────────────────────────────────────────────────────────────────


def check_place(path: Path) -> None:
    """Raise `UsageError` where a file cannot be written for want of its folder."""
    if not path.parent.is_dir():
        raise UsageError(
            f"{path} cannot be written: the folder {path.parent} does not exist.",
            hint=f"mkdir -p {shlex.quote(str(path.parent))}",
        )


def hands(given: Spread, kept: KeptClips) -> AbstractContextManager[Hands | None]:
    """Who works on a run folder's clips, where it is not this process."""
    if given.dask is None:
        return nullcontext()
    from seedance_batch.clips.cluster import hands_on

    return hands_on(given.dask, kept.seen, tell=partial(click.echo, err=True))


def of_name(given: Any, taken: type[Any]) -> dict[str, Any]:
    """The flags that have the name of a field of ``taken``."""
    names = {each.name for each in fields(taken)} & {each.name for each in fields(given)}
    return {name: getattr(given, name) for name in names}


def run_settings(given: Address | OfFolder) -> RunSettings:
    """The settings among a command's flags: the fields that have the name of one."""
    from seedance_batch.settings import RunSettings

    chosen = of_name(given, RunSettings)
    unlimited = {"concurrency", "max_failures"} & chosen.keys()  # by 0
    return RunSettings(**chosen | {name: chosen[name] or None for name in unlimited})


def read_options(given: OfManifest) -> ReadOptions:
    """How the manifest is to be read."""
    from seedance_batch.core.model import Allow
    from seedance_batch.reader.source import MAX_BODY, ReadOptions

    read = {
        "column_map": pairs("--map", given.column_map),
        "overrides": pairs("--set", given.overrides),
        "allow": Allow(resolution_4k=given.allow_4k, mixed_references=given.allow_mixed),
        "max_body": given.max_body or MAX_BODY,
    }
    return ReadOptions(**of_name(given, ReadOptions) | read)


def selection(
    given: Planning,
    picks: Sequence[Pick] | None,
    *,
    marks: Collection[str] | None,
    page: str | None,
) -> Selection:
    """Which rows are meant. ``picks`` are those that ``--from`` leads to; those with one of
    ``marks`` count, where None means all but reject.

    ``page`` is the command that writes the page to choose on, for hints.
    """
    from seedance_batch.core.select import Selection

    found = chosen_rows(given, picks, marks=marks, page=page)
    if given.plan_file is not None:  # it brings its rows, whatever a file or variable says
        return Selection(from_ids=found.from_ids)
    return replace(found, sample=given.sample, sample_seed=given.sample_seed, limit=given.limit)


def chosen_rows(
    given: Choosing,
    picks: Sequence[Pick] | None,
    *,
    marks: Collection[str] | None,
    page: str | None,
) -> Selection:
    """The part of a selection that names rows; see `selection`."""
    from seedance_batch.core.select import Selection
    from seedance_batch.core.text import comma_parts
    from seedance_batch.page.marks import kept_takes, picked

    return Selection(
        rows=given.rows,
        ids=None if given.ids is None else comma_parts(given.ids),
        where=given.where,
        from_ids=None if given.picks is None else picked(picks or (), marks, given.picks, page),
        takes=kept_takes(picks or ()),
    )


def pairs(flag: str, given: tuple[str, ...]) -> dict[str, str]:
    """``name=value`` texts as a mapping."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise SettingsError(f"{flag} {text!r} is not of the form name=value.")
        found[name.strip()] = value
    return found
