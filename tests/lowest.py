"""The lowest versions that ``pyproject.toml`` allows, as pip's constraints.

Run it as ``python -m tests.lowest > lowest.txt``, then ``pip install '.[test]' -c lowest.txt``.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
_EXTRAS = ("parquet", "store", "dask")
_BOUND = re.compile(r"([\w.-]+)>=([\w.]+)")


def constraints() -> list[str]:
    """``name==version`` of everything that a run needs."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(need for name in _EXTRAS for need in extras[name])]
    bounds = [(text, _BOUND.match(text)) for text in needed]
    unbound = [text for text, bound in bounds if bound is None]
    if unbound:
        raise ValueError(f"without a lowest version: {', '.join(unbound)}")
    return [f"{bound[1]}=={bound[2]}" for _, bound in bounds if bound is not None]


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in constraints())
