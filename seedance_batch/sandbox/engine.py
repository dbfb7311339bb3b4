"""The sandbox's rules without HTTP: who may ask, what a create leads to, what a look shows."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from seedance_batch.sandbox.answers import Refusal, draw, invalid, retry_after_header
from seedance_batch.sandbox.config import (
    GenerationTime,
    ListedFault,
    Moderated,
    SandboxConfig,
    Times,
    phases,
)
from seedance_batch.sandbox.ledger import Ledger, StoredKey, StoredTask
from seedance_batch.sandbox.validation import Checker, Unreadable, checker_for, strict_json
from seedance_batch.sandbox.views import Links, View

_KEY_LIMIT: Final = 255
_MINUTE: Final = 60.0
_IDS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHANCE_BITS: Final = 80
_LAST_MOMENT: Final = 2**48 - 1
"""A ULID: 48 bits of milliseconds, then 80 of chance."""


@dataclass(frozen=True, slots=True)
class CreateOrder:
    """A valid create: what is wanted, and the identity of the request."""

    account: str
    model: str
    route: str | None
    storage: str | None
    callback_url: str | None
    input: dict[str, Any]
    input_json: str
    content: str
    body_sha256: str
    key: str | None


@dataclass(eq=False, slots=True)
class Held:
    """An idempotency key whose first request is still running, until when at most."""

    until: float
    task_id: str | None


class Engine:
    """Tasks of all accounts (an account is an API key) under one configuration and clock."""

    def __init__(self, config: SandboxConfig, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.ledger = ledger
        self._clock = clock
        self.links = Links(ledger.meta("secret"))
        self._world = ledger.meta("world")
        self._windows: defaultdict[str, Window] = defaultdict(Window)
        self._processing: dict[tuple[str, str], Held] = {}
        self._last_id = 0
        self.configure(config)

    def clock(self) -> float:
        """Unix seconds by the service's clock."""
        return self._clock() + self.config.clock_ahead

    def configure(self, config: SandboxConfig) -> None:
        """Puts a configuration in force; accepted tasks keep the times they were given."""
        self.config = config
        self._generation = GenerationTime.parse(config.generation_time)

    # -- who may ask ---------------------------------------------------------------------------

    def account(self, authorization: str) -> str:
        """The account behind an Authorization header; 401 and 403."""
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        wanted = self.config.api_key
        good = key == wanted if wanted is not None else key.startswith(("sk-", "hi-sk-"))
        if scheme.lower() != "bearer" or not good:
            raise Refusal(401, "unauthorized", "the API key is missing or not valid")
        account = hashlib.sha256(key.encode()).hexdigest()[:16]
        limit = self.config.faults.revoke_after
        if limit is not None and self.ledger.count_tasks(account) >= limit:
            status = self.config.faults.revoked_status
            raise Refusal(status, "key_revoked", "this API key was revoked")
        return account

    def admit(self, account: str) -> None:
        """Counts a request against the minute; 429."""
        if self.config.rpm is None:
            return
        now, minute = self.clock(), self.config.compressed(_MINUTE)
        wait = self._windows[account].admit(now, self.config.rpm, minute)
        if wait > 0:
            self._refuse_rate(f"more than {self.config.rpm} requests a minute", wait)

    def _refuse_rate(self, message: str, wait: float) -> None:
        headers = retry_after_header(self.config.faults, self.clock(), max(wait, 1.0))
        raise Refusal(429, "rate_limit_exceeded", message, headers=headers)

    def limit_headers(self, account: str) -> dict[str, str]:
        """``X-RateLimit-*``, where there is a limit."""
        if self.config.rpm is None:
            return {}
        minute = self.config.compressed(_MINUTE)
        return self._windows[account].headers(self.clock(), self.config.rpm, minute)

    # -- creating ------------------------------------------------------------------------------

    def _checker(self) -> Checker:
        config = self.config
        return checker_for(config.allow_4k, config.allow_mixed, config.refuse_seed)

    def read_order(self, account: str, body: bytes, key: str | None) -> CreateOrder:
        """The create that a body asks for; 400 and 404."""
        if key is not None and len(key.encode("latin-1", "replace")) > _KEY_LIMIT:
            raise invalid(f"Idempotency-Key is longer than {_KEY_LIMIT} bytes")
        try:
            asked = strict_json(body)
        except Unreadable as error:
            raise invalid(f"the body is no JSON: {error}") from error
        model = _model_of(asked)
        problems = self._checker().problems(asked, model) or _mixed_count(asked["input"])
        if problems:
            raise invalid("; ".join(problems[:10]))
        route = self._route(asked)
        fields = asked["input"]
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return CreateOrder(
            account,
            model,
            route,
            asked.get("storage"),
            _callback_url(asked),
            fields,
            text,
            _content(model, fields),
            hashlib.sha256(body).hexdigest(),
            key or None,
        )

    def _route(self, asked: dict[str, Any]) -> str | None:
        suffix = asked["model"].partition("@")[2]
        route = asked.get("route") or suffix or "default"
        known = ("default", *self.config.routes)
        if route not in known:
            raise invalid(f"no route is called {route[:80]!r}; there are: {', '.join(known)}")
        return None if route == "default" else route

    def replayed(self, order: CreateOrder) -> str | None:
        """The task id that the order's key already stands for; 409 and 422."""
        if order.key is None:
            return None
        known = self.ledger.key(order.account, order.key)
        if known and self._forgotten(known):
            known = None
        if known and known.body_sha256 != order.body_sha256:
            raise Refusal(
                422, "IDEMPOTENCY_KEY_MISMATCH", "the Idempotency-Key came with another body"
            )
        self._refuse_processing(order.account, order.key)
        return known.task_id if known else None

    def _forgotten(self, known: StoredKey) -> bool:
        return self.clock() >= known.created + self.config.compressed(self.config.key_memory)

    def _refuse_processing(self, account: str, key: str) -> None:
        held = self._processing.get((account, key))
        wait = held.until - self.clock() if held else 0.0
        if held is None or wait <= 0:
            self._processing.pop((account, key), None)
            return
        named = self.config.faults.processing_names_task
        raise Refusal(
            409,
            "IDEMPOTENCY_KEY_PROCESSING",
            "the first request with this Idempotency-Key is still running",
            headers=retry_after_header(self.config.faults, self.clock(), min(max(wait, 1.0), 5.0)),
            data={"taskId": held.task_id} if named and held.task_id else None,
        )

    @contextmanager
    def holding(self, order: CreateOrder) -> Iterator[None]:
        """While the block runs, another create with the order's key is answered 409."""
        mine = self.hold_key(order, math.inf)
        try:
            yield
        finally:
            if order.key is not None and self._processing.get((order.account, order.key)) is mine:
                del self._processing[order.account, order.key]

    def hold_key(self, order: CreateOrder, seconds: float, task_id: str | None = None) -> Held:
        """Answers 409 to the order's key for a while."""
        held = Held(self.clock() + seconds, task_id)
        if order.key is not None:
            self._processing[order.account, order.key] = held
        return held

    def price(self, order: CreateOrder, reference_seconds: Decimal = Decimal(0)) -> Decimal:
        """What the order will cost, in USD."""
        return price(order.input, reference_seconds, order.model)

    def check_means(self, order: CreateOrder, cost: Decimal) -> None:
        """402 when the balance is too low, 429 when too many tasks run."""
        balance = self.config.balance
        if balance is not None and self.ledger.charged() + cost > balance:
            raise Refusal(402, "insufficient_balance", "the balance is too low; nothing created")
        limit, now = self.config.max_at_once, self.clock()
        if limit is not None and self.ledger.count_running(order.account, now) >= limit:
            end = self.ledger.next_end(order.account, now)
            self._refuse_rate(f"more than {limit} tasks at once", (end or now) - now)

    def accept(self, order: CreateOrder, cost: Decimal) -> str:
        """Makes the task, durable when this returns, and answers its id."""
        nth = self.ledger.count_try("task", order.content)
        code, message = self._fate(order, nth)
        task = StoredTask(
            self._new_id(order.content, nth),
            order.account,
            self._times(order, nth),
            code,
            message,
            order.model,
            order.route,
            order.storage,
            order.input_json,
            order.input.get("return_last_frame", False),
            order.content,
            nth,
            order.body_sha256,
            order.key,
            cost,
            order.callback_url,
        )
        self.ledger.add_task(task, task.times.final if task.callback_url else None)
        return task.task_id

    def _new_id(self, content: str, nth: int) -> str:
        """An id of its own; one that is made later sorts later."""
        number = _numbered(self._world, content, nth)
        if self.config.faults.number_ids:
            return str(10**14 + number % 10**14)
        moment = min(max(int(self.clock() * 1000), 0), _LAST_MOMENT)
        ulid = (moment << _CHANCE_BITS) + number % 2**_CHANCE_BITS
        self._last_id = max(ulid, self._last_id + 1)
        return f"tk-hiapi-{_spelled(self._last_id)}"

    def _times(self, order: CreateOrder, nth: int) -> Times:
        if _holds(order.input, self.config.faults.stuck):
            return phases(self.clock(), _FOR_EVER)
        seconds = self._generation.sample(f"{self.config.seed}:{order.content}:{nth}")
        return phases(self.clock(), self.config.compressed(seconds))

    def _fate(self, order: CreateOrder, nth: int) -> tuple[str | None, str | None]:
        """The error that the task will end with, or (None, None)."""
        faults = self.config.faults
        refused = _refused(order.input, faults.moderation)
        if refused is not None:
            return "TASK_FAILED", _REFUSALS[refused]
        code = draw(faults, self.config.seed, "tasks", faults.tasks, order.content, nth)
        return (code, _MESSAGES.get(code, "the generation failed")) if code else (None, None)

    # -- looking -------------------------------------------------------------------------------

    def view(self) -> View:
        """How tasks look now."""
        return View(self.config, self.links, self.clock())

    def task_of(self, account: str, task_id: str) -> StoredTask:
        """The account's task of that id; 404 for an unknown and for a foreign one."""
        task = self.ledger.task(task_id)
        if task is None or task.account != account or not self._is_known(task):
            raise Refusal(404, "task_not_found", "no such task")
        return task

    def page(self, account: str, page: str | None, size: str | None) -> dict[str, Any]:
        """A list page; a value out of range silently becomes the default."""
        number, count = _within(page, 1, 10**9, 1), _within(size, 1, 100, 10)
        faults = self.config.faults
        held = min(count, faults.list_size or count)
        shown = 1 if faults.list_by_marks else number
        tasks = filter(self._is_known, self.ledger.page(account, shown, held))
        listed = [self._listed(task) for task in tasks]
        return {
            "page": number,
            "size": count,
            "total": 10**6 if faults.list_by_marks else self.ledger.count_tasks(account),
            "tasks": [seen for seen in listed if seen is not None],
        }

    def _is_known(self, task: StoredTask) -> bool:
        """Whether lists and details know of a task."""
        faults = self.config.faults
        if faults.unknown_seconds and self.clock() < task.times.created + faults.unknown_seconds:
            return False
        return not (faults.forgotten and _holds(self._whole(task).input, faults.forgotten))

    def _whole(self, task: StoredTask) -> StoredTask:
        return self.ledger.task(task.task_id) or task  # pages come without the input

    def _listed(self, task: StoredTask) -> dict[str, Any] | None:
        """How a task stands in a list page; None where it is missing there."""
        faults, view = self.config.faults, self.view()
        odd = draw(faults, self.config.seed, "listed", faults.listed, task.content, task.nth)
        if odd is ListedFault.SAYS_FAIL_ONCE:
            running = self.clock() < task.times.final
            odd = ListedFault.SAYS_FAIL if running and self._is_first_listing(task) else None
        if odd is not None:
            return None if odd is ListedFault.MISSING else view.listed_wrongly(task, odd)
        return view.listed(task) if faults.bare_lists else view.task(task)

    def _is_first_listing(self, task: StoredTask) -> bool:
        return self.ledger.count_try("listed", task.task_id) == 1


_MESSAGES: Final = {
    "TASK_FAILED": "the generation failed",
    "TASK_TIMEOUT": "the upstream task timed out",
    "STORAGE_UNAVAILABLE": "the output could not be stored",
    "MODEL_UNAVAILABLE": "the model is not available at the moment",
}


_FOR_EVER: Final = 1e11
"""Seconds; the times of what never ends are numbers, too."""


def _refused(fields: Mapping[str, Any], words: Mapping[str, Moderated]) -> Moderated | None:
    """What the task is refused for."""
    texts = {kind: [fields["prompt"]] for kind in Moderated}
    for kind, names in _ABOUT.items():
        media = [url for name in names for url in _listed(fields.get(name))]
        texts[kind] = [fields["prompt"], *(u for u in media if u[:5] != "data:")] if media else []
    if not fields.get("generate_audio", True):
        texts[Moderated.SOUND] = []
    found = (k for w, k in words.items() if any(w.casefold() in t.casefold() for t in texts[k]))
    return next(found, None)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value or []


_PICTURES: Final = ("first_frame_url", "last_frame_url", "reference_image_urls")
_ABOUT: Final = {
    Moderated.FACE: (*_PICTURES, "reference_video_urls"),
    Moderated.PICTURE: _PICTURES,
    Moderated.REFERENCE: ("reference_video_urls", "reference_audio_urls"),
}
"""Where a task has what such a refusal is about."""

_FAILED: Final = "The request failed because the"
_REFUSALS: Final = {
    Moderated.SOUND: "OutputAudioSensitiveContentDetected.PolicyViolation: "
    f"{_FAILED} output audio may be related to copyright restrictions.",
    Moderated.FACE: "InputImageSensitiveContentDetected.PrivacyInformation: "
    f"{_FAILED} input image may contain real person.",
    Moderated.PICTURE: "InputImageSensitiveContentDetected: "
    f"{_FAILED} input image may contain sensitive information.",
    Moderated.REFERENCE: "InputVideoSensitiveContentDetected: "
    f"{_FAILED} input video may contain sensitive information.",
    Moderated.PROMPT: "InputTextSensitiveContentDetected: "
    f"{_FAILED} input text may contain sensitive information.",
    Moderated.COPYRIGHT: "OutputVideoSensitiveContentDetected.PolicyViolation: "
    f"{_FAILED} output video may be related to copyright restrictions.",
    Moderated.VIDEO: "OutputVideoSensitiveContentDetected: "
    f"{_FAILED} output video may contain sensitive information.",
    Moderated.OTHER: "the content was refused by moderation",
}
"""As the model's maker words them, quoted in public by those who had them (read in 2026-11)."""


def _holds(fields: Mapping[str, Any], words: tuple[str, ...]) -> bool:
    """Whether the prompt holds one of these texts."""
    prompt = str(fields["prompt"]).casefold()
    return any(word.casefold() in prompt for word in words)


def _within(text: str | None, low: int, high: int, default: int) -> int:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 12):
        return default
    return int(text) if low <= int(text) <= high else default


def _content(model: str, fields: dict[str, Any]) -> str:
    """Equal for both spellings of the model and for any order of the fields."""
    text = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{model.replace('.', '-')}\n{text}".encode()).hexdigest()


def _numbered(world: str, content: str, nth: int) -> int:
    """A number that is a task's own: all of an id that is a number, the chance in any other."""
    return int.from_bytes(hashlib.sha256(f"{world}:{content}:{nth}".encode()).digest())


def _spelled(ulid: int) -> str:
    """A ULID's 26 signs, in upper case: Crockford's digits, the time first."""
    digits = []
    for _ in range(26):
        ulid, digit = divmod(ulid, len(_IDS))
        digits.append(_IDS[digit])
    return "".join(reversed(digits))


def _mixed_count(fields: dict[str, Any]) -> list[str]:
    """Frames and reference images together are at most nine; JSON Schema cannot say it."""
    frames = sum(name in fields for name in ("first_frame_url", "last_frame_url"))
    if frames + len(fields.get("reference_image_urls", ())) > 9:
        return ["input has more than 9 frames and reference images"]
    return []


def _model_of(asked: Any) -> str:
    """The model that a body names, without its route; 404 comes before any check of fields."""
    named = asked.get("model") if isinstance(asked, dict) else None
    if not isinstance(named, str) or not named:
        return ""
    model = named.partition("@")[0]
    if model not in MODELS and model.replace("2-0", "2.0") not in MODELS:
        raise Refusal(404, "model_not_found", f"no model is called {named[:80]!r}")
    return model


def _callback_url(asked: dict[str, Any]) -> str | None:
    """The callback's address; the schema has seen to its form."""
    if "callback" not in asked:
        return None
    url: str = asked["callback"]["url"]
    if (urlsplit(url).hostname or "").endswith((".local", ".internal", ".localhost")):
        raise invalid("callback.url is not on a public host")
    return url


# ── The request budget of a key: so many requests in any minute ───────────────────────────────────
# HiAPI's documentation (read in November 2026) names 60 requests a minute, polls included, ten
# tasks at once, and the ``X-RateLimit-*`` headers; that the minute is a rolling one is our
# assumption.


@dataclass(slots=True)
class Window:
    """The times of the requests that were let through within the last window."""

    times: deque[float] = field(default_factory=deque)

    def admit(self, now: float, limit: int, seconds: float) -> float:
        """0 if one more request may pass (and counts it), else how long until one may."""
        while self.times and self.times[0] <= now - seconds:
            self.times.popleft()
        if len(self.times) < limit:
            self.times.append(now)
            return 0.0
        return self.times[len(self.times) - limit] + seconds - now

    def headers(self, now: float, limit: int, seconds: float) -> dict[str, str]:
        """``X-RateLimit-*``: limit, what is left, and when the oldest request is forgotten."""
        reset = self.times[0] + seconds if self.times else now
        return {
            "x-ratelimit-limit": str(limit),
            "x-ratelimit-remaining": str(max(limit - len(self.times), 0)),
            "x-ratelimit-reset": str(math.ceil(reset)),
        }


# ── The sandbox's own, invented prices, in the shape of HiAPI's public list ───────────────────────
# The shape is that of ``GET /api/pricing`` (read in November 2026; ``openapi.yaml`` has the path).
# No price a second of this model is published there, so none of these is HiAPI's.


MODELS: Final = ("seedance-2-0", "seedance-2.0", "seedance-2.0-fast", "seedance-2.0-mini")
"""The published names; `_model_of` takes the two smaller ones in the other spelling as well."""

_BASE: Final = Decimal("0.0720")
"""USD per second of 720p: the resolution's own digits, so that nobody takes it for real."""

_PER_SECOND: Final = {
    "480p": Decimal("0.0480"),
    "720p": _BASE,
    "1080p": _BASE * Decimal("1.5"),
    "4k": Decimal("0.2160"),
}


_SMALLER: Final = {
    "seedance-2.0-fast": {"480p": Decimal("0.0240"), "720p": Decimal("0.0360")},
    "seedance-2.0-mini": {"480p": Decimal("0.0120"), "720p": Decimal("0.0180")},
}


def price(fields: Mapping[str, Any], reference_seconds: Decimal, model: str = MODELS[0]) -> Decimal:
    """USD for a task: seconds asked and seconds of reference video, by model and resolution."""
    seconds = Decimal(fields.get("duration", 5)) + reference_seconds
    rates = _SMALLER.get(model.replace("2-0", "2.0"), _PER_SECOND)
    return (rates[fields.get("resolution", "720p")] * seconds).quantize(Decimal("0.000001"))


def invented_prices() -> dict[str, Any]:
    """What ``GET /api/pricing`` answers."""
    return {
        "sandbox": "invented prices, not HiAPI's",
        "data": [_listed_price(model) for model in MODELS],
    }


def _listed_price(model: str) -> dict[str, Any]:
    rates = _SMALLER.get(model)
    policies = [_fixed("480p"), _fixed("720p"), _multiplied("1080p"), _fixed("4k")]
    return {
        "model_name": model,
        "factors": ["duration"],
        "base_usd_value": float(_BASE if rates is None else rates["720p"]),
        "policies": policies if rates is None else [_fixed(name, rates) for name in rates],
    }


def _fixed(resolution: str, rates: Mapping[str, Decimal] = _PER_SECOND) -> dict[str, Any]:
    return {
        "rule": {"resolution": {"match": resolution}},
        "pricing_type": "fixed",
        "usd_value": float(rates[resolution]),
    }


def _multiplied(resolution: str) -> dict[str, Any]:
    return {
        "rule": {"resolution": {"match": resolution}},
        "pricing_type": "multiply",
        "times": float(_PER_SECOND[resolution] / _BASE),
    }
