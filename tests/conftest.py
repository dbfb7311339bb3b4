"""What holds for every test."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from tests import moto
from tests.crash.forker import Forker, forking

# Many containers tell Python to keep no compiled files. Several processes import all tests, and
# some tests start Python: to compile for each takes half a minute of CPU.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A busy machine makes no example wrong. Each run draws other examples.
hypothesis.settings.register_profile("promises", deadline=None, print_blob=True, max_examples=50)
hypothesis.settings.load_profile("promises")

# A shell's background jobs ignore Ctrl-C, and what nohup starts ignores a closed terminal; so would
# everything that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

HERE = Path(__file__).parent
_LONGEST = (
    *("tests/test_readme.py", "tests/browser/", "tests/crash/", "tests/faults/"),
    *("tests/benchmarks/", "tests/cli/test_talk.py", "tests/cli/test_chains.py"),
)
"""Where single files take a minute: begun first, so that no worker is left alone with one."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Each process begins with other files, so that in a new checkout a file is compiled once.

    Every process imports all that are asked for; in one order, all would compile each at the same
    time.
    """
    number = os.getenv("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if not number:
        return
    places = [session.config.rootpath / arg.partition("::")[0] for arg in session.config.args]
    files = [
        file for file in sorted(HERE.rglob("test_*.py")) if any(map(file.is_relative_to, places))
    ]
    for file in files[int(number) :: int(os.environ["PYTEST_XDIST_WORKER_COUNT"])]:
        with contextlib.suppress(Exception, pytest.skip.Exception):  # told when it is collected
            importlib.import_module(".".join(file.relative_to(HERE.parent).with_suffix("").parts))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, the others in their order; cases beyond the first are ``more``."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
    usual: Counter[str] = Counter()
    for item in items:
        first = item.get_closest_marker("cases")
        if first is None or item.get_closest_marker("slow"):
            continue
        test = item.nodeid.partition("[")[0]
        usual[test] += 1
        if usual[test] > first.args[0]:
            item.add_marker(pytest.mark.more)


def pytest_collection_finish() -> None:
    """The collector looks no more at 5,000 tests and their modules, and seldom while a test goes
    on: a quarter of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


class _Scheduling(LoadFileScheduling):
    """A file's tests run in one process, and all that want the browser too: it starts once."""

    def _split_scope(self, nodeid: str) -> str:
        browser = "tests/browser/"
        return browser if nodeid.startswith(browser) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Who runs what."""
    return _Scheduling(config, log)


@pytest.fixture(scope="module", autouse=True)
def clean() -> Iterator[None]:
    """What a file's tests left open is told at its end."""
    yield
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def programs_as_installed() -> None:
    """What a test starts finds no more installed than a person has (`tests/as_installed`)."""
    here = str(HERE / "as_installed")
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.getenv("PYTHONPATH")])])


@pytest.fixture(scope="session", autouse=True)
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One authority in place of 140: loading them takes 20 ms a client, and nobody here has TLS."""
    whole = Path(certifi.where()).read_text(encoding="utf-8")
    found = whole.partition("-----END CERTIFICATE-----")
    one = tmp_path_factory.mktemp("trusted") / "one.pem"
    one.write_text("".join(found[:2]) + "\n", encoding="utf-8")
    os.environ["SSL_CERT_FILE"] = str(one)
    assert ssl.create_default_context(cafile=str(one)).cert_store_stats()["x509_ca"] == 1


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """Where commands are forked from; it takes a second to begin."""
    with forking() as found:
        yield found


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a real S3 server."""
    with moto.serving() as address:
        yield address


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in a new bucket there, with the variables that lead to it."""
    for name, value in {**moto.ENVIRONMENT, "AWS_ENDPOINT_URL": s3}.items():
        monkeypatch.setenv(name, value)
    return moto.new_bucket(s3)
