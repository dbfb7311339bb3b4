"""What a command works with: an API, its price list, and the run folder that belongs to it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import anyio
import anyio.to_thread

from seedance_batch.batch.takeover import STORE_PATIENCE, Owner, Tell, open_owned, silent
from seedance_batch.clips.kept import KeptClips
from seedance_batch.core.account import AccountView, Priority
from seedance_batch.core.hiapi import ACCOUNT, Verdict
from seedance_batch.core.manifest import SANDBOX_ORIGIN, folder_mark
from seedance_batch.core.overview import Absence, NoList
from seedance_batch.core.pricing import PriceTable, parse_price_file, parse_pricing
from seedance_batch.errors import (
    ApiUnreachable,
    BudgetExceeded,
    FolderMismatch,
    FolderMissing,
    SettingsError,
    StoreUnusable,
)
from seedance_batch.journal import records
from seedance_batch.journal.journal import Journal
from seedance_batch.journal.records import Facts
from seedance_batch.objects import disk_folder, open_store, store_url
from seedance_batch.publish import replacing
from seedance_batch.run_folder import RunFolder, folder_of, held, wal_is_safe
from seedance_batch.runner.account_file import account_path, view_of
from seedance_batch.runner.sharing import Account, Membership, alone_note, local_day, unusable
from seedance_batch.settings import (
    DEFAULT_BASE_URL,
    Access,
    RunSettings,
    access_from,
    check_settings,
    public_access,
)

if TYPE_CHECKING:
    import yaml

    from seedance_batch.api.client import Answer, Client

# ── Gets the price list: a file, the API in use, or the last list that it gave ────────────────────


_PATIENCE: Final = 15.0
"""Seconds for an answer before anything is sent."""
_FRESH: Final = 3600.0
"""Seconds for which a list that was had is today's."""


class Prices(NamedTuple):
    """The prices to reckon with, and why they are not today's list of the API."""

    table: PriceTable | None
    """None where none can be had."""
    absence: Absence | None = None


async def load_prices(
    access: Access, price_file: Path | None, *, needed: bool, or_why: bool = False
) -> Prices:
    """The prices to reckon with.

    ``needed`` makes an API that does not answer, or that is none of HiAPI's, an error
    (`ApiUnreachable`): it is about to be sent rows. With ``or_why`` that is an error only where no
    earlier list is kept. Raises `SettingsError` for a price file that
    cannot be used.
    """
    from seedance_batch.api.client import Client

    table = None if price_file is None else read_price_file(price_file)
    if table is not None and not needed:
        return Prices(table)
    async with Client(access.base_url, access.api_key, deadline=_PATIENCE) as client:
        answer = await client.pricing()
        if needed and answer.connected and answer.verdict is not Verdict.OK:
            await _check_address(client, silent=not answer.status)
    if table is not None and answer.connected:
        return Prices(table)
    if answer.verdict is Verdict.OK:
        return _parsed_and_kept(answer.value, access)
    kept = None if access.sandbox else kept_prices(access.base_url)
    if (needed and not answer.connected) or (or_why and kept is None and not answer.status):
        words = answer.error.message
        raise ApiUnreachable(
            f"{access.base_url} cannot be reached ({words}); nothing was sent.",
            hint=_UNTRUSTED if "CERTIFICATE_VERIFY_FAILED" in words else _UNREACHED,
        )
    return Prices(kept, _absence(client, answer))


def _absence(client: Client, answer: Answer[Any]) -> Absence:
    words = answer.error.message
    if not answer.connected:
        code = NoList.PROXY if client.has_proxy else NoList.OFFLINE
        return Absence(code, words if client.has_proxy else f"there is no connection ({words})")
    form = answer.status == HTTPStatus.OK
    return Absence(NoList.FORM if form else NoList.ANSWER, words)


_UNREACHED: Final = "check the network and HIAPI_BASE_URL, then run the same command again"
_UNTRUSTED: Final = (
    "if your network inspects TLS traffic, name its certificate file: "
    "export SSL_CERT_FILE=certificates.pem"
)


async def _check_address(client: Client, *, silent: bool) -> None:
    """Raise `ApiUnreachable` where who answers is not HiAPI's API, asked twice.

    ``silent`` who gave the price list no answer: without one to this either, nobody is there.
    """
    for pause in (1.0, 0.0):
        answer = await client.probe()
        if silent and not answer.status:
            raise ApiUnreachable(
                f"{client.base_url} does not answer ({answer.error.message}); nothing was sent.",
                hint=_UNREACHED,
            )
        if not answer.baffles or answer.verdict in ACCOUNT:
            return
        await anyio.sleep(pause)
    raise ApiUnreachable(
        f"{client.base_url} is not HiAPI's API ({answer.error.message}); nothing was sent.",
        hint=f"export HIAPI_BASE_URL={DEFAULT_BASE_URL}, or fix --api-url",
    )


def read_price_file(path: Path) -> PriceTable:
    """Prices from a ``--price-file``; see `parse_price_file` for its form."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.load(text, Loader=_exact_loader())  # noqa: S506 - a safe loader
        return parse_price_file(document, source=str(path), dated=path.stat().st_mtime)
    except (OSError, UnicodeDecodeError, ArithmeticError, yaml.YAMLError) as error:
        raise SettingsError(f"The price file {path} cannot be read: {error}") from error


def _exact_loader() -> type[yaml.SafeLoader]:
    """YAML's safe loader, with fractions as ``Decimal``: money is never a float."""
    import yaml

    class Exact(yaml.SafeLoader):
        pass

    Exact.add_constructor(
        "tag:yaml.org,2002:float", lambda _, node: Decimal(str(node.value).replace("_", ""))
    )
    return Exact


def _parsed_and_kept(document: Any, access: Access) -> Prices:
    source = f"{access.base_url}/api/pricing"
    table = parse_pricing(document, source=source, dated=time.time(), sandbox=access.sandbox)
    if access.sandbox:
        return Prices(table)
    if not table.models:  # an answer without prices must not replace those that are known
        words = "what came contains no prices in the form that this version knows"
        return Prices(kept_prices(access.base_url), Absence(NoList.FORM, words))
    _keep(access, document, table.dated)
    return Prices(table)


def _cache(base_url: str) -> Path:
    from platformdirs import user_cache_path

    name = sha256(base_url.encode()).hexdigest()[:16]
    return user_cache_path("seedance-batch", appauthor=False) / f"prices-{name}.json"


def _keep(access: Access, document: Any, dated: float) -> None:
    path = _cache(access.base_url)
    text = json.dumps({"version": 1, "dated": dated, "answer": document}, default=str)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError:
        return  # a cache is a convenience


def kept_prices(base_url: str) -> PriceTable | None:
    """The list of an earlier day, whose date is shown with every price."""
    try:
        text = _cache(base_url).read_text(encoding="utf-8")
        kept = json.loads(text, parse_float=Decimal)
        if kept["version"] != 1:
            return None
        source, dated = f"{base_url}/api/pricing (kept copy)", float(kept["dated"])
        return replace(parse_pricing(kept["answer"], source=source, dated=dated), kept=True)
    except (OSError, ValueError, ArithmeticError, KeyError, TypeError):
        return None


def too_old(table: PriceTable, now: float) -> bool:
    """Whether a list was had so long ago that no cap is held against it: prices change."""
    return table.kept and not 0 <= now - table.dated <= _FRESH


def price_list(settings: RunSettings, environ: Mapping[str, str]) -> Prices:
    """The prices that a run with these settings would reckon with; needs no key."""
    check_settings(settings)
    if settings.price_file is not None:
        return Prices(read_price_file(settings.price_file))
    if not settings.sandbox:
        access = public_access(environ, settings.api_url)
        return anyio.run(lambda: load_prices(access, None, needed=False, or_why=True))
    with sandbox_access(settings.sandbox_config, None) as access:
        return anyio.run(lambda: load_prices(access, None, needed=False))


# ── Starts the embedded sandbox for a command, and stops it with it ───────────────────────────────


@contextlib.contextmanager
def sandbox_access(config: Path | None, state: Path | None) -> Iterator[Access]:
    """A running sandbox; its state lives in the run folder, so that a killed run continues.

    Raises `SettingsError` for a configuration that cannot be used.
    """
    from seedance_batch.sandbox.config import SandboxConfig, SandboxConfigError, load_config
    from seedance_batch.sandbox.server import running

    try:
        chosen = SandboxConfig() if config is None else load_config(config)
    except SandboxConfigError as error:
        raise SettingsError(f"The sandbox's configuration cannot be used: {error}") from error
    secret = chosen.webhook_secret or token_hex(32)
    chosen = chosen.model_copy(update={"webhook_secret": secret})
    with running(chosen, state=state) as address:
        yield Access(address.api_url, address.api_key, sandbox=True, webhook_keys=(secret,))


# ── An open run folder: what is run, fetched, settled, rebuilt or checked in it needs no more ─────


@dataclass(frozen=True)
class Site:
    """An open run folder with its journal, and the API that it belongs to."""

    folder: RunFolder
    journal: Journal
    access: Access
    settings: RunSettings
    kept: KeptClips
    owner: Owner | None = field(default=None, kw_only=True)
    """This process, where the batch has a store and can be another machine's tomorrow."""

    @property
    def is_owned(self) -> bool:
        """Whether sheets and page may be brought to the store: no other machine's are newer."""
        return self.owner is None or self.owner.lease.lost_to is None

    async def copy_to_store(self) -> None:
        """Have the journal as it is now in the batch's store, if it has one; see `Owner.copy`."""
        if self.owner is not None:
            await anyio.to_thread.run_sync(self.owner.copy)

    def may_send(self) -> bool:
        """Whether a POST may begin now."""
        return self.owner is None or self.owner.lease.may_send()

    def lost_since(self) -> Callable[[str], float | None]:
        """See `Terms.lost_since`; a yes to buy such rows again settles it."""
        since = None if self.settings.again else self.journal.lost_since
        lost = self.journal.lost(self.settings.kind)
        return lambda key: since if lost(key) else None


def check_store(folder: RunFolder, journal: Journal, given: str | None) -> str | None:
    """The address of the store that keeps a run folder's clips; None where its disk does.

    Raises `StoreUnusable` for one that is none, and `FolderMismatch` where another one has them.
    """
    known = journal.facts().store
    if given is None:
        return known
    url = store_url(given)
    if known is not None and known != url:
        raise FolderMismatch(
            f"The run folder {folder.path} keeps its clips in {known}, not in {url}. "
            "Nothing was sent."
        )
    home = disk_folder(url)
    if home is not None and (home == folder.path or _is_same(home, folder.path)):
        raise StoreUnusable(
            f"--store {url} is the run folder itself, which keeps its clips without it. Nothing "
            "was sent.",
            hint="leave --store out, or name another folder",
        )
    return url


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder, also by a link or another mount."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def kept_clips(folder: RunFolder, journal: Journal) -> KeptClips:
    """A run folder's clips, wherever they are kept. Raises `StoreUnusable`; asks nobody."""
    url = journal.facts().store
    return KeptClips(folder.path, None if url is None else open_store(url))


def claim_store(folder: RunFolder, journal: Journal, settings: RunSettings) -> KeptClips:
    """The clips of a run folder that is to be run: its store is kept as its own.

    Raises as `check_store`.
    """
    url = check_store(folder, journal, settings.store)
    if url is None:
        return KeptClips(folder.path)
    if journal.facts().store is None:
        journal.write(records.set_facts(Facts(store=url)))
    return KeptClips(folder.path, open_store(url, patience=STORE_PATIENCE))


@contextlib.contextmanager
def open_folder(
    given: Path | str, settings: RunSettings, tell: Tell
) -> Iterator[tuple[RunFolder, Journal, Owner | None]]:
    """Hold the run folder that ``M`` or ``D`` names, as its batch's owner where it has a store.

    Raises `FolderMissing`, and as `held` and `open_owned`.
    """
    try:
        folder = folder_of(given, out=settings.out, sandbox=settings.sandbox)
    except FolderMissing as error:
        if settings.store is None:
            raise
        run = ["seedance-batch", "run", str(given), "--store", settings.store]
        raise FolderMissing(
            f"{error.message} Only run, rerun and promote take a batch over from its store.",
            hint=shlex.join(run),
        ) from error
    with held(folder), open_owned(folder, settings.store, tell) as (journal, owner):
        yield folder, journal, owner


@contextlib.contextmanager
def open_site(
    given: Path | str, settings: RunSettings, environ: Mapping[str, str], tell: Tell = silent
) -> Iterator[Site]:
    """Hold a run folder as `open_folder` does, with the API that it belongs to.

    Raises also `FolderMismatch` where another API is named, `FolderMissing` where it is nobody's.
    """
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_folder(given, settings, tell))
        folder, journal, owner = opened
        origin = journal.facts().origin
        if origin is None:
            raise FolderMissing(f"Nothing has been run in the run folder {folder.path} yet.")
        if origin == SANDBOX_ORIGIN:
            sandbox = sandbox_access(settings.sandbox_config, folder.sandbox_state)
            access = stack.enter_context(sandbox)
        else:
            access = access_from(environ, settings.api_url)
        if access.origin != origin:
            raise FolderMismatch(
                f"The run folder {folder.path} belongs to {origin}, not to {access.origin}. "
                "Nothing was sent."
            )
        kept = claim_store(folder, journal, settings)
        chosen = replace(settings, sandbox=access.sandbox)
        yield Site(folder, journal, access, chosen, kept, owner=owner)


# ── The account that a run shares with others on this machine ─────────────────────────────────────


@contextlib.contextmanager
def shared_account(
    site: Site, *, rows: int, key_fingerprint: str, tell: Callable[[str], None]
) -> Iterator[Account | None]:
    """A run's share of its key's account for the length of a block; None where there is no file.

    ``rows`` are those that it is to buy, ``key_fingerprint`` the key's by the journal's salt. A
    sandbox has an account of its own, beside its state. Raises `BudgetExceeded` where a cap for
    the day was given, or may have been given before, and cannot be kept.
    """
    account = _account(site, rows, tell)
    if account is None:
        yield None
        return
    try:
        account.take_stock(site.journal.attempts(), key_fingerprint)
        yield account
    finally:
        account.close()


def _account(site: Site, rows: int, tell: Callable[[str], None]) -> Account | None:
    settings, facts = site.settings, site.journal.facts()
    membership = Membership(
        site.access.origin,
        site.folder.path,
        folder_mark(facts.folder_id or ""),
        rows,
        settings.requests_per_minute,
        settings.concurrency,
        Priority(settings.priority),
        settings.max_cost_per_day,
    )
    path = None
    try:
        path = account_file_of(site.access, site.folder)
        if not wal_is_safe(path.parent):
            raise OSError("it lies on a network share or in a synced folder")
        return Account(path, membership, tell=tell)
    except OSError as error:
        if settings.max_cost_per_day is not None and settings.max_cost_per_day.is_finite():
            raise BudgetExceeded(
                f"--max-cost-per-day cannot be kept: {unusable(path, error)}. Nothing was sent.",
                hint="name a folder for it that can be written: export XDG_STATE_HOME=DIR",
            ) from error
        if settings.max_cost_per_day is None and rows and path is not None and path.exists():
            raise BudgetExceeded(
                f"A cap for the day may be in force, and cannot be read: {unusable(path, error)}. "
                "Nothing was sent.",
                hint="--max-cost-per-day none goes on without a cap; move a damaged file away, "
                "and give the cap anew",
            ) from error
        tell(alone_note(path, error))
        return None


def account_now(access: Access, folder: RunFolder) -> AccountView | None:
    """An account as runs on this machine know it; None where none has used it, or none can tell."""
    try:
        if not access.api_key:  # a plan is made without it, and is told of its day all the same
            access = access_from(os.environ, access.base_url)
        path = account_file_of(access, folder)
        return view_of(path, local_day(time.time()), time.monotonic()) if path.exists() else None
    except (OSError, SettingsError):
        return None


def day_cap(site: Site) -> Decimal | None:
    """US dollars that a day may cost under this key, as given or kept; None, or infinite: any."""
    given = site.settings.max_cost_per_day
    if given is not None:
        return given
    view = account_now(site.access, site.folder)
    return None if view is None else view.day_cap


def account_file_of(access: Access, folder: RunFolder) -> Path:
    """The file of an account. Raises ``OSError`` where its name cannot be had."""
    if access.sandbox:
        return folder.sandbox_account
    return account_path(access.origin, access.api_key)
