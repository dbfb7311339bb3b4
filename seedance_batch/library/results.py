"""What library calls return: typed results, each with a DataFrame."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seedance_batch import errors
from seedance_batch.batch.running import Report
from seedance_batch.batch.takes import ClipFinding
from seedance_batch.core.manifest import Finding, Manifest
from seedance_batch.core.model import INPUT_FIELDS
from seedance_batch.core.outcome import Outcome, tally
from seedance_batch.core.overview import Absence
from seedance_batch.core.plan.steps import Plan
from seedance_batch.errors import Exit
from seedance_batch.library.keywords import finding_in_python, in_python, speaking_python
from seedance_batch.reader.typed_file import as_given
from seedance_batch.writer.lines import table

if TYPE_CHECKING:
    import pandas


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
