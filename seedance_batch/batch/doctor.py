"""Looks whether anything is off on this machine or with the account; free, changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from seedance_batch.addresses import faked, is_address, proxy_for
from seedance_batch.batch.prices import price_list
from seedance_batch.client import Answer, Client
from seedance_batch.errors import SeedanceBatchError
from seedance_batch.folder import wal_is_safe
from seedance_batch.overview import price_note
from seedance_batch.settings import RunSettings, access_from, public_access
from seedance_batch.wire import Page, Verdict

_NO_HOST = "files.example.com"
"""A name that has no address (RFC 2606), save where a resolver makes addresses up."""
_ENOUGH_DISK = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    says: str


def examine(settings: RunSettings, environ: Mapping[str, str]) -> list[Finding]:
    """Everything that a run will lean on, one finding each."""
    return [
        _tried("key", lambda: _key(settings, environ)),
        _tried("prices", lambda: _prices(settings, environ)),
        _tried("resolver", lambda: _resolver(settings, environ)),
        _tried("disk", _disk),
        _tried("sqlite", _sqlite),
        _tried("files", _file_system),
        _tried("clips", _codecs),
        _tried("fonts", _fonts),
    ]


def _tried(what: str, look: Callable[[], tuple[bool, str]]) -> Finding:
    try:
        ok, says = look()
    except (SeedanceBatchError, OSError, ImportError, sqlite3.Error) as error:
        ok, says = False, str(error)
    return Finding(what, ok, says)


def _key(settings: RunSettings, environ: Mapping[str, str]) -> tuple[bool, str]:
    if settings.sandbox:
        return True, "the sandbox needs none"
    access = access_from(environ, settings.api_url)

    async def probe() -> Answer[Page]:
        async with Client(access.base_url, access.api_key, deadline=15.0) as client:
            return await client.probe()

    answer = anyio.run(probe)
    if answer.verdict is Verdict.OK:
        return True, f"{access.base_url} knows it (the balance cannot be asked for)"
    return False, f"{access.base_url}: {answer.error.message}"


def _resolver(settings: RunSettings, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether names resolve to their own addresses: clips come from hosts that nobody knows yet."""
    host = urlsplit(public_access(environ, settings.api_url).base_url).hostname or ""
    if settings.sandbox or host == "localhost" or is_address(host):
        return True, "not asked: the API has no public name"
    if proxy_for("https", host) is not None:
        return True, "not asked: a proxy resolves names"
    for name in (host, _NO_HOST):
        if (address := anyio.run(faked, name)) is not None:
            return True, (
                f"in fake-IP mode, as of Clash, sing-box or Surge ({name} is {address}): clips "
                "come all the same, since TLS proves their hosts"
            )
    return True, "names have their own addresses"


def _prices(settings: RunSettings, environ: Mapping[str, str]) -> tuple[bool, str]:
    table = price_list(settings, environ)
    if table is None:
        where = public_access(environ, settings.api_url).base_url
        return False, f"none from {where}; --price-file gives some"
    return True, price_note(table)


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return free > _ENOUGH_DISK, f"{free / 1024**3:,.1f} GiB free here"


def _sqlite() -> tuple[bool, str]:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (a TEXT) STRICT")
    connection.close()
    return True, f"SQLite {sqlite3.sqlite_version}"


def _file_system() -> tuple[bool, str]:
    if wal_is_safe(Path.cwd()):
        return True, "a local folder: the journal uses write-ahead logging"
    return True, "a network or synced folder: the journal does without write-ahead logging"


def _codecs() -> tuple[bool, str]:
    import av

    missing = [name for name in ("h264", "aac") if name not in av.codecs_available]
    return not missing, f"PyAV {av.__version__}" + (f", lacks {missing}" if missing else "")


def _fonts() -> tuple[bool, str]:
    from PIL import ImageFont

    fonts = sorted((Path(__file__).parents[1] / "sandbox" / "fonts").glob("*.?tf"))
    names = [" ".join(map(str, ImageFont.truetype(font, 16).getname())) for font in fonts]
    return bool(names), f"the sandbox writes with {', '.join(names) or 'none'}"


def lines(found: list[Finding]) -> Iterator[str]:
    """The findings for people."""
    for finding in found:
        yield f"  {'ok ' if finding.ok else 'off'} {finding.what:<9}{finding.says}"
