"""Why a clip was refused, read from the service's words, and the way out of each reason. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from seedance_batch.core.attempt import Attempt, ErrorClass, Phase, State
from seedance_batch.core.model import MEDIA_FIELDS, MediaKind


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

_MAY_BE_REFUSED: Final = frozenset({ErrorClass.REFUSED, ErrorClass.INVALID, ErrorClass.PERMANENT})


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
    if state.phase is not Phase.FAILED or state.error_class not in _MAY_BE_REFUSED:
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
