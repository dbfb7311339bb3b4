"""Which store: its address in one spelling, opened, and tried out before money is spent.

No address holds a secret: credentials and endpoints come from the variables that obstore documents.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from seedance_batch.errors import StoreAway, StoreUnusable
from seedance_batch.objects import PATIENCE, SLOWEST, VARIABLES, Bucket, Disk, Store

_MARKER: Final = ".seedance-batch"
_MARKED: Final = b"seedance-batch puts clips here\n"


def store_url(given: str) -> str:
    """The one spelling of a store's address, so that two can be compared.

    Raises `StoreUnusable` where it is none, or holds what must not be written down.
    """
    try:
        parts = urlsplit(given)
        secret = bool(parts.username or parts.password or parts.query or parts.fragment)
    except ValueError as error:
        raise StoreUnusable(f"--store is no address that can be used: {error}.") from error
    if secret or "@" in parts.netloc:
        variables = ", ".join(f"{start}…" for start in VARIABLES.values())
        raise StoreUnusable(
            "--store has a user, a password or a query in it. The address is written into the run "
            f"folder and the sheets; credentials come from variables ({variables}).",
            hint="pass only scheme, bucket and prefix: --store s3://bucket/prefix",
        )
    scheme = parts.scheme.lower()
    if scheme == "file":
        return _disk_url(given, parts.netloc, parts.path)
    if scheme not in VARIABLES or not parts.netloc:
        raise StoreUnusable(
            f"--store {given!r} is not s3://bucket/prefix, gs://bucket/prefix, "
            "az://container/prefix or file:///folder.",
            hint=None if scheme else f"for a folder: --store {Path(given).absolute().as_uri()}",
        )
    prefix = "/".join(filter(None, unquote(parts.path).split("/")))
    if {".", ".."} & set(prefix.split("/")):
        raise StoreUnusable(f"--store {given!r} has a part that is only dots.")
    return f"{scheme}://{parts.netloc}/{quote(prefix)}".rstrip("/")


def _disk_url(given: str, host: str, path: str) -> str:
    if host not in ("", "localhost") or not path.startswith("/") or not path.strip("/"):
        raise StoreUnusable(f"--store {given!r} names no folder: write file:///folder.")
    return Path(url2pathname(path)).as_uri()


def disk_folder(url: str) -> Path | None:
    """The folder that a store is, if it is one."""
    return Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None


def open_store(url: str, *, patience: float = PATIENCE, longest: float | None = None) -> Store:
    """The store at ``url``. Nothing is sent yet; a folder of a disk is made where it is missing.

    ``patience``: seconds for which a request is repeated; a lease that must be renewed in time
    wants fewer. ``longest``: those that one request may take; the patience, where that is short.
    Raises `StoreUnusable` for an address, variables or a library that cannot be used.
    """
    url = store_url(url)
    if url.startswith("file:"):
        return Disk(url)
    start = VARIABLES[url.partition(":")[0]]
    settings = tuple(sorted(each for each in os.environ.items() if each[0].startswith(start)))
    if longest is None:
        longest = SLOWEST if patience >= PATIENCE else patience
    return _bucket(url, patience, longest, settings)


@lru_cache(maxsize=16)
def _bucket(
    url: str, patience: float, longest: float, _settings: tuple[tuple[str, str], ...]
) -> Bucket:
    """One for each address and environment: it keeps connections."""
    return Bucket(url, patience, longest)


def check_mounted(url: str) -> None:
    """Raise `StoreUnusable` where a store that was in use is a folder in which nothing of it is.

    A disk that is not mounted leaves such a folder: clips would go to another disk, and vanish with
    the next mount.
    """
    home = disk_folder(url)
    if home is not None and not (home / _MARKER).exists():
        raise StoreUnusable(
            f"In the store {url} is nothing of what was put there. Nothing was sent.",
            hint="mount its disk; or, to begin anew in an empty folder: "
            f"seedance-batch doctor --store {url}",
        )


def try_out(store: Store) -> None:
    """Show that the store lets us in and never gives a taken name away, before money is spent.

    Leaves a small marker there. Raises `StoreUnusable` where it does not, `StoreAway` where it does
    not answer.
    """
    try:
        store.put_new(_MARKER, _MARKED, hashlib.sha256(_MARKED).hexdigest())
        other = os.urandom(16)
        store.put_new(_MARKER, other, hashlib.sha256(other).hexdigest())
    except FileExistsError:
        return
    except StoreAway as error:
        if error.refused:
            raise StoreUnusable(error.message, hint=error.hint) from error
        raise
    raise StoreUnusable(
        f"The store {store.url} overwrites an object although it was told to create one only where "
        "there is none (If-None-Match). Clips would not be safe there, and nothing was sent.",
        hint="use a server that knows conditional writes, or AWS_CONDITIONAL_PUT=etag",
    )
