"""What a person chose, in one frozen value: flags > environment > config file > built-in.

Also which API that means, and how its address is spelled.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from seedance_batch.core.account import Priority
from seedance_batch.core.attempt import Kind
from seedance_batch.core.manifest import SANDBOX_ORIGIN
from seedance_batch.core.text import HIDDEN
from seedance_batch.errors import SettingsError

KEY: Final = "HIAPI_API_KEY"
KEY_FILE: Final = "HIAPI_API_KEY_FILE"
BASE_URL: Final = "HIAPI_BASE_URL"
SECRET: Final = "HIAPI_WEBHOOK_SECRET"  # noqa: S105  (a variable's name)
DEFAULT_BASE_URL: Final = "https://api.hiapi.ai"
DEFAULT_RPM: Final = 60.0
SANDBOX_RPM: Final = 600.0
NO_CAP: Final = Decimal("Infinity")
"""``--max-cost none``: lifts the cap that a run folder keeps."""


@dataclass(frozen=True, slots=True)
class Access:
    """An API and the key for it. The key is in no ``repr``."""

    base_url: str
    api_key: str = field(repr=False)
    sandbox: bool = False
    webhook_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys that sign callbacks; two while one replaces the other."""

    @property
    def origin(self) -> str:
        """What a run folder belongs to; the sandbox is one origin whatever its port."""
        return SANDBOX_ORIGIN if self.sandbox else self.base_url

    @property
    def private_files(self) -> bool:
        """Whether files may lie on private addresses: only while the API itself is on loopback."""
        return is_loopback(self.base_url)


def access_from(environ: Mapping[str, str], api_url: str | None = None) -> Access:
    """The real API's address and key, from ``--api-url`` and the environment.

    Raises `SettingsError` where there is no key, or one that no header can carry.
    """
    base_url = normal_base_url(api_url or environ.get(BASE_URL) or DEFAULT_BASE_URL)
    return Access(base_url, _key(environ), webhook_keys=secrets_from(environ.get(SECRET)))


def public_access(environ: Mapping[str, str], api_url: str | None = None) -> Access:
    """The real API for what needs no key: its price list."""
    base_url = normal_base_url(api_url or environ.get(BASE_URL) or DEFAULT_BASE_URL)
    return Access(base_url, "")


def _key(environ: Mapping[str, str]) -> str:
    name, key = KEY, environ.get(KEY, "").strip()
    if not key and environ.get(KEY_FILE):
        name, key = KEY_FILE, _key_from(Path(environ[KEY_FILE]))
    if not key:
        raise SettingsError(
            f"There is no API key: neither {KEY} nor {KEY_FILE} is set. Nothing was sent.",
            hint=f"add --sandbox to rehearse for free, or: export {KEY}=sk-…",
        )
    if (wrapped := _wrapping(key)) is not None:
        raise SettingsError(f"{name} {wrapped}. Nothing was sent.", hint="give the key alone")
    if not key.isascii() or HIDDEN in key or any(c.isspace() or not c.isprintable() for c in key):
        raise SettingsError(f"{name} contains characters that no key has; was all of it copied?")
    return key


def _wrapping(key: str) -> str | None:
    """What stands around a key that was copied with its line; None for a key alone."""
    name, equals, _ = key.partition("=")
    if equals and re.fullmatch(r"((export|set|\$env:)\s*)?[A-Za-z_][A-Za-z0-9_]*\s*", name):
        return "contains a whole line: a name and an equals sign come before the key"
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        return "contains the key in quotes, which are not part of it"
    if key[:7].casefold() == "bearer ":
        return "begins with Bearer, which is not part of the key"
    return None


_QUOTES: Final = frozenset("\"'`“”„‘’«»")


def _key_from(path: Path) -> str:
    try:
        content = path.expanduser().read_bytes()
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # as PowerShell's > writes
        return content.decode("utf-16" if wide else "utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{KEY_FILE} cannot be read: {error}") from error


def secrets_from(value: str | None) -> tuple[str, ...]:
    """Signing keys, comma separated: two while one replaces the other. Raises `SettingsError`."""
    found = tuple(part.strip() for part in (value or "").split(",") if part.strip())
    if any(not 16 <= len(secret) <= 256 for secret in found):
        raise SettingsError(f"{SECRET} holds a signing key that is not 16 to 256 characters long.")
    return found


# ── the API's address ───────────────────────────────────────────────────────────────────────────


def normal_base_url(text: str) -> str:
    """The API's address without ``/v1``, ``/v1/tasks`` and what else spells the same.

    Raises `SettingsError` for an address that cannot be used, and for ``http`` off loopback:
    the key would travel in the clear.
    """
    address = text.strip()
    parts = _split(address)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise SettingsError(f"The API address {text!r} is not an http(s) address.", hint=_ADDRESS)
    if parts.query or parts.fragment:
        raise SettingsError(f"The API address {text!r} has a query or a fragment.", hint=_ADDRESS)
    if parts.scheme == "http" and not is_loopback(address):
        raise SettingsError(
            f"The API address {text} is not encrypted; http is accepted only on loopback.",
            hint=_ADDRESS,
        )
    path = parts.path.rstrip("/").removesuffix("/v1/tasks").removesuffix("/v1").rstrip("/")
    host = parts.netloc.lower().removesuffix(f":{_PORTS[parts.scheme]}")
    return urlunsplit((parts.scheme, host, path, "", ""))


_PORTS: Final = {"http": 80, "https": 443}
_ADDRESS: Final = f"export HIAPI_BASE_URL={DEFAULT_BASE_URL}"


def _split(address: str) -> SplitResult | None:
    """The parts of an address that a request can be made to; None where there are none."""
    if not address.isprintable() or " " in address:
        return None
    try:
        parts = urlsplit(address)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def is_loopback(url: str) -> bool:
    """Whether an address names this machine by a loopback address or as ``localhost``."""
    parts = _split(url)
    host = ((parts.hostname if parts else None) or "").rstrip(".")
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _LOOPBACK)


_LOOPBACK: Final = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")
"""``is_loopback`` of `ipaddress` differs by Python's release for IPv4 addresses inside IPv6."""


# ── how a batch is run ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a batch is run; the defaults are those of the command line."""

    out: Path | None = None
    sandbox: bool = False
    sandbox_config: Path | None = None
    api_url: str | None = None
    price_file: Path | None = None
    concurrency: int | None = 10
    """Tasks at once; None finds the account's limit out."""
    rpm: float | None = None
    """Requests a minute; None is 60, and 600 for the sandbox."""
    poll_interval: float = 2.0
    """Seconds between two looks at the same task or page, at least."""
    downloads: int = 4
    """Clips fetched at once."""
    dask: str | None = None
    """The address of a Dask scheduler whose workers fetch and check clips, or ``local``."""
    wait: float | None = None
    """Seconds after which the run ends, with paid work left for the next one; None waits it out."""
    max_cost: Decimal | None = None
    """US dollars that the run folder may cost, ever. None is the cap that the folder keeps from
    before, if any; `NO_CAP` lifts that."""
    max_cost_per_row: Decimal | None = None
    """US dollars; a plan with a dearer row is not carried out."""
    max_cost_per_day: Decimal | None = None
    """US dollars that all run folders of this machine may cost under this key in a local day. None
    is the cap that is kept from before, if any; `NO_CAP` lifts that."""
    priority: str = "normal"
    """``high``, ``normal`` or ``low``: how urgent the run is beside others under the same key."""
    max_failures: int | None = 10
    """Failures in a row after which nothing more is sent; None never stops."""
    storage: str | None = None
    """HiAPI's ``storage``: ``temp`` or ``persistent``; None leaves it out."""
    store: str | None = None
    """Address of the store that keeps clips, sheets and page; None is the one that the run folder
    has from before, or its own disk."""
    callback_url: str | None = None
    """Where the service is asked to call when a task is over."""
    callback_bind: str | None = None
    """``HOST:PORT`` at which this run takes those calls itself."""
    name: str = "{id}"
    """Pattern of clips' names: ``{id}``, ``{model}``, ``{client}`` and other columns in braces."""
    draft: bool = False
    draft_model: str | None = None
    """The model of drafts; None is each row's own."""
    remake: bool = False
    again: bool = False
    """A yes to rows that look bought already: see `core.plan.doubts`."""

    @property
    def kind(self) -> Kind:
        """What is made: drafts or finals."""
        return Kind.DRAFT if self.draft else Kind.FINAL

    @property
    def requests_per_minute(self) -> float:
        """The budget in use."""
        return self.rpm or (SANDBOX_RPM if self.sandbox else DEFAULT_RPM)


def check_settings(settings: RunSettings) -> None:
    """Raise `SettingsError` for choices that contradict each other."""
    if settings.sandbox and settings.api_url:
        raise SettingsError(
            "--sandbox and --api-url cannot be combined: the sandbox is its own API."
        )
    if settings.sandbox_config and not settings.sandbox:
        raise SettingsError("--sandbox-config works only with --sandbox.")
    if settings.storage not in {None, "temp", "persistent"}:
        raise SettingsError("--storage must be temp or persistent.")
    if settings.priority not in set(Priority):
        raise SettingsError("--priority must be high, normal or low.")
    for name, least in _AT_LEAST.items():
        value = getattr(settings, name)
        if name in {"max_cost", "max_cost_per_day"} and value == NO_CAP:
            continue
        if value is not None and not (value == value and least <= value < float("inf")):
            raise SettingsError(
                f"--{name.replace('_', '-')} must be at least {least}, not {value}."
            )


_AT_LEAST: Final[Mapping[str, float]] = {
    "concurrency": 1,
    "rpm": 1,
    "poll_interval": 0.1,
    "downloads": 1,
    "wait": 0,
    "max_cost": 0,
    "max_cost_per_row": 0,
    "max_cost_per_day": 0,
    "max_failures": 1,
}
"""A library call names these without the command line's own checks."""


def check_callbacks(settings: RunSettings, access: Access) -> None:
    """Raise `SettingsError` for callback flags that cannot work with this API."""
    from seedance_batch.api.callbacks import check_url

    private = access.private_files
    if settings.callback_url is not None:
        check_url(settings.callback_url, allow_private=private)
    elif settings.callback_bind is not None and not private:
        raise SettingsError(
            "--callback-bind needs --callback-url: HiAPI needs an address of this machine "
            "that it can reach.",
            hint="--callback-url https://your.host/hiapi --callback-bind 127.0.0.1:8787",
        )
