"""Turn a spreadsheet of prompts into Seedance 2.0 videos through HiAPI, paying for every row once.

The public names, each imported when it is first used::

    import seedance_batch as sb

    sb.plan("shots.xlsx", sandbox=True).new_cost
    sb.run("shots.xlsx", sandbox=True).to_frame()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seedance_batch.errors import SeedanceBatchError
    from seedance_batch.library.calls import (
        arun,
        export,
        fetch,
        join,
        plan,
        promote,
        read,
        rerun,
        run,
        verify,
    )
    from seedance_batch.library.interface import Finished, Planned, Reading, Verified

    __version__: str

__all__ = [
    "Finished",
    "Planned",
    "Reading",
    "SeedanceBatchError",
    "Verified",
    "arun",
    "export",
    "fetch",
    "join",
    "plan",
    "promote",
    "read",
    "rerun",
    "run",
    "verify",
]
_HOMES = {
    "SeedanceBatchError": "errors",
    **dict.fromkeys(("Finished", "Planned", "Reading", "Verified"), "library.interface"),
}
"""Where the names lie that are no calls."""


if not TYPE_CHECKING:  # or every misspelt name would pass a type checker

    def __getattr__(name: str) -> Any:
        # PEP 562: `import seedance_batch` costs nothing until something is asked for.
        if name == "__version__":
            return import_module("importlib.metadata").version("seedance-batch")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(f"{__name__}.{_HOMES.get(name, 'library.calls')}")
        globals()[name] = getattr(home, name)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)
