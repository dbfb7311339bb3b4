"""Objects under names that are given once: in S3, Google's or Azure's storage, or a disk's folder.

The one seam to what lies beyond the run folder. It knows nothing of clips or journals. obstore is
imported where a bucket is opened and nowhere else. No address holds a secret: credentials and
endpoints come from the variables that obstore documents.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from seedance_batch import publish
from seedance_batch.core.names import address_in
from seedance_batch.errors import StoreAway, StoreUnusable

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutResult

T = TypeVar("T")

_PATIENCE: Final = 60.0
"""Seconds for which a request that meets a server's bad moment is sent again."""
_SLOWEST: Final = 900.0
"""Seconds that one upload may take: 100 MB over a line of 1 Mbit/s."""
_SMALL: Final = 1 << 20
_SMALL_TAKES: Final = 60.0
"""Bytes, and the seconds that an upload up to those may take: who says nothing is not waited for
any longer."""
_CONFLICTS: Final = 5
"""How often a create is repeated that met another request for the same name (409)."""
_LOCK: Final = ".store.lock"
_HELD: Final = 10.0
"""Seconds; longer than anybody holds that lock who is not stopped."""
_VARIABLES: Final = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
"""How the variables begin that obstore reads for each kind of bucket."""
_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_LOOPBACK: Final = re.compile(r"http://(localhost|127(\.\d+){3}|\[::1\])([:/]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies under a name."""

    name: str
    size: int
    """Bytes."""
    etag: str
    """The state of the object, for `Store.put_if`; equal content may have equal ones."""
    sha256: str | None = None
    """Hexadecimal; None in lists, and where whoever put it there did not say."""


class Store(Protocol):
    """Objects below one address. Names are relative, with ``/`` between their parts.

    Every method may be called from several threads, waits for the network, and raises `StoreAway`
    where the store does not answer within the patience that it was opened with, or refuses.
    """

    url: str
    """The store's address, with no secret in it and no slash at its end."""

    def address(self, name: str) -> str:
        """Where ``name`` lies or would lie, for people and other programs."""
        return address_in(self.url, name)

    def put_new(
        self, name: str, content: Path | bytes, sha256: str, about: Mapping[str, str] | None = None
    ) -> Stored:
        """Give ``content`` a name that nothing has, and look at what then lies there.

        Equal bytes under that name are taken for ours. Raises ``FileExistsError`` where other ones
        have it; they stay as they are. ``about`` is kept beside it, in ASCII.
        """

    def put_if(self, name: str, content: bytes, etag: str | None) -> str | None:
        """Replace the object in the state ``etag``, or make a new one where it is None.

        The new state; None where another state was met. Let ``content`` be unlike anybody else's
        (an owner, an epoch): by its bytes a write is known whose answer was lost.
        """

    def put(self, name: str, content: Path | bytes) -> None:
        """Write what may be written again, over whatever is there."""

    def get(self, name: str) -> tuple[bytes, Stored] | None:
        """A small object and its state; None where there is none."""

    def fetch(self, name: str, path: Path) -> Stored | None:
        """Write an object of any size into ``path``; None where there is none."""

    def head(self, name: str) -> Stored | None:
        """What lies under ``name``; None where there is nothing."""

    def list(self, folder: str = "") -> Iterator[Stored]:
        """All objects below ``folder``, in no order."""

    def delete(self, name: str) -> None:
        """Remove an object; it is no error that there is none."""


# ── A folder of a disk ────────────────────────────────────────────────────────────────────────────


class Disk(Store):
    """A folder as a store.

    By our own `publish`: obstore's LocalStore neither syncs what it writes nor compares states, and
    refuses metadata. The hash of a file is read from its bytes.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = Path(url2pathname(urlsplit(url).path))
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            raise StoreUnusable(f"The store {url} cannot be made: {why}.") from error

    def put_new(
        self, name: str, content: Path | bytes, sha256: str, about: Mapping[str, str] | None = None
    ) -> Stored:
        path = self._path(name)
        with self._refusals(name):
            self._make_room(path)
            prefix = f".{path.name[:40]}."
            scratch = publish.scratch_file(path.parent, prefix=prefix, suffix=publish.TEMPORARY)
            with scratch as temporary:
                _fill(temporary, content)
                if publish.sha256_of(temporary) != sha256:
                    raise StoreAway(f"{name} changed on its way to the store.")
                temporary.chmod(0o644)
                try:
                    publish.publish(temporary, path)
                except FileExistsError:
                    if publish.sha256_of(path) != sha256:
                        raise _taken(self.address(name)) from None
                    publish.fsync_folder(path.parent)
            return _on_disk(name, path)

    def put_if(self, name: str, content: bytes, etag: str | None) -> str | None:
        from filelock import FileLock

        path = self._path(name)
        with self._refusals(name), FileLock(self._root / _LOCK, timeout=_HELD):
            there = publish.sha256_of(path) if path.exists() else None
            if there != etag:
                return None
            self._make_room(path)
            with publish.replacing(path) as temporary:
                temporary.write_bytes(content)
            return hashlib.sha256(content).hexdigest()

    def put(self, name: str, content: Path | bytes) -> None:
        path = self._path(name)
        with self._refusals(name):
            self._make_room(path)
            with publish.replacing(path) as temporary:
                _fill(temporary, content)

    def get(self, name: str) -> tuple[bytes, Stored] | None:
        content = self._asked(name, Path.read_bytes)
        if content is None:
            return None
        sha256 = hashlib.sha256(content).hexdigest()
        return content, Stored(name, len(content), sha256, sha256)

    def fetch(self, name: str, path: Path) -> Stored | None:
        def copied(ours: Path) -> Stored:
            shutil.copyfile(ours, path)
            return _on_disk(name, ours)

        return self._asked(name, copied)

    def head(self, name: str) -> Stored | None:
        return self._asked(name, partial(_on_disk, name))

    def list(self, folder: str = "") -> Iterator[Stored]:
        with self._refusals(folder):
            for path in (self._path(folder) if folder else self._root).rglob("*"):
                is_ours = path.name == _LOCK or path.name.endswith(publish.TEMPORARY)
                if path.is_file() and not is_ours:
                    name = path.relative_to(self._root).as_posix()
                    yield Stored(name, path.stat().st_size, "")

    def delete(self, name: str) -> None:
        with self._refusals(name):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._root.joinpath(*_checked(name).split("/"))

    def _make_room(self, path: Path) -> None:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            publish.fsync_folder(path.parent.parent)

    def _asked(self, name: str, ask: Callable[[Path], T]) -> T | None:
        """What a file is asked for; None where there is no such file."""
        try:
            with self._refusals(name):
                return ask(self._path(name))
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        """The system's refusals as `StoreAway`; what a caller asks about stays as it is."""
        try:
            yield
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError as error:
            why = error.strerror or str(error)
            what = f"The store {self.url} refused {name or 'a list'}"
            raise StoreAway(f"{what}: {why}.") from error


def _on_disk(name: str, path: Path) -> Stored:
    sha256 = publish.sha256_of(path)
    return Stored(name, path.stat().st_size, sha256, sha256)


def _length(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _fill(path: Path, content: Path | bytes) -> None:
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)


# ── A bucket ──────────────────────────────────────────────────────────────────────────────────────


class Bucket(Store):
    """S3 and its like, Google's and Azure's storage, by obstore."""

    def __init__(self, url: str, patience: float, longest: float) -> None:
        self.url = url
        self._obstore = _library()
        scheme = url.partition(":")[0]
        self._endpoints, self._variables = _ENDPOINTS[scheme][-1], _VARIABLES[scheme]
        endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS[scheme])), "")
        allowed = os.environ.get(f"{_VARIABLES[scheme]}ALLOW_HTTP", "").lower() in ("true", "1")
        on_loopback = bool(_LOOPBACK.match(endpoint))
        if endpoint.lower().startswith("http://") and not (allowed or on_loopback):
            raise StoreUnusable(
                f"{_ENDPOINTS[scheme][-1]} is an http:// address: others on the way can read "
                "what is sent. Nothing was sent.",
                hint=f"use https://, or allow it by {_VARIABLES[scheme]}ALLOW_HTTP=true",
            )
        connect = timedelta(seconds=min(10.0, patience))
        options = {"connect_timeout": connect, "user_agent": "seedance-batch"}
        if on_loopback:
            options["allow_http"] = True
        retry = {"retry_timeout": timedelta(seconds=patience)}

        def opened(seconds: float) -> Any:
            within = {**options, "timeout": timedelta(seconds=seconds)}
            return self._obstore.store.from_url(url, client_options=within, retry_config=retry)

        try:
            self._store, self._large = opened(min(longest, _SMALL_TAKES)), opened(longest)
        except (self._obstore.exceptions.BaseError, ValueError) as error:
            first_line = str(error).partition("\n")[0].strip()[:200]
            raise StoreUnusable(
                f"The store {url} cannot be opened: {first_line}.",
                hint=f"set the {_VARIABLES[scheme]}… variables that obstore documents",
            ) from error

    def put_new(
        self, name: str, content: Path | bytes, sha256: str, about: Mapping[str, str] | None = None
    ) -> Stored:
        beside = {**(about or {}), "sha256": sha256, **_media_type_of(name)}
        size = _length(content)
        for attempt in range(_CONFLICTS):
            try:
                self._send(name, content, mode="create", attributes=beside)
            except FileExistsError:
                pass  # or a conflict with another request, after which there may be none
            there = self.head(name)
            if there is not None:
                return self._ours(there, size, sha256)
            time.sleep(0.1 * 2**attempt)
        raise StoreAway(f"The store {self.url} does not show {name} after it was put there.")

    def _ours(self, there: Stored, size: int, sha256: str) -> Stored:
        """What lies under a name, where it is what was to get it."""
        if there.size == size and there.sha256 is None:
            there = self._hashed(there)
        if there.size != size or there.sha256 != sha256:
            raise _taken(self.address(there.name))
        return there

    def _hashed(self, there: Stored) -> Stored:
        """With the hash of its bytes, where whoever put it there did not say."""

        def read() -> str:
            digest = hashlib.sha256()
            for chunk in self._large.get(there.name).stream():
                digest.update(chunk)
            return digest.hexdigest()

        return replace(there, sha256=self._asked(there.name, read))

    def put_if(self, name: str, content: bytes, etag: str | None) -> str | None:
        known, _, version = (etag or "").partition(" ")
        update = {"e_tag": known} | ({"version": version} if version else {})
        mode: object = "create" if etag is None else update
        try:
            return str(self._send(name, content, mode=mode))
        except FileExistsError:
            there = self.get(name)
            return there[1].etag if there is not None and there[0] == content else None

    def put(self, name: str, content: Path | bytes) -> None:
        self._send(name, content, mode="overwrite", attributes=_media_type_of(name))

    def get(self, name: str) -> tuple[bytes, Stored] | None:
        def read() -> tuple[bytes, Stored]:
            got = self._store.get(name)
            return bytes(got.bytes()), _about(name, got.meta, got.attributes)

        return self._asked(name, read)

    def fetch(self, name: str, path: Path) -> Stored | None:
        def write() -> Stored:
            got = self._large.get(name)
            with path.open("wb") as file:
                for chunk in got.stream():
                    file.write(chunk)
            return _about(name, got.meta, got.attributes)

        return self._asked(name, write)

    def head(self, name: str) -> Stored | None:
        # obstore's own `head` tells no metadata.
        got = self._asked(name, lambda: self._store.get(name, options={"head": True}))
        return None if got is None else _about(name, got.meta, got.attributes)

    def list(self, folder: str = "") -> Iterator[Stored]:
        pages = self._store.list(_checked(folder) if folder else None, chunk_size=1000)
        while page := self._asked(folder or "a list", lambda: next(pages, None)):
            yield from (_about(each["path"], each) for each in page)

    def delete(self, name: str) -> None:
        self._asked(name, lambda: self._store.delete(_checked(name)))

    def _send(self, name: str, content: Path | bytes, **how: Any) -> str:
        """The state of what was put; ``FileExistsError`` where a condition did not hold."""
        raised = self._obstore.exceptions
        store = self._store if _length(content) <= _SMALL else self._large
        try:
            put = store.put(_checked(name), content, use_multipart=False, **how)
            return _state(put)
        except (raised.AlreadyExistsError, raised.PreconditionError) as error:
            raise _taken(self.address(name)) from error
        except FileNotFoundError as error:  # by a PUT: the bucket is missing
            raise self._away(name, error, refused=True) from error
        except (raised.BaseError, OSError) as error:
            raise self._away(name, error) from error

    def _asked(self, name: str, ask: Callable[[], T]) -> T | None:
        """An answer; None where there is no such object."""
        try:
            return ask()
        except FileNotFoundError:
            return None
        except (self._obstore.exceptions.BaseError, OSError) as error:
            raise self._away(name, error) from error

    def _away(self, name: str, error: Exception, *, refused: bool = False) -> StoreAway:
        if _A_ROLES.search(str(error)):
            return StoreAway(
                f"There are no credentials for {self.url}: no {self._variables}… variable holds "
                "them, and this machine has no role that gives them.",
                hint=f"set the {self._variables}… variables that obstore documents",
                refused=True,
            )
        answer, hint = _answered(str(error))
        if answer is None:
            return StoreAway(
                f"The store {self.url} does not answer (about {name}).",
                hint=f"check the network and {self._endpoints}, then the same command again",
            )
        return StoreAway(
            f"The store {self.url} refused {name}: {answer}.",
            hint=hint,
            refused=refused or bool(_REFUSED.search(str(error))),
        )


_REFUSED: Final = re.compile(r"status code: 4(?!0[89]|29)\d\d")
_A_ROLES: Final = re.compile(r"https?://(169\.254\.|metadata\.)")
"""Where a cloud's machine asks for the credentials of its role, where no variable holds any."""
_STATUS: Final = re.compile(r"status code: (\d+[ \w-]*)")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
_HINTS: Final = {
    "RequestTimeTooSkewed": "set this machine's clock; the store's differs from it by minutes",
    "ExpiredToken": "renew the credentials in the environment, then the same command again",
    "NoSuchBucket": "make the bucket, or name another one",
    "SlowDown": "the store asks for fewer requests: the same command again, later",
    **dict.fromkeys(
        ("401", "403"), "check the credentials in the environment, and what they are allowed to do"
    ),
}


def _answered(text: str) -> tuple[str | None, str | None]:
    """What the store answered, in the few words that hold no secret, and what helps; None where
    nobody did."""
    status, code = _STATUS.search(text), _CODE.search(text)
    if status is None:
        return None, None
    named = code[1] if code else ""
    hint = _HINTS.get(named) or _HINTS.get(status[1][:3])
    return status[1].strip() + (f" ({named})" if named else ""), hint


def _library() -> ModuleType:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as error:
        raise StoreUnusable(
            "--store needs obstore, which is not installed here.",
            hint="pip install 'seedance-batch[store]'",
        ) from error
    return obstore


def _state(told: PutResult | ObjectMeta) -> str:
    """What a conditional write names: Google compares versions, others compare tags."""
    return f"{told['e_tag'] or ''} {told['version'] or ''}".rstrip()


def _about(name: str, meta: ObjectMeta, attributes: Mapping[str, str] | None = None) -> Stored:
    return Stored(name, meta["size"], _state(meta), (attributes or {}).get("sha256"))


_MEDIA_TYPES: Final = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".html": "text/html; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
}


def _media_type_of(name: str) -> dict[str, str]:
    found = _MEDIA_TYPES.get(Path(name).suffix)
    return {"Content-Type": found} if found else {}


def _checked(name: str) -> str:
    """A name that stays below the store's address."""
    if {"", ".", ".."} & set(name.split("/")):
        raise ValueError(f"{name!r} is no name of an object")
    return name


def _taken(address: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), address)


# ── Which store: its address in one spelling, opened, and tried out before money is spent ─────────


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
        variables = ", ".join(f"{start}…" for start in _VARIABLES.values())
        raise StoreUnusable(
            "--store has a user, a password or a query in it. The address is written into the run "
            f"folder and the sheets; credentials come from variables ({variables}).",
            hint="pass only scheme, bucket and prefix: --store s3://bucket/prefix",
        )
    scheme = parts.scheme.lower()
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or not re.match("/+[^/]", parts.path):
            raise StoreUnusable(f"--store {given!r} names no folder: write file:///folder.")
        return Path(url2pathname(parts.path)).as_uri()
    if scheme not in _VARIABLES or not parts.netloc:
        raise StoreUnusable(
            f"--store {given!r} is not s3://bucket/prefix, gs://bucket/prefix, "
            "az://container/prefix or file:///folder.",
            hint=None if scheme else f"for a folder: --store {Path(given).absolute().as_uri()}",
        )
    prefix = "/".join(filter(None, unquote(parts.path).split("/")))
    if {".", ".."} & set(prefix.split("/")):
        raise StoreUnusable(f"--store {given!r} has a part that is only dots.")
    return f"{scheme}://{parts.netloc}/{quote(prefix)}".rstrip("/")


def disk_folder(url: str) -> Path | None:
    """The folder that a store is, if it is one."""
    return Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None


def open_store(url: str, *, patience: float = _PATIENCE, longest: float = _SLOWEST) -> Store:
    """The store at ``url``. Nothing is sent yet; a folder of a disk is made where it is missing.

    ``patience``: seconds for which a request is repeated, ``longest``: those that one may take. A
    lease that must be renewed in time wants fewer.
    Raises `StoreUnusable` for an address, variables or a library that cannot be used.
    """
    url = store_url(url)
    if url.startswith("file:"):
        return Disk(url)
    start = _VARIABLES[url.partition(":")[0]]
    settings = tuple(sorted(each for each in os.environ.items() if each[0].startswith(start)))
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
        for content in (_MARKED, os.urandom(16)):
            store.put_new(_MARKER, content, hashlib.sha256(content).hexdigest())
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
