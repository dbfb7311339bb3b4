"""What library calls take and return: keyword options, typed results, texts that name keywords."""

from __future__ import annotations

import difflib
import os
import re
import reprlib
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NamedTuple,
    TypeAlias,
    TypedDict,
    get_args,
    get_origin,
    get_type_hints,
)

from seedance_batch import errors
from seedance_batch.batch.summary import Report
from seedance_batch.batch.takes import ClipFinding
from seedance_batch.core.manifest import Finding, Manifest
from seedance_batch.core.model import INPUT_FIELDS, Allow
from seedance_batch.core.outcome import Outcome, tally
from seedance_batch.core.overview import Absence
from seedance_batch.core.select import Selection
from seedance_batch.core.steps import Plan
from seedance_batch.core.text import comma_parts
from seedance_batch.errors import Exit, ManifestError, SeedanceBatchError, SettingsError
from seedance_batch.reader.source import ReadOptions
from seedance_batch.reader.typed_file import as_given
from seedance_batch.settings import NO_CAP, RunSettings
from seedance_batch.writer.lines import table

if TYPE_CHECKING:
    import pandas

Usd: TypeAlias = Decimal | float | int | str


class ReadKeywords(TypedDict, total=False):
    """How a manifest is read; see `seedance_batch.reader.source.ReadOptions`."""

    sheet: str | None
    encoding: str | None
    delimiter: str | None
    column_map: Mapping[str, str]
    model: str | None
    overrides: Mapping[str, object]
    allow: Allow | None
    visible: bool
    fix_mixed: bool
    allow_outside: bool
    max_body: int
    folder: Path | str | None


class FetchKeywords(TypedDict, total=False):
    """Which run folder and API are meant, and how clips arrive there; see `RunSettings`."""

    out: Path | str | None
    sandbox: bool
    sandbox_config: Path | str | None
    api_url: str | None
    rpm: float | None
    poll_interval: float
    downloads: int
    dask: str | None
    wait: float | None
    store: str | None
    callback_url: str | None
    callback_bind: str | None
    name: str


class RunKeywords(ReadKeywords, FetchKeywords, total=False):
    """Also which rows, and how they are run.

    See `seedance_batch.core.select.Selection` and `seedance_batch.settings.RunSettings`.
    """

    rows: str | None
    ids: Collection[str] | str | None
    where: str | None
    from_ids: Collection[str] | str | None
    picks: Path | str | None
    sample: int | None
    sample_seed: int
    limit: int | None

    price_file: Path | str | None
    concurrency: int | None
    max_cost: Usd | None
    max_cost_per_row: Usd | None
    max_cost_per_day: Usd | None
    priority: str
    max_failures: int | None
    storage: str | None
    draft: bool
    draft_model: str | None
    remake: bool
    again: bool


class ClipKeywords(TypedDict, total=False):
    """Which rows' clips are meant; see `seedance_batch.core.select.Selection`."""

    rows: str | None
    ids: Collection[str] | str | None
    where: str | None
    from_ids: Collection[str] | str | None
    draft: bool
    sandbox: bool


class JoinKeywords(ClipKeywords, total=False):
    """Also where they lie; see `FetchKeywords`."""

    out: Path | str | None


class Choices(NamedTuple):
    """What the options of a call come to."""

    reading: ReadOptions
    settings: RunSettings
    selection: Selection
    picks: Path | None
    """A list of picks to read ids from, or ``marks``."""


def choices(options: Mapping[str, Any], taken: type = RunKeywords) -> Choices:
    """Sort a call's options; ``taken`` is the class that names those of this call.

    Raises `SettingsError` for an option that there is not, and for a value of another type than
    the option takes.
    """
    _refuse_unknown(options, set(get_type_hints(taken)))
    reading, settings, selection = (
        {
            each.name: _as_field(each.name, options[each.name])
            for each in fields(room)
            if each.name in options
        }
        for room in (ReadOptions, RunSettings, Selection)
    )
    picks = _as_field("picks", options.get("picks"))
    made = ReadOptions(**reading), RunSettings(**settings), Selection(**selection)
    return Choices(*made, picks)


def _refuse_unknown(options: Mapping[str, Any], known: set[str]) -> None:
    odd = sorted(options.keys() - known)
    if not odd:
        return
    close = (difflib.get_close_matches(name, sorted(known), n=1) for name in odd)
    meant = ", ".join(repr(found[0]) for found in close if found)
    advice = f"; did you mean {meant}?" if meant else "."
    raise SettingsError(f"There is no option {', '.join(map(repr, odd))}{advice}")


def _as_field(name: str, value: Any) -> Any:
    hint = _hints()[name]
    kinds = get_args(hint)
    if Decimal in kinds:
        return None if value is None else _amount(name, value)
    check_type(name, value, hint)
    if value is None:
        return None
    if value == "" and isinstance(value, str):  # as a path it would be the working directory
        raise SettingsError(f"{name} is an empty text; None stands for what is usual.")
    if Path in kinds:
        return Path(value)
    if Collection[str] in kinds:
        return names(name, value)
    if name == "overrides":  # 5 and "5" are the same order
        return {key: "" if each is None else str(each) for key, each in value.items()}
    return int(value) if _is(value, int) else value  # NumPy's are whole numbers too


def names(keyword: str, value: Collection[str] | str) -> list[str]:
    """A list of names, which may be one text with commas, as the flag has it."""
    check_type(keyword, value, Collection[str] | str)
    parts = comma_parts(value) if isinstance(value, str) else value
    return [part.strip() for part in parts if part.strip()]


def _amount(name: str, value: Any) -> Decimal:
    if name in {"max_cost", "max_cost_per_day"} and value == "none":
        return NO_CAP
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise SettingsError(f"{name}={value!r} is not an amount in US dollars.")
    return amount


# ── Texts that name flags, as somebody who calls functions reads them ────────────────────────────


_OTHERWISE: Final[Mapping[str, str]] = {
    "map": "column_map",
    "set": "overrides",
    "from": "from_ids",
    "class": "classes",
    "reason": "reasons",
    "allow-4k": "allow=Allow(resolution_4k=True)",
    "allow-mixed": "allow=Allow(mixed_references=True)",
}
"""Flags whose keyword has another name."""
_SWITCHES: Final = frozenset({"yes", "force", "stale", "skip_missing"})
"""Keywords of a call that are True or False, beside those of `RunKeywords`."""
_FLAG: Final = re.compile(r"(?P<before>\b(?:with|use|choose|name) )?--(?P<flag>[a-z][a-z0-9-]*)")
_PAIR: Final = re.compile(r"--(map|set) (\w+)=('[^']*'|[^\s);,]+)")
_COMMAND: Final = re.compile(r"seedance-batch (\w+) (.+)", re.DOTALL)
_FUNCTIONS: Final = frozenset({"plan", "run", "rerun", "promote", "fetch", "verify"})


def in_python(text: str) -> str:
    """A message or hint with keywords where it names flags, and calls where it ends in a command.

    ``use --map prompt=Text`` becomes ``use column_map={"prompt": "Text"}``. A command that is no
    function, such as ``status``, stays one.
    """
    if (command := _COMMAND.search(text)) is not None:
        call = _call(command[1], _split(command[2]))
        return f"{in_python(text[: command.start()])}{call or command[0]}"
    if text.startswith("--") and (alone := _keywords(_split(text))):
        return ", ".join(alone)
    text = _PAIR.sub(_as_dict, text)
    text = re.sub(r"--(class|reason) (\w+)", lambda f: f'{_keyword(f[1])}="{f[2]}"', text)
    return _FLAG.sub(_named, text)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a sentence with an apostrophe
        return [text]


def _as_dict(found: re.Match[str]) -> str:
    name, key, value = found.groups()
    return f'{_keyword(name)}={{"{key}": "{value.strip(chr(39))}"}}'


def _named(found: re.Match[str]) -> str:
    name, before = _keyword(found["flag"]), found["before"] or ""
    if _is_switch(name):
        return f"{before}{name}=True"
    return f"{before}{name}=…" if before and "=" not in name else f"{before}{name}"


def _keyword(flag: str) -> str:
    return _OTHERWISE.get(flag, flag.replace("-", "_"))


def _is_switch(name: str) -> bool:
    return name in _SWITCHES or _hints().get(name) is bool


def _call(command: str, words: Sequence[str]) -> str | None:
    """A command line as a call of the function that does the same; None where there is none."""
    if command not in _FUNCTIONS or not words:
        return None
    options = _keywords(words[1:])
    return None if options is None else f"sb.{command}({', '.join([_quoted(words[0]), *options])})"


def _keywords(words: Sequence[str]) -> list[str] | None:
    """Flags and their values as keywords; None for what is no row of these."""
    found, left = [], list(words)
    while left:
        flag = left.pop(0)
        name = _keyword(flag[2:])
        if not re.fullmatch(r"--[a-z][a-z0-9-]*", flag):
            return None
        if "=" in name or _is_switch(name):
            found.append(name if "=" in name else f"{name}=True")
        elif not left or left[0].startswith("--"):
            return None
        else:
            found.append(f"{name}={_quoted(left.pop(0), name)}")
    return found


def _quoted(value: str, name: str = "") -> str:
    hint = _hints().get(name)
    if {int, float} & {hint, *get_args(hint)}:
        return value
    quote = "'" if '"' in value and "'" not in value else '"'
    return quote + value.replace(quote, f"\\{quote}") + quote


def spelt(values: Mapping[str, Any]) -> str:
    """Options as they stand in a call; a cap of none is a text."""
    texts = {name: '"none"' if value == NO_CAP else value for name, value in values.items()}
    return ", ".join(f"{name}={value}" for name, value in texts.items())


def finding_in_python(found: Finding) -> Finding:
    """The finding, naming keywords; what it is about stays the same."""
    file = _keyword(found.place.file[2:]) if found.place.file.startswith("--") else None
    place = found.place if file is None else replace(found.place, file=file)
    return replace(found, place=place, message=in_python(found.message), cause=found.code)


@contextmanager
def speaking_python() -> Iterator[None]:
    """What is raised here names keywords and functions, and tells its hint in a traceback."""
    try:
        yield
    except SeedanceBatchError as error:
        error.message = in_python(error.message)
        error.args = (error.message,)
        if isinstance(error, ManifestError):
            error.problems = tuple(map(finding_in_python, error.problems))
            for problem in error.problems[:_NOTED]:
                error.add_note(str(problem))
            if error.hint and "seedance-batch check" in error.hint:
                error.hint = "all problems are in this exception's .problems, each with its place"
        if error.hint:
            error.hint = in_python(error.hint)
            error.add_note(f"hint: {error.hint}")
        raise


_NOTED: Final = 10
"""Problems that a traceback shows."""


# ── types ───────────────────────────────────────────────────────────────────────────────────────


def path(name: str, value: Path | str | None) -> Path | None:
    """A keyword's path. Raises as `check_type` does."""
    check_type(name, value, Path | str | None)
    return None if value is None else Path(value)


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raise `SettingsError` where a keyword's value is not what its type hint says."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if not any(_is(value, kind) for kind in kinds):
        *others, last = (_TAKES[kind] for kind in kinds)
        takes = f"{', '.join(others)} or {last}" if others else last
        raise SettingsError(f"{name} takes {takes}, not {reprlib.repr(value)}.")


@lru_cache(maxsize=1)
def _hints() -> dict[str, Any]:
    return get_type_hints(RunKeywords)


_TAKES: Final[Mapping[Any, str]] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    Path: "a path",
    Allow: "an Allow",
    Collection[str]: "a list of strings",
    Mapping[str, str]: "a dict of strings",
    Mapping[str, object]: "a dict",
    type(None): "None",
}


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool) and kind in (int, float):
        return False
    if get_origin(kind) is Collection:
        return isinstance(value, Collection) and all(isinstance(each, str) for each in value)
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and isinstance(each, get_args(kind)[1])
            for key, each in value.items()
        )
    return isinstance(value, _ALSO.get(kind, kind))


_ALSO: Final[Mapping[type, Any]] = {int: Integral, float: Real, Path: os.PathLike}


# ── What calls return: typed results, each with a DataFrame ───────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Reading:
    """A manifest as it was read; see `calls.read`."""

    manifest: Manifest

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What forbids sending, each with its cell."""
        return tuple(map(finding_in_python, self.manifest.problems))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is sent as it stands and should be looked at first, each with its cell."""
        return tuple(map(finding_in_python, self.manifest.warnings))

    def to_frame(self) -> pandas.DataFrame:
        """One row per job: ``row``, ``id``, ``model`` and HiAPI's fourteen input fields."""
        import pandas as pd

        lines = [
            {
                "row": job.row.number,
                "id": job.key,
                "model": job.model,
                **{name: getattr(job.input, name) for name in INPUT_FIELDS},
            }
            for job in self.manifest.jobs
        ]
        return pd.DataFrame(lines, columns=["row", "id", "model", *INPUT_FIELDS])


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run would do; see `calls.plan`. Costs are estimates in US dollars."""

    plan: Plan = field(repr=False)
    warnings: tuple[Finding, ...] = ()
    """What reading warned of that concerns the rows to be paid for, each with its cell."""
    no_price_list: Absence | None = None
    """Why today's price list did not come; None where it did."""

    @property
    def new_rows(self) -> int:
        """Rows that would be paid for."""
        return self.plan.new_rows

    @property
    def new_cost(self) -> Decimal | None:
        """What they would cost; None where any price is unknown."""
        return self.plan.new_cost

    def to_frame(self) -> pandas.DataFrame:
        """One row per step: ``id action reason seconds cost_usd spent_before_usd``.

        ``seconds`` are billed seconds; amounts are ``Decimal``, None where unknown.
        """
        import pandas as pd

        columns = ["id", "action", "reason", "seconds", "cost_usd", "spent_before_usd"]
        lines = [
            (s.key, s.action.value, in_python(s.reason), s.seconds, s.cost, s.spent_before)
            for s in self.plan.steps
        ]
        return pd.DataFrame(lines, columns=columns)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended; see `calls.run`."""

    folder: Path
    """The run folder: sheets, clips, journal."""
    columns: tuple[str, ...]
    report: Report
    given_inputs: tuple[str, ...] = ()
    """Inputs that the manifest gave under other headings, which the sheet does not repeat."""
    types: Mapping[str, Any] = field(default_factory=dict)
    """Those of a DataFrame's own columns, which the sheet gives back."""

    @property
    def exit_code(self) -> Exit:
        """What the command line would have exited with; 0 when every row is done."""
        return self.report.exit_code

    @property
    def outcomes(self) -> list[Outcome]:
        """How each row stands, in manifest order, removed ones last."""
        return self.report.outcomes

    def raise_for_exit(self) -> Finished:
        """Itself where every row is done; else raises what the exit code stands for.

        `RowsFailed` (3), `BudgetExceeded` (4), `WorkUnfinished` (5), `AccountStopped` (6).
        """
        if self.exit_code is Exit.OK:
            return self
        sums, why = tally(self.outcomes), self.report.ending.message
        counts = ", ".join(f"{n:,} {status}" for status, n in sums.statuses.items() if n)
        with speaking_python():
            raise _RAISED.get(self.exit_code, errors.SeedanceBatchError)(
                f"{counts}." + (f" No more rows were sent: {why}." if why else ""),
                hint=shlex.join(["seedance-batch", "status", str(self.folder)]),
            )

    def to_frame(self) -> pandas.DataFrame:
        """The results sheet: the person's columns, then ours, typed; one row per manifest row."""
        import pandas as pd

        sheet = table(self.columns, self.report.outcomes, self.given_inputs, self.report.store)
        lines = [(*line.person, *line.ours) for line in sheet.lines()]
        return as_given(pd.DataFrame(lines, columns=list(sheet.header)), self.types)


_RAISED: Final[Mapping[Exit, type[errors.SeedanceBatchError]]] = {
    error.exit_code: error
    for error in (
        errors.RowsFailed,
        errors.BudgetExceeded,
        errors.WorkUnfinished,
        errors.AccountStopped,
    )
}


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of checking the clips of a run folder; see `calls.verify`."""

    findings: tuple[ClipFinding, ...]
    """One for each paid attempt; its ``fault`` is None where all is well."""

    @property
    def faults(self) -> tuple[ClipFinding, ...]:
        """Those with something wrong."""
        return tuple(each for each in self.findings if each.fault is not None)

    @property
    def exit_code(self) -> Exit:
        """What the command line would have exited with: 0, or 3 where there is a fault."""
        return Exit.SOME_FAILED if self.faults else Exit.OK

    def to_frame(self) -> pandas.DataFrame:
        """One row per paid attempt: ``id kind attempt task_id message can_be_fetched``, and more.

        ``message`` is None where all is well; ``est_cost_usd`` is a ``Decimal``.
        """
        import pandas as pd

        columns = [
            "id", "kind", "attempt", "task_id", "message", "est_cost_usd", "can_be_fetched"
        ]  # fmt: skip
        lines = [
            each.as_json() | {"est_cost_usd": each.attempt.intent.est_cost}
            for each in self.findings
        ]
        return pd.DataFrame(lines, columns=columns)
