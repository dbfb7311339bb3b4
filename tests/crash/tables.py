"""What the tests have covered, printed at the end of the session."""

from __future__ import annotations

import pytest

_TABLES: dict[str, list[str]] = {}


def tell(title: str, *lines: str) -> None:
    """Add lines to a table."""
    _TABLES.setdefault(title, []).extend(lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every table once, whichever folder's tests were run."""
    while _TABLES:
        title, lines = _TABLES.popitem()
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
