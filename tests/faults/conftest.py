from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.forker import Forker
from tests.crash.tables import pytest_terminal_summary, tell
from tests.rig import Bench, Service, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A faultless sandbox process; a test that wants faults configures them and starts clean."""
    with serving(Path(tmp_path_factory.mktemp("service"))) as found:
        yield found


@pytest.fixture
def calm(service: Service) -> Iterator[Service]:
    """The module's sandbox, as it was before the test once that is over."""
    before = dict(service.settings)
    yield service
    fresh = {
        "faults": {},
        "balance": None,
        "generation_time": "0",
        "key_memory": 86_400,
        "seed": 0,
    }
    service.configure(**{**fresh, **before})


@pytest.fixture
def make_bench(tmp_path: Path, calm: Service, forker: Forker) -> Callable[..., Bench]:
    """Benches with an account of their own at the module's sandbox."""

    def make(rows: int = 0, name: str = "one", place: Path = tmp_path) -> Bench:
        bench = Bench(place / name, calm, f"sk-{tmp_path.name}-{name}", forker=forker)
        if rows:
            bench.fill(rows)
        return bench

    return make


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that any user may enter; pytest closes its own whenever one of it is started."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


__all__ = ["pytest_terminal_summary", "tell"]
