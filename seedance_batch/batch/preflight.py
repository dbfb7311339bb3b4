"""Looks before money is spent, free: at addresses that rows name, published rules, this machine."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urljoin, urlsplit

import anyio
import httpx

from seedance_batch.api.addresses import (
    AddressRefused,
    faked,
    file_client,
    is_ip,
    proxy_for,
    refusal,
    unlogged,
)
from seedance_batch.api.client import Answer, Client, public_site
from seedance_batch.batch.access import price_list, sandbox_access
from seedance_batch.core.drift import (
    Schema,
    differences,
    input_schema_in,
    our_rules,
    price_differences,
)
from seedance_batch.core.hiapi import Page, Verdict
from seedance_batch.core.manifest import Code, Finding, Job, Manifest, Place, Severity
from seedance_batch.core.model import (
    FAMILY,
    MEDIA_FIELDS,
    MediaKind,
    content_of,
    family_model,
    file_warning,
    sides_warning,
)
from seedance_batch.core.overview import Pace, forecast, price_note
from seedance_batch.core.plan import make_plan
from seedance_batch.core.pricing import PriceTable
from seedance_batch.core.text import redact, some
from seedance_batch.errors import SeedanceBatchError
from seedance_batch.objects import open_store, try_out
from seedance_batch.run_folder import wal_is_safe
from seedance_batch.settings import Access, RunSettings, access_from, public_access

# ── A look at the addresses that rows name, before money is spent: ``check --net`` ────────────────
# Asks each distinct address once, a few at a time, for its first bytes only; sends no key. Private
# addresses are never asked. What is not http(s) (``asset://``, data URIs) is left alone.


AT_ONCE: Final = 4
"""Addresses asked at a time, and never two of one host."""
LOOK_PATIENCE: Final = 10.0
"""Seconds for one address in all."""
HEAD_BYTES: Final = 1 << 16
"""Enough to see an image's size in pixels, but for odd ones."""
MOST_REDIRECTS: Final = 4


@dataclass(frozen=True, slots=True)
class AddressLook:
    """What one address was found to be: ``problems`` forbid paying, ``warnings`` want a look."""

    url: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def addresses(manifest: Manifest) -> dict[str, MediaKind]:
    """Every distinct http(s) address of a manifest, with the kind of media it must be."""
    return {
        address: MEDIA_FIELDS[name]
        for job in manifest.jobs
        for name, address in job.input.media()
        if address.startswith(("http://", "https://"))
    }


def findings(looks: Iterable[AddressLook], manifest: Manifest) -> list[Finding]:
    """The looks as findings, once for every row and field that names the address."""
    places: dict[str, list[tuple[Place, int]]] = {}
    for job in manifest.jobs:
        for name, address in job.input.media():
            row = job.row.place
            place = Place(row.file, row.sheet, row.line, name)
            places.setdefault(address, []).append((place, job.row.number))
    return [
        Finding(severity, place, words, rows=(number,))
        for look in looks
        for severity, several in (
            (Severity.PROBLEM, look.problems),
            (Severity.WARNING, look.warnings),
        )
        for words in several
        for place, number in places.get(look.url, [])
    ]


async def look(
    urls: Mapping[str, MediaKind],
    http: httpx.AsyncClient,
    *,
    now: float,
    needed_until: float,
    allow_private: bool = False,
) -> list[AddressLook]:
    """One look at each address, in their order; raises nothing for what an address does.

    ``http`` carries no key, follows no redirect and connects to checked addresses only
    (`addresses.file_client`). ``needed_until``: Unix seconds at which the last row will have
    been made, by estimate; ``now`` is the same clock. ``allow_private`` only where the API itself
    is on loopback.
    """
    looks: dict[str, AddressLook] = {}
    hosts: dict[str, anyio.Lock] = {}
    limiter = anyio.CapacityLimiter(AT_ONCE)

    async def one(url: str, kind: MediaKind) -> None:
        async with hosts.setdefault(_host(url), anyio.Lock()), limiter:
            looks[url] = _lifetime(url, now, needed_until)
            if not looks[url].problems:
                found = await _look(url, kind, http, allow_private)
                warnings = looks[url].warnings + found.warnings
                looks[url] = AddressLook(url, found.problems, warnings)

    async with anyio.create_task_group() as group:
        for url, kind in urls.items():
            group.start_soon(one, url, kind)
    return [looks[url] for url in urls]


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def _lifetime(url: str, now: float, needed_until: float) -> AddressLook:
    """What an address's own signature tells."""
    name, ends = _shown(url), expires_at(url)
    if ends is not None and ends <= now:
        return AddressLook(url, problems=(f"{name} expired at {_minute(ends)}",))
    if ends is not None and ends < needed_until:
        when = f"{_minute(ends)}, before the last row is expected to be made"
        return AddressLook(url, warnings=(f"{name} expires at {when}",))
    return AddressLook(url)


async def _look(
    url: str, kind: MediaKind, http: httpx.AsyncClient, allow_private: bool
) -> AddressLook:
    name = _shown(url)
    try:
        with anyio.fail_after(LOOK_PATIENCE):
            answer = await _first_bytes(url, http, allow_private)
    except _Refused as refused:
        return AddressLook(url, (f"{name}: {refused}",))
    except ValueError:  # IPv6 or IDNA that is none, by the words of three libraries
        return AddressLook(url, (f"{name} is, or redirects to, an address that cannot be read",))
    except TimeoutError:
        words = f"{name} does not answer within {LOOK_PATIENCE:.0f} s"
        return AddressLook(url, warnings=(words,))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        words = f"{name} cannot be reached ({type(error).__name__})"
        return AddressLook(url, warnings=(words,))
    problems, warnings = ([f"{name} {each}" for each in said] for said in _judged(answer, kind))
    return AddressLook(url, tuple(problems), tuple(warnings))


def _shown(url: str) -> str:
    return redact(url)[:120]


# ── asking ──────────────────────────────────────────────────────────────────────────────────────


class _Refused(Exception):
    """An address that is not asked, or that leads to one."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A status, the first bytes, and the whole size where it is said."""

    status: int
    head: bytes = b""
    size: int | None = None


async def _first_bytes(url: str, http: httpx.AsyncClient, allow_private: bool) -> _Answer:
    for _ in range(MOST_REDIRECTS + 1):
        # Whether http is good enough is the service's decision; where it leads is ours.
        if why := refusal(re.sub(r"^http:", "https:", url), allow_private=allow_private):
            raise _Refused(why)
        request = http.build_request(
            "GET",
            url,
            headers={"Range": f"bytes=0-{HEAD_BYTES - 1}", "Accept-Encoding": "identity"},
        )
        async with AsyncExitStack() as stack:
            try:
                with unlogged():
                    response = await http.send(request, stream=True)
            except AddressRefused as refused:
                raise _Refused(refused.reason) from None
            stack.push_async_callback(response.aclose)
            if response.has_redirect_location:
                url = urljoin(url, response.headers["location"])
                continue
            return _Answer(response.status_code, await _head(response), _whole_size(response))
    raise _Refused(f"redirects more than {MOST_REDIRECTS} times")


async def _head(response: httpx.Response) -> bytes:
    head = b""
    async for chunk in response.aiter_raw():
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES]


def _whole_size(response: httpx.Response) -> int | None:
    total = response.headers.get("content-range", "").rpartition("/")[2]
    text = total if response.status_code == 206 else response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


# ── judging ─────────────────────────────────────────────────────────────────────────────────────


def _judged(answer: _Answer, kind: MediaKind) -> tuple[list[str], list[str]]:
    """(problems, warnings) about an answer."""
    if answer.status >= 500 or answer.status == 429:
        return [], [f"answers {answer.status} right now"]
    if answer.status >= 300 or answer.status < 200:
        return [f"answers {answer.status}: it cannot be fetched"], []
    content = content_of(answer.head)
    if content is None:
        page = answer.head.lstrip()[:1] == b"<"
        return [f"is {'a web page' if page else 'something else'}, not {kind.value}"], []
    if content.kind is not kind:
        return [f"is {content.kind.value}, but {kind.value} is needed"], []
    words = file_warning(kind, content.mime, answer.size or 0)
    sides = _sides(answer.head) if kind is MediaKind.IMAGE else None
    about_sides = sides_warning(*sides) if sides else None
    return [], [each for each in (words, about_sides) if each]


def _sides(head: bytes) -> tuple[int, int] | None:
    import warnings

    from PIL import Image, ImageFile

    parser = ImageFile.Parser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parser.feed(head)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None
    return parser.image.size if parser.image else None


# ── signed addresses ────────────────────────────────────────────────────────────────────────────


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def expires_at(url: str) -> float | None:
    """Unix seconds at which a signed address ends, by the common signatures; None if not said."""
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    except ValueError:
        return None
    for vendor in ("amz", "goog", "oss", "cos", "tos"):
        begun, lasts = query.get(f"x-{vendor}-date"), query.get(f"x-{vendor}-expires")
        if begun and lasts:
            start, seconds = _stamp(begun, "%Y%m%dT%H%M%SZ"), _seconds(lasts)
            return None if start is None or seconds is None else start + seconds
    if "se" in query and "sig" in query:
        return _stamp(query["se"], "%Y-%m-%dT%H:%M:%SZ")
    for name in ("expires", "x-expires", "exp", "expiry"):
        if (seconds := _seconds(query.get(name, ""))) and seconds > 1e9:
            return seconds
    return None


def _stamp(text: str, layout: str) -> float | None:
    try:
        return datetime.strptime(text, layout).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


# ── The rules that HiAPI publishes, beside ours: free, without a key, and never in the way ────────
# Where nothing is published, nothing is said.


_RULES_PATIENCE: Final = 5.0
"""Seconds for an answer; nobody waits longer for what only warns."""


def published_schemas(base_url: str, models: Collection[str]) -> dict[str, Schema]:
    """The schema of ``input`` of each of these models, of those that are published."""
    return anyio.run(_schemas, base_url, tuple(dict.fromkeys(models)))


async def _schemas(base_url: str, models: Sequence[str]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    async with Client(public_site(base_url), "", deadline=_RULES_PATIENCE) as client:
        for model in models:
            answer = await client.model_schema(model)
            if not answer.status:
                break  # nobody is there
            schema = input_schema_in(answer.value) if answer.verdict is Verdict.OK else None
            if schema is not None:
                found[model] = schema
    return found


def rule_differences(base_url: str, models: Collection[str]) -> tuple[int, list[str]]:
    """How many known models have published rules, and what those say otherwise than ours."""
    known = [model.names[0] for model in map(family_model, models) if model is not None]
    schemas = published_schemas(base_url, known)
    words = [
        f"{model}: {difference}"
        for model, schema in schemas.items()
        for difference in differences(our_rules(model), schema)
    ]
    return len(schemas), words


def rule_findings(manifest: Manifest, base_url: str, table: PriceTable | None) -> list[Finding]:
    """What published rules say: warnings about known models, problems of rows of unknown ones."""
    models = sorted({job.model for job in manifest.jobs})
    _, words = rule_differences(base_url, models)
    known = dict.fromkeys(model for model in map(family_model, models) if model is not None)
    words += price_differences(table, known)
    place = Place(manifest.path)
    drift = [
        Finding(
            Severity.WARNING,
            place,
            f"HiAPI publishes other rules than this program's: {each}",
            cause=Code.RULES,
        )
        for each in words
    ]
    return [*drift, *unknown_model_findings(manifest, base_url)]


def unknown_model_findings(manifest: Manifest, base_url: str) -> list[Finding]:
    """Rows of models that are not known, against their own published rules, where there are any."""
    jobs = [job for job in manifest.jobs if family_model(job.model) is None]
    if not jobs:
        return []
    names = {job.model: job.model.strip().partition("@")[0] for job in jobs}
    schemas = published_schemas(base_url, names.values())
    return [
        finding
        for job in jobs
        if (schema := schemas.get(names[job.model])) is not None
        for finding in _objections(job, schema)
    ]


def _objections(job: Job, schema: Schema) -> Iterator[Finding]:
    from jsonschema_rs import Draft202012Validator

    sent = {**job.input.wire(), **_without_tokens(job)}
    try:
        errors = list(Draft202012Validator(dict(schema)).iter_errors(sent))
    except ValueError:  # a schema that is none, by the validator's words
        return
    row = job.row.place
    for error in errors:
        field = next((str(part) for part in error.instance_path), None)
        words = f"{job.model} refuses it by its published rules: {error.message}"
        place = Place(row.file, row.sheet, row.line, field)
        yield Finding(Severity.PROBLEM, place, words, rows=(job.row.number,), cause=Code.RULES)


def _without_tokens(job: Job) -> dict[str, object]:
    """Local media as the data URIs that they are sent as, without their bytes."""
    tokens = {media.token: f"data:{media.mime};base64,AAAA" for media in job.media}
    found: dict[str, object] = {}
    for name, _ in job.input.media():
        value = getattr(job.input, name)
        if isinstance(value, str):
            found[name] = tokens.get(value, value)
        else:
            found[name] = [tokens.get(each, each) for each in value]
    return found


# ── Looks at each address that a manifest names, for ``check --net``: what is off is a finding ────


def look_at_addresses(manifest: Manifest, *, allow_private: bool, pace: Pace) -> Sequence[Finding]:
    """One bounded, polite look at each distinct URL; findings for every row that names it.

    Private addresses are looked at only where ``allow_private`` (the API is on loopback).
    """
    return anyio.run(_looked_at, manifest, allow_private, pace)


async def _looked_at(manifest: Manifest, allow_private: bool, pace: Pace) -> Sequence[Finding]:
    now = time.time()
    plan = make_plan(manifest.jobs, (), table=None)
    async with file_client(allow_private=allow_private) as http:
        looks = await look(
            addresses(manifest),
            http,
            now=now,
            needed_until=now + forecast(plan, pace, now).seconds,
            allow_private=allow_private,
        )
    return findings(looks, manifest)


# ── Looks whether anything is off on this machine or with the account; free, changes nothing ──────


_NO_HOST = "files.example.com"
"""A name that has no address (RFC 2606), save where a resolver makes addresses up."""
_ENOUGH_DISK = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at."""

    what: str
    ok: bool
    says: str


def examine(settings: RunSettings, environ: Mapping[str, str]) -> list[Diagnosis]:
    """Everything that a run will lean on, one finding each."""
    return [
        _tried("key", _key, settings, environ),
        _tried("prices", _prices, settings, environ),
        _tried("rules", _rules, settings, environ),
        _tried("resolver", _resolver, settings, environ),
        _tried("disk", _disk),
        *([] if settings.store is None else [_tried("store", _store, settings.store)]),
        _tried("sqlite", _sqlite),
        _tried("files", _file_system),
        _tried("clips", _codecs),
        _tried("fonts", _fonts),
    ]


def _store(url: str) -> tuple[bool, str]:
    store = open_store(url, patience=15.0, longest=15.0)
    try_out(store)
    return True, f"{store.url} takes new objects, and gives no name twice"


def _tried(what: str, look: Callable[..., tuple[bool, str]], *given: object) -> Diagnosis:
    try:
        ok, says = look(*given)
    except (SeedanceBatchError, OSError, ImportError, sqlite3.Error) as error:
        ok, says = False, str(error)
    return Diagnosis(what, ok, says)


def _key(settings: RunSettings, environ: Mapping[str, str]) -> tuple[bool, str]:
    if settings.sandbox:
        return True, "the sandbox needs no key"
    access = access_from(environ, settings.api_url)

    async def probe() -> Answer[Page]:
        async with Client(access.base_url, access.api_key, deadline=15.0) as client:
            return await client.probe()

    answer = anyio.run(probe)
    if answer.verdict is Verdict.OK:
        return True, f"{access.base_url} accepts the key (HiAPI does not tell the balance)"
    return False, f"{access.base_url}: {answer.error.message}"


def _resolver(settings: RunSettings, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether names resolve to their own addresses: clips come from hosts that nobody knows yet."""
    host = urlsplit(public_access(environ, settings.api_url).base_url).hostname or ""
    if settings.sandbox or host == "localhost" or is_ip(host):
        return True, "not checked: the API has no public name"
    if proxy_for("https", host) is not None:
        return True, "not checked: a proxy resolves names"
    for name in (host, _NO_HOST):
        if (address := anyio.run(faked, name)) is not None:
            return True, (
                f"in fake-IP mode, as with Clash, sing-box or Surge ({name} is {address}): clips "
                "still arrive, since TLS proves their hosts"
            )
    return True, "names resolve to their own addresses"


def _prices(settings: RunSettings, environ: Mapping[str, str]) -> tuple[bool, str]:
    table, absence = price_list(settings, environ)
    if table is None:
        where = public_access(environ, settings.api_url).base_url
        why = "" if absence is None else f" ({redact(absence.message)})"
        return False, f"no prices from {where}{why}; give your own with --price-file"
    return True, price_note(table)


def _rules(settings: RunSettings, environ: Mapping[str, str]) -> tuple[bool, str]:
    """Whether what HiAPI publishes is what this program goes by; never in the way of a run."""
    api: AbstractContextManager[Access] = (
        sandbox_access(settings.sandbox_config, None)
        if settings.sandbox
        else nullcontext(public_access(environ, settings.api_url))
    )
    with api as access:
        names = [model.names[0] for model in FAMILY]
        count, words = rule_differences(access.base_url, names)
    words = words + price_differences(price_list(settings, environ).table)
    if words:
        return True, f"HiAPI publishes other rules than this program's: {'; '.join(words)}"
    return True, f"as published, for {some(count, 'model')}" if count else "none are published here"


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
    return True, "a network or synced folder: the journal works without write-ahead logging"


def _codecs() -> tuple[bool, str]:
    import av

    missing = [name for name in ("h264", "aac") if name not in av.codecs_available]
    return not missing, f"PyAV {av.__version__}" + (f", lacks {missing}" if missing else "")


def _fonts() -> tuple[bool, str]:
    from PIL import ImageFont

    fonts = sorted((Path(__file__).parents[1] / "sandbox" / "fonts").glob("*.?tf"))
    names = [" ".join(map(str, ImageFont.truetype(font, 16).getname())) for font in fonts]
    return bool(names), f"the sandbox writes with {', '.join(names) or 'none'}"


def diagnosis_lines(found: list[Diagnosis]) -> Iterator[str]:
    """The findings for people."""
    for finding in found:
        yield f"  {'ok ' if finding.ok else 'off'} {finding.what:<9}{finding.says}"
