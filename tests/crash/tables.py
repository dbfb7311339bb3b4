"""What the tests have covered, printed at the end of the session, whichever process ran them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Tell = Callable[..., None]
"""``tell(title, *lines)``: a table for the end of the session."""
_MARK = "covered: "
_printed: set[str] = set()


@pytest.fixture
def tell(record_property: Callable[[str, Any], None]) -> Tell:
    """Hands a table over with the test's report."""
    return lambda title, *lines: record_property(f"{_MARK}{title}", list(lines))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every table once, whichever folders' tests were run."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, lines in getattr(report, "user_properties", ()):
                if name.startswith(_MARK) and name not in _printed:
                    _printed.add(name)
                    terminalreporter.section(name.removeprefix(_MARK))
                    for line in lines:
                        terminalreporter.write_line(line)
