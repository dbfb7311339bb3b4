"""What a person can set about the sandbox: limits, time, money, and faults on demand."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

DAY: Final = 86_400.0


class SandboxConfigError(ValueError):
    """A sandbox configuration that cannot be used; the message names the place."""


class ApiFault(StrEnum):
    """A way in which an API answer goes wrong; `_AFTER` ones strike once the task is made."""

    TOO_MANY = "429"
    BUSY = "503"
    MISSING_404 = "404"
    NO_METHOD_405 = "405"
    TIMEOUT_408 = "408"
    EARLY_425 = "425"
    ERROR_500 = "500"
    ERROR_502 = "502"
    ERROR_504 = "504"
    ERROR_500_AFTER = "500_after"
    ERROR_502_AFTER = "502_after"
    ERROR_504_AFTER = "504_after"
    RESET = "reset"
    RESET_AFTER = "reset_after"
    STALL = "stall"
    STALL_AFTER = "stall_after"
    LATE = "late"
    """Done at once, answered whole but `late_seconds` later."""
    CUT = "cut"
    """Done; the body ends before its Content-Length."""
    HTML = "html"
    """Not done; a gateway's 502 page."""
    HTML_AFTER = "html_after"
    """Done; status 200 with an HTML body."""
    EMPTY = "empty"
    """Not done; status 502 without a body."""
    EMPTY_AFTER = "empty_after"
    """Done; status 200 without a body."""
    PROCESSING = "processing"
    """Done, connection reset, and the idempotency key answers 409 for `processing_seconds`."""

    TOO_MANY_GATEWAY = "429_gateway"
    """Not done; a gateway before the service says so, in `gateway_form`."""
    BUSY_GATEWAY = "503_gateway"
    UNPAID_GATEWAY = "402_gateway"
    DENIED_GATEWAY = "403_gateway"
    MISSING_GATEWAY = "404_gateway"
    METHOD_GATEWAY = "405_gateway"
    LARGE_GATEWAY = "413_gateway"
    TOO_MANY_GATEWAY_AFTER = "429_gateway_after"
    """Done; a gateway says all the same that it was not."""
    BUSY_GATEWAY_AFTER = "503_gateway_after"
    UNPAID_GATEWAY_AFTER = "402_gateway_after"
    DENIED_GATEWAY_AFTER = "403_gateway_after"
    MISSING_GATEWAY_AFTER = "404_gateway_after"
    REDIRECT = "redirect"
    """Not done; 307 to `redirect_to`."""
    REDIRECT_AFTER = "redirect_after"


class FileFault(StrEnum):
    """A way in which a download goes wrong."""

    DENIED_403 = "403"
    MISSING_404 = "404"
    RANGE_416 = "416"
    TOO_MANY = "429"
    ERROR_500 = "500"
    BUSY = "503"
    RESET = "reset"
    CUT = "cut"
    """Ends at byte `cut_at` (or a seeded place), before its Content-Length."""
    SHORT = "short"
    """Ends there too, with a Content-Length that agrees: only the file is broken."""
    NO_LENGTH = "no_length"
    """Whole, but without a Content-Length."""
    WRONG_LENGTH = "wrong_length"
    """Promises more bytes than the file has, then closes."""
    WRONG_RANGE = "wrong_range"
    """Answers a range with another one."""
    IGNORE_RANGE = "ignore_range"
    """Answers a range with 200 and the whole file."""
    ETAG = "etag"
    """The ETag is another one than before; a range with If-Range gets the whole file."""
    GZIP = "gzip"
    """A gzip bomb: `endless_bytes` of zeros."""
    ENDLESS = "endless"
    """Never ends (well: after `endless_bytes`), without a Content-Length."""
    EMPTY = "empty"
    HTML = "html"
    NO_MOOV = "no_moov"
    """An MP4 without its index."""
    STALL = "stall"
    """Half of the file, then silence for `stall_seconds`, then a reset."""
    DRIP = "drip"
    """`drip_bytes_per_second`."""
    LATE = "late"
    NOT_YET = "not_yet"
    """404 until `not_yet_seconds` after the task finished."""
    PART = "part"
    """The whole file as a 206, although no range was asked for."""
    PACKED = "packed"
    """The whole file in gzip, although that was not asked for."""


class OutputFault(StrEnum):
    """A way in which a finished task's output is odd."""

    NO_VIDEO = "no_video"
    LATE_VIDEO = "late_video"
    """`output` stays empty for `late_seconds` after success."""
    VIDEO_LAST = "video_last"
    MALFORMED = "malformed"
    """Broken entries stand before the good one."""
    EXPIRE_ISO = "expire_iso"
    EXPIRE_ZERO = "expire_zero"
    EXPIRE_PAST = "expire_past"
    EXPIRE_MISSING = "expire_missing"
    OTHER_LENGTH = "other_length"
    OTHER_SIZE = "other_size"
    OTHER_AUDIO = "other_audio"
    UNTYPED = "untyped"
    TYPE_MP4 = "type_mp4"
    TYPE_MIME = "type_mime"
    TYPE_FILE = "type_file"
    TYPE_RESULT = "type_result"
    STRINGS = "strings"
    """A list of addresses."""
    OBJECT = "object"
    """One object in place of the list."""
    OUTPUTS = "outputs"
    VIDEO_URL = "video_url"
    """A field of the task, and no output."""
    RESULT = "result"
    RELATIVE = "relative"
    """An address without its host, below the API."""
    NO_SCHEME = "no_scheme"
    BLANKS = "blanks"
    FORBIDDEN_URL = "forbidden_url"
    """The video's URL leads where a client must not go: to a cloud's own metadata."""
    FRAGMENTED = "fragmented"
    """A right clip as a fragmented MP4."""
    ROTATED = "rotated"
    """A right clip whose picture lies on its side, with the word to turn it."""
    WEBM = "webm"
    """A right clip as WebM, under a name that says MP4."""


class CallbackFault(StrEnum):
    """A way in which a callback goes wrong."""

    DROP = "drop"
    DUPLICATE = "duplicate"
    LATE = "late"
    """`late_seconds` later."""
    REORDER = "reorder"
    """A seeded time up to `reorder_seconds` later, so that others overtake it."""
    UNSIGNED = "unsigned"
    FORGED = "forged"
    """Signed with another secret."""
    STALE = "stale"
    """Its timestamp lies an hour back."""


class ListedFault(StrEnum):
    """A way in which list pages are wrong about a task that its detail shows as it is."""

    STALE = "stale"
    """It is called running for good."""
    SAYS_FAIL = "says_fail"
    """It is called failed, whatever it is."""
    SAYS_FAIL_ONCE = "says_fail_once"
    """The same, the first time that it is listed while it is running."""
    MISSING = "missing"


class Moderated(StrEnum):
    """What a refusal is about: it strikes only a task that has such a thing."""

    SOUND = "sound"
    """The sound that would be generated."""
    FACE = "face"
    """A picture or a video that was sent."""
    PICTURE = "picture"
    REFERENCE = "reference"
    """A reference video or sound."""
    PROMPT = "prompt"
    COPYRIGHT = "copyright"
    VIDEO = "video"
    OTHER = "other"
    """Words that say nothing."""


class StatusFault(StrEnum):
    """Another spelling of a status, as blogs and newer clients know them."""

    ALIAS = "alias"
    UNKNOWN = "unknown"
    """A running status that nobody has documented."""
    DONE = "done"
    """However it ended."""
    NUMBER = "number"
    NONE = "none"
    """No status at all."""


class Shape(StrEnum):
    """The shapes in which creates, details and pages come; what each is called there."""

    DOC = "doc"
    BARE = "bare"
    """Without an envelope."""
    TASK = "task"
    """Deeper: ``data.task``, ``items``."""
    ID = "id"
    """The task is called ``id``; pages hold ``records``."""
    LIST = "list"
    ARRAY = "array"
    NAMELESS = "nameless"
    """A create or a detail without a task id."""


class Stranger(StrEnum):
    """Who answers in the service's place, on every path."""

    MISSING_404 = "404"
    METHOD_405 = "405"
    PAGE = "page"
    REDIRECT = "redirect"


class Envelope(StrEnum):
    """The shapes in which refusals come."""

    DOC = "doc"
    HIAPI = "hiapi_error"
    INVALID = "invalid_request_error"
    HTML = "html"
    EMPTY = "empty"


class ExpireAt(StrEnum):
    """When an output URL ends."""

    FIXED = "fixed"
    """`url_ttl` after the task finished."""
    FRESH = "fresh"
    """`url_ttl` after each look at the task."""


def _words(value: object) -> object:
    """A list of texts, each refused without a word about why."""
    return dict.fromkeys(value, Moderated.OTHER) if isinstance(value, list | tuple) else value


def _text_keys(value: object) -> object:
    """YAML reads the key 429 as a number."""
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value


def _at_most_all(shares: dict[_Name, float]) -> dict[_Name, float]:
    if sum(shares.values()) > 1 + 1e-9:
        raise ValueError("the shares add up to more than 1")
    return shares


_Name = TypeVar("_Name", bound=str)
Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[dict[_Name, Share], BeforeValidator(_text_keys), AfterValidator(_at_most_all)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FaultConfig(BaseModel):
    """Shares (0 to 1) of what goes wrong, and its measures. A fault depends on the seed, the
    content it strikes and how often that content was tried, never on the order of requests.
    Its seconds are real ones, whatever the speed."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    create: Shares[ApiFault] = {}
    look: Shares[ApiFault] = {}
    """Details and list pages."""
    details: Shares[ApiFault] = {}
    """Details alone."""
    lists: Shares[ApiFault] = {}
    """List pages alone."""
    listed: Shares[ListedFault] = {}
    """How tasks stand in list pages."""
    list_size: int | None = Field(default=None, ge=1)
    """The most that a list page holds, whatever size it says it has."""
    list_by_marks: bool = False
    """List pages are turned by marks and not by numbers: each is the newest one, of a million."""
    files: Shares[FileFault] = {}
    tasks: Shares[str] = {}
    """Error codes of tasks that fail."""
    outputs: Shares[OutputFault] = {}
    callbacks: Shares[CallbackFault] = {}
    statuses: Shares[StatusFault] = {}
    model_name: str | None = None
    """How tasks name their model; ``{}`` stands for the name that was asked for."""
    repeat_input: bool = False
    """Tasks repeat what they were asked for, as ``input``; no documentation says so."""
    bare_lists: bool = False
    """Final tasks in list pages lack their output and error; the detail has them."""
    moderation: Annotated[dict[str, Moderated], BeforeValidator(_words)] = {}
    """A prompt that holds one of these texts ends as `TASK_FAILED`, for the reason beside it. What
    is about media is looked for in their addresses as well; see `Moderated`."""
    stuck: tuple[str, ...] = ()
    """A task whose prompt holds one of these texts never ends."""
    forgotten: tuple[str, ...] = ()
    """A task whose prompt holds one of these texts is made, charged and unknown ever after."""
    unknown_seconds: Seconds = 0.0
    """So long after it was made a task is unknown to lists and details."""
    envelopes: tuple[Envelope, ...] = Field(default=(Envelope.DOC,), min_length=1)
    tries: int | None = Field(default=None, ge=0)
    """Only the first so many tries of a content are struck."""
    gateway_form: Literal["text", "html", "json"] = "text"
    redirect_to: str = "http://127.0.0.1:9/v1/tasks"
    stranger: Stranger | None = None
    """Somebody else answers at this address."""
    stranger_after: int = Field(default=0, ge=0)
    """Once so many creates were accepted."""
    codes_in_200: bool = False
    """Refusals come with HTTP 200; their envelope's code tells."""
    created_as: Shape = Shape.DOC
    created_status: Literal[200, 201, 202] = 200
    shown_as: Shape = Shape.DOC
    listed_as: Shape = Shape.DOC
    number_ids: bool = False
    """Task ids are numbers."""
    reasons_as: Literal["error", "text", "list", "failReason", "fail_reason", "error_message"] = (
        "error"
    )
    """Where a failed task says why."""
    revoke_after: int | None = Field(default=None, ge=0)
    """After so many accepted creates the key is good for nothing."""
    revoked_status: Literal[401, 403] = 401
    retry_after: Literal["seconds", "date", "none", "body", "body_ms", "words"] = "seconds"
    retry_after_seconds: Seconds = 1.0
    stall_seconds: Seconds = 120.0
    late_seconds: Seconds = 2.0
    not_yet_seconds: Seconds = 30.0
    reorder_seconds: Seconds = 5.0
    processing_seconds: Seconds = 5.0
    processing_names_task: bool = False
    """Whether the 409 tells the task id."""
    cut_at: int | None = Field(default=None, ge=0)
    endless_bytes: int = Field(default=2**31, ge=0)
    drip_bytes_per_second: float = Field(default=1.0, gt=0)


class SandboxConfig(BaseModel):
    """The whole configuration; durations are HiAPI's own, `speed` divides them."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    seed: int = 0
    speed: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Divides every duration of the service: generation, expiry, windows, callback retries."""
    generation_time: str = "2.0"
    """Seconds, or ``lognormal:MEDIAN:SIGMA``."""
    clips: Literal["full", "plain"] = "full"
    api_key: str | None = None
    """The one good key; None: any that starts with ``sk-`` or ``hi-sk-``."""
    webhook_secret: str | None = Field(default=None, min_length=16, max_length=256, repr=False)
    balance: Decimal | None = Field(default=None, ge=0)
    """USD that all tasks of the state together may cost; None: no end."""
    rpm: int | None = Field(default=None, ge=1)
    """API requests in any minute and key."""
    max_at_once: int | None = Field(default=None, ge=0)
    """Unfinished tasks of a key."""
    url_ttl: Seconds = 7 * DAY
    expire_at: ExpireAt = ExpireAt.FIXED
    key_memory: Seconds = DAY
    """How long an idempotency key is remembered."""
    clock_ahead: float = Field(default=0.0, allow_inf_nan=False)
    """Seconds by which the service's clock is ahead of this machine's; negative: behind."""
    create_seconds: Seconds = 0.0
    """How long a create takes; the same key meanwhile gets 409."""
    callback_timeout: Seconds = 10.0
    """Real seconds a receiver has to answer."""
    max_body: int = Field(default=128 * 2**20, ge=1)
    allow_4k: bool = False
    allow_mixed: bool = False
    """Frames beside references, and reference sounds alone."""
    refuse_seed: bool = False
    """`seed` is no known field, as others have seen it in production."""
    half_sent_seconds: Seconds = 30.0
    """Real seconds of silence after which a request that is not whole is ended."""
    routes: tuple[str, ...] = ("pro",)
    """Routes besides the default one."""
    other_models: dict[str, dict[str, Any]] = {}
    """Models that have a published schema, each with that of its ``input``; none can be run."""
    faults: FaultConfig = FaultConfig()

    @field_validator("generation_time", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if number else value

    @field_validator("generation_time")
    @classmethod
    def _parsed(cls, value: str) -> str:
        GenerationTime.parse(value)
        return value

    def compressed(self, seconds: float) -> float:
        """A duration of the service as it passes here."""
        return seconds / self.speed


def checked(values: dict[str, Any], place: str) -> SandboxConfig:
    """A configuration from plain values; raises `SandboxConfigError` naming place and setting."""
    try:
        return SandboxConfig.model_validate(values)
    except ValidationError as error:
        raise SandboxConfigError(f"{place}: {_problems(error)}") from error


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'the whole'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )


def load_config(path: Path) -> SandboxConfig:
    """Reads a YAML file; raises `SandboxConfigError` naming file, line or setting."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SandboxConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SandboxConfigError(f"{path}: {error}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise SandboxConfigError(f"{path}: settings are wanted, as `name: value` lines")
    return checked(values, str(path))


# ── How long things take: a task's phases as a pure function of its times and now ─────────────────


class TaskState(StrEnum):
    """A task's status as HiAPI documents it."""

    QUEUED = "queued"
    HANDLING = "handling"
    ARCHIVING = "archiving"
    SUCCESS = "success"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class GenerationTime:
    """A fixed number of seconds (sigma 0), or log-normal around a median."""

    median: float
    sigma: float = 0.0

    @classmethod
    def parse(cls, text: str) -> GenerationTime:
        """Reads ``130`` or ``lognormal:130:0.25``; raises ValueError."""
        kind, _, rest = text.partition(":")
        median, sigma = rest.split(":") if kind == "lognormal" else (text, "0")
        made = cls(float(median), float(sigma))
        if not (0 <= made.median < math.inf and 0 <= made.sigma < math.inf):
            raise ValueError("a generation time is finite and not negative")
        return made

    def sample(self, seed: str) -> float:
        """The seconds that belong to this seed."""
        if not self.sigma:
            return self.median
        normal = random.Random(seed).normalvariate(0, self.sigma)  # noqa: S311  (repeatable)
        return self.median * math.exp(normal)


@dataclass(frozen=True, slots=True)
class Times:
    """When a task enters each phase (Unix seconds)."""

    created: float
    handling: float
    archiving: float
    final: float

    def status(self, now: float, *, failed: bool) -> TaskState:
        """The phase at ``now``."""
        if now >= self.final:
            return TaskState.FAIL if failed else TaskState.SUCCESS
        if now >= self.archiving:
            return TaskState.ARCHIVING
        return TaskState.HANDLING if now >= self.handling else TaskState.QUEUED


_QUEUED_SHARE: Final = 8 / 130
"""Measured once: 8 of 130 seconds were queueing."""
_ARCHIVING_SHARE: Final = 4 / 130


def phases(created: float, seconds: float) -> Times:
    """The phases of a task that takes so many seconds in all."""
    return Times(
        created,
        created + seconds * _QUEUED_SHARE,
        created + seconds * (1 - _ARCHIVING_SHARE),
        created + seconds,
    )
