"""An attempt: its intent, its state, and what follows from them; why it was refused. Pure.

`core.lifecycle` says how one state follows another."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from seedance_batch.core.model import MEDIA_FIELDS, MediaKind

# ── What an attempt is: its intent, its state, and the words for both. Values, no behaviour ───────


class Kind(StrEnum):
    """What an attempt was made for."""

    FINAL = "final"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class TakeName:
    """Which take of a row: ``final 2``, ``draft 1``."""

    kind: Kind
    number: int
    """As `Intent.number`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


class Phase(StrEnum):
    """Where an attempt stands."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    IN_FLIGHT = "in_flight"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"
    EXPIRED = "expired"
    MEDIA_MISMATCH = "media_mismatch"


FINAL_PHASES: Final = frozenset({Phase.DONE, Phase.FAILED, Phase.EXPIRED, Phase.MEDIA_MISMATCH})
"""Nothing more happens by itself."""
UNSETTLED_PHASES: Final = frozenset({Phase.SUBMITTING, Phase.AMBIGUOUS})
"""A task may or may not exist; no new attempt until that is known."""
SENDABLE_PHASES: Final = frozenset({Phase.PLANNED, Phase.SUBMITTING})
"""A create may follow, the first or a resend."""
TASKLESS_PHASES: Final = SENDABLE_PHASES | UNSETTLED_PHASES
"""No task is known, and one may become known."""
GENERATING_PHASES: Final = frozenset({Phase.SUBMITTING, Phase.IN_FLIGHT})
"""The service works at it, or may: it takes a slot."""
UNDER_WAY_PHASES: Final = GENERATING_PHASES | {Phase.DOWNLOADING}
"""A run sees it to its end by itself."""
UNFINISHED_PHASES: Final = UNDER_WAY_PHASES | UNSETTLED_PHASES
"""Sent, and not ended: by itself, or by a person's decision."""
RESERVED_PHASES: Final = GENERATING_PHASES | UNSETTLED_PHASES
"""Sent, and no clip was made yet: what it costs is set aside."""
COMING_PHASES: Final = UNDER_WAY_PHASES - UNSETTLED_PHASES
"""A task is known, and its clip is awaited."""
KEPT_PHASES: Final = frozenset({Phase.DONE, Phase.MEDIA_MISMATCH})
"""It ended with a file, right or wrong."""
MADE_PHASES: Final = KEPT_PHASES | {Phase.DOWNLOADING, Phase.EXPIRED}
"""The service made a clip, and charged for it."""


class ErrorClass(StrEnum):
    """Why an attempt failed, by what can be done about it."""

    INVALID = "invalid"
    """The API refused the request: the row needs an edit."""
    REFUSED = "refused"
    """The generation was refused or failed for good: the content needs an edit."""
    TRANSIENT = "transient"
    """The service's own trouble: a new attempt may well succeed."""
    PERMANENT = "permanent"
    """An error code unknown here; treated as the row's own."""
    RELEASED = "released"
    """A person said that no task exists."""
    EXPIRED = "expired"
    """Paid, and the file could not be had any more."""
    MEDIA_MISMATCH = "media_mismatch"
    """Paid, and the file is not what was asked for."""
    AMBIGUOUS = "ambiguous"
    """Whether a task exists is not known."""


OWN_FAULTS: Final = frozenset({ErrorClass.INVALID, ErrorClass.REFUSED, ErrorClass.PERMANENT})
"""The row's own fault: the same again would fail again."""
PAID_FAULTS: Final = frozenset({ErrorClass.EXPIRED, ErrorClass.MEDIA_MISMATCH})
"""Paid for already: only a person who names them pays again."""


class Charged(StrEnum):
    """Whether the service charged for an attempt, as far as that can be known."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Surety(StrEnum):
    """How sure it is that an attempt's estimate is spent."""

    SETTLED = "settled"
    """Charged: a clip was made."""
    RESERVED = "reserved"
    """Sent, and not settled: under way, or ambiguous."""
    UNKNOWN = "unknown"
    """Failed, and whether that was charged is not known."""


@dataclass(frozen=True, slots=True)
class MadeFrom:
    """What an attempt took from another row's take."""

    link: str
    """As the row said it: ``last_frame:shot-1``."""
    attempt: int
    """The journal's number of the take."""
    sent: str
    """What stands in the request in the link's place: ``sha256:…``, or an address."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What an attempt asks for; written before the first POST and never changed.

    It adds to a `Job` which of its takes this is, and the exact request.
    """

    key: str
    """The row's: its id, or one derived from its content."""
    kind: Kind
    number: int
    """Counted by key and kind, from 1."""
    content: str
    """`manifest.content_hash` of what decides the clip: 64 hexadecimal digits."""
    model: str
    """As the row spells it."""
    resolution: str
    duration: int
    """Seconds."""
    aspect_ratio: str
    generate_audio: bool
    return_last_frame: bool
    idempotency_key: str
    template: str
    """The request's JSON, with ``sha256:…`` where a local file's data URI belongs."""
    body_sha256: str
    """Of the exact bytes that are sent, files included: 64 hexadecimal digits."""
    key_fingerprint: str
    """Of the API key, salted by the journal: tells another key, and not which."""
    est_cost: Decimal | None
    """US dollars by the price list of that moment; None where there is no estimate."""
    planned_at: float
    """Unix seconds."""
    made_from: tuple[MadeFrom, ...] = ()
    """What it took from takes of other rows."""

    @property
    def take(self) -> TakeName:
        """Which take of its row this is."""
        return TakeName(self.kind, self.number)

    @property
    def asked(self) -> dict[str, Any]:
        """The request's body as the row asked for it: links stand where they stood."""
        body: dict[str, Any] = json.loads(self.template)
        if self.made_from:
            links = {each.sent: each.link for each in self.made_from}
            body["input"] = {
                name: _with_links(value, links) if name in MEDIA_FIELDS else value
                for name, value in body["input"].items()
            }
        return body

    @property
    def prompt(self) -> str:
        """What the clip was asked to show; empty where the template has none."""
        return str(json.loads(self.template).get("input", {}).get("prompt", ""))


def _with_links(value: Any, links: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [links.get(one, one) for one in value]
    return links.get(value, value)


@dataclass(frozen=True, slots=True)
class Clip:
    """A published file and what was measured in it. Lengths are seconds, sides pixels."""

    file: str
    """Relative to the run folder."""
    bytes: int
    sha256: str
    seconds: float
    width: int
    height: int
    has_audio: bool
    last_frame_file: str | None = None

    @property
    def is_damaged(self) -> bool:
        """Whether no whole video could be read from what arrived: another download may be well."""
        return self.width == 0


@dataclass(frozen=True, slots=True)
class State:
    """Where an attempt stands; everything the next step needs. Times are Unix seconds."""

    phase: Phase = Phase.PLANNED
    unanswered: int = 0
    """Sends whose outcome is not known."""
    first_sent_at: float | None = None
    """The earliest unanswered send: the wall clock or the server's, whichever is earlier."""
    submitted_at: float | None = None
    """The first send."""
    task_id: str | None = None
    replayed: bool = False
    """The service gave back an earlier task for the same key."""
    finished_at: float | None = None
    """By the service's word for a task, by our clock where there was none."""
    error_class: ErrorClass | None = None
    error_code: str | None = None
    """HiAPI's own, as it was spelled."""
    error_message: str | None = None
    """The last trouble in words, also while the attempt goes on; not redacted."""
    video_url: str | None = None
    url_expires_at: float | None = None
    """None where the service does not say."""
    last_frame_url: str | None = None
    no_video_since: float | None = None
    """When a task was first seen to have succeeded without naming a video."""
    needs_look: bool = False
    """The URL failed; a fresh look at the task comes first."""
    refreshed_at: float | None = None
    """When that fresh look was had."""
    file: str | None = None
    """The name kept for the clip, relative to the run folder; ours, whatever lies there."""
    rejected_sha256: str | None = None
    """A whole file that was not what was asked for, seen once."""
    clip: Clip | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One paid try of a job: its `Intent`, and its `State` since."""

    id: int
    """The journal's number for it."""
    intent: Intent
    state: State


# ── What follows from a state: may it be sent again, was it charged, what can be done about it ────


RESEND_WINDOW: Final = 23 * 3600.0
"""Seconds a key and its bytes may be sent again; the service forgets keys after about 24 h."""
UNTOLD_LIFE: Final = 24 * 3600.0
"""Seconds that a clip's file is waited for where the service does not say how long it is kept."""
_TRANSIENT_CODES: Final = frozenset(
    {"TASK_TIMEOUT", "STORAGE_UNAVAILABLE", "MODEL_UNAVAILABLE", "PROVIDER_ERROR"}
)
_INVALID_CODES: Final = frozenset({"INVALID_REQUEST", "INPUT_TOO_LARGE", "UNSUPPORTED_FORMAT"})
_REFUSED_CODES: Final = frozenset({"TASK_FAILED", "MODEL_ERROR"})
"""Codes of a failed task's ``error``, in capitals, by what can be done about them.

``TASK_FAILED``, ``TASK_TIMEOUT``, ``STORAGE_UNAVAILABLE``, ``MODEL_UNAVAILABLE`` and
``INVALID_REQUEST`` are HiAPI's documentation's; the others are its blog's, in small letters there
(read in November 2026). Which of them are transient follows from their words: the documentation
only says to mend a request rather than send it again. Codes of the model's maker for refused
content (``InputTextSensitiveContentDetected``; see `TABLE`) are refusals as well.
"""


def classify(code: str) -> ErrorClass:
    """What a failed task's error code allows; a code unknown here is the row's own fault."""
    name = code.upper()
    if name in _TRANSIENT_CODES:
        return ErrorClass.TRANSIENT
    if name in _INVALID_CODES:
        return ErrorClass.INVALID
    refused = name in _REFUSED_CODES or "SENSITIVECONTENT" in name or "RISKDETECTION" in name
    return ErrorClass.REFUSED if refused else ErrorClass.PERMANENT


def url_is_over(state: State, now: float) -> bool:
    """Whether the time of a clip's URL has passed; ``now`` is the earlier of both clocks.

    A time that had passed when the clip was made says nothing; as where none is said, the file
    may still come for `UNTOLD_LIFE` after that.
    """
    made = state.finished_at or state.submitted_at or now
    said = state.url_expires_at
    if said and said > made:
        return now >= said
    return now - made >= UNTOLD_LIFE


def may_resend(state: State, now: float) -> bool:
    """Whether the same key and bytes may be sent (again); ``now`` is the later of both clocks."""
    if state.phase not in SENDABLE_PHASES:
        return False
    return state.first_sent_at is None or now - state.first_sent_at < RESEND_WINDOW


def charged(state: State) -> Charged:
    """Whether the service charged for it: a success is, a refusal is not, the rest is unknown."""
    if state.phase is Phase.PLANNED:
        return Charged.NO
    if state.phase in MADE_PHASES:
        return Charged.YES
    if state.phase is Phase.FAILED and state.task_id is None:
        return Charged.NO if state.error_class is ErrorClass.INVALID else Charged.UNKNOWN
    return Charged.UNKNOWN


def surety(state: State) -> Surety | None:
    """How sure it is that its estimate is spent; None where it is known to be free."""
    if state.phase in RESERVED_PHASES:
        return Surety.RESERVED
    match charged(state):
        case Charged.YES:
            return Surety.SETTLED
        case Charged.UNKNOWN:
            return Surety.UNKNOWN
        case Charged.NO:
            return None


def counts_against_budget(state: State) -> bool:
    """Whether its estimate stays reserved or spent under ``--max-cost``."""
    return surety(state) is not None


# ── Why a clip was refused, read from the service's words, and the way out of each reason ─────────


class Reason(StrEnum):
    """What a refusal was about."""

    SOUND = "sound"
    """The sound that was generated."""
    FACE = "face"
    """A real person in a picture or a video that was sent."""
    PICTURE = "picture"
    """A frame or a reference image."""
    REFERENCE = "reference"
    """A reference video or a reference sound."""
    PROMPT = "prompt"
    COPYRIGHT = "copyright"
    VIDEO = "video"
    """The clip that was generated, without its sound."""
    OTHER = "other"
    """The words are in no table of ours; they are shown whole."""


# ── The words of each reason ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Words:
    """What tells a reason: parts of a message, compared without case."""

    reason: Reason
    codes: tuple[str, ...] = ()
    """Upstream's error codes, or how they begin."""
    english: tuple[str, ...] = ()
    chinese: tuple[str, ...] = ()
    japanese: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """Parts of sentences, in any language."""
        return (*self.english, *self.chinese, *self.japanese)


TABLE: Final = (
    Words(
        Reason.SOUND,
        ("OutputAudioSensitiveContentDetected", "output_audio_copyright_restricted"),
        ("output audio", "generated audio", "generated sound", "audio of the generated video"),
        ("输出音频", "生成的音频", "生成音频", "输出的音频"),
        ("出力音声", "生成された音声", "生成音声"),
    ),
    Words(
        Reason.FACE,
        (
            "InputImageSensitiveContentDetected.PrivacyInformation",
            "InputVideoSensitiveContentDetected.PrivacyInformation",
            "SensitiveContentDetected.DeepFake",
        ),
        ("contain real person", "contains a real person", "contain a real person", "real face"),
        ("包含真人", "真实人物", "包含人脸", "真人形象"),
        ("実在の人物", "実在人物", "人の顔"),
    ),
    Words(
        Reason.REFERENCE,
        ("InputVideoSensitiveContentDetected", "InputAudioSensitiveContentDetected"),
        ("input video", "input audio", "reference video", "reference audio"),
        ("输入视频", "输入音频", "输入的视频", "输入的音频", "参考视频", "参考音频"),
        ("入力動画", "入力音声", "参照動画", "参照音声"),
    ),
    Words(
        Reason.PICTURE,
        ("InputImageSensitiveContentDetected", "InputImageRiskDetection"),
        ("input image", "reference image"),
        ("输入图片", "输入图像", "输入的图片", "参考图"),
        ("入力画像", "参照画像"),
    ),
    Words(
        Reason.PROMPT,
        ("InputTextSensitiveContentDetected", "InputTextRiskDetection"),
        ("input text", "the prompt"),
        ("输入文本", "输入的文本", "提示词"),
        ("入力テキスト", "プロンプト"),
    ),
    Words(
        Reason.COPYRIGHT,
        ("OutputVideoSensitiveContentDetected.PolicyViolation",),
        ("copyright",),
        ("版权",),
        ("著作権",),
    ),
    Words(
        Reason.VIDEO,
        ("OutputVideoSensitiveContentDetected",),
        ("output video", "generated video"),
        ("输出视频", "生成的视频", "输出的视频"),
        ("出力動画", "生成された動画"),
    ),
    Words(Reason.PROMPT, ("SensitiveContentDetected",)),
)
"""Codes are tried from the top; where none is in a message, sentences are, from the top again.

Sources, read in November 2026. Codes, English and Chinese sentences: the error codes of Volcano
Engine's Ark and BytePlus' ModelArk, which make the model, and what public projects quote of the
answers that they had for Seedance 2.0 (``OutputAudioSensitiveContentDetected.PolicyViolation: The
request failed because the output audio may be related to copyright restrictions.``). There
``.PolicyViolation`` of an output means copyright; of an input it means the platform's rules. The
code without ``Input`` is that of a text. Japanese: the same sentences as a translating reseller
would put them; no Japanese answer was found.
"""


def reason_in(text: str) -> Reason | None:
    """The reason that a message tells; None where its words are unknown."""
    found = re.sub(r"\s+", " ", text).casefold()
    bare = found.replace(" ", "").replace("_", "")
    for row in TABLE:
        if any(code.casefold().replace("_", "") in bare for code in row.codes):
            return row.reason
    return next((row.reason for row in TABLE if any(w in found for w in row.sentences)), None)


def reason_of(state: State) -> Reason | None:
    """Why an attempt was refused; None where it was not."""
    if state.phase is not Phase.FAILED or state.error_class not in OWN_FAULTS:
        return None
    found = reason_in(f"{state.error_code or ''} {state.error_message or ''}")
    return found or (Reason.OTHER if state.error_class is ErrorClass.REFUSED else None)


# ── The way out of each ───────────────────────────────────────────────────────────────────────────


_MENDS: Final[Mapping[Reason, Mapping[str, str]]] = {Reason.SOUND: {"generate_audio": "false"}}
"""Fields that mend a reason for every row, without a look at any."""


def mend(attempt: Attempt) -> Mapping[str, str]:
    """The fields, as ``--set`` takes them, that make a refused attempt go through; else none."""
    found = reason_of(attempt.state)
    if found is None or (found is Reason.SOUND and not attempt.intent.generate_audio):
        return {}
    return _MENDS.get(found, {})


def way_out(attempt: Attempt, after: str = "then run") -> str:
    """What a person does about a failure that is the row's own fault: a command, or an edit.

    ``after`` is what follows an edit.
    """
    fields = mend(attempt)
    found = reason_of(attempt.state)
    if fields:
        values = " ".join(f"--set {name}={value}" for name, value in fields.items())
        return f"rerun --class {attempt.state.error_class} --reason {found} {values}"
    return f"{_edit(found, attempt)}, {after}"


def _edit(reason: Reason | None, attempt: Attempt) -> str:
    match reason:
        case Reason.FACE:
            return f"replace {_media(attempt, *MediaKind)}: no real person may be in it"
        case Reason.PICTURE:
            return f"replace {_media(attempt, MediaKind.IMAGE)}"
        case Reason.REFERENCE:
            return f"replace {_media(attempt, MediaKind.VIDEO, MediaKind.AUDIO)}"
        case Reason.PROMPT | Reason.VIDEO:
            return "change the prompt"
        case Reason.COPYRIGHT:
            return "take other people's works, names and brands out of the prompt and its media"
        case _ if _is_about_seed(attempt):
            return "leave its seed empty (not every account may send one)"
        case _:
            return "edit the row"


def _is_about_seed(attempt: Attempt) -> bool:
    """Whether a 400 names ``seed``: it is documented, and was refused in production (2026-07)."""
    said = (attempt.state.error_message or "").casefold()
    is_invalid = attempt.state.error_class is ErrorClass.INVALID
    return is_invalid and "seed" in said and '"seed":' in attempt.intent.template


def _media(attempt: Attempt, *kinds: MediaKind) -> str:
    """The attempt's own columns with such media; all of them where it has none."""
    known = [field for field, kind in MEDIA_FIELDS.items() if kind in kinds]
    sent = json.loads(attempt.intent.template or "{}").get("input", {})
    return " or ".join([field for field in known if field in sent] or known)
