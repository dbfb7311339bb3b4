"""What a refusal is about is read from the service's words, in three languages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seedance_batch.core.attempt import (
    TABLE,
    ErrorClass,
    Phase,
    Reason,
    State,
    classify,
    reason_in,
    reason_of,
)

SAID = [
    ("OutputAudioSensitiveContentDetected.PolicyViolation: The request failed because the output "
     "audio may be related to copyright restrictions. Request id: 0217", Reason.SOUND),
    ("The request failed because the output audio may contain sensitive information.",
     Reason.SOUND),
    ("生成的音频可能包含敏感信息，请您更换输入内容后重试。", Reason.SOUND),
    ("出力音声に機密情報が含まれている可能性があります", Reason.SOUND),
    ("InputImageSensitiveContentDetected.PrivacyInformation", Reason.FACE),
    ("the input image may contain real person.", Reason.FACE),
    ("输入图片可能包含真人，请您更换后重试。", Reason.FACE),
    ("入力画像に実在の人物が含まれています", Reason.FACE),
    ("input_image_sensitive_content_detected", Reason.PICTURE),
    ("输入图片可能违反平台规定，请您更换后重试。", Reason.PICTURE),
    ("the input video may violate platform rules", Reason.REFERENCE),
    ("输入音频可能包含敏感信息", Reason.REFERENCE),
    ("SensitiveContentDetected.SevereViolation", Reason.PROMPT),
    ("The request failed because the input text may violate platform rules.", Reason.PROMPT),
    ("输入文本可能包含敏感信息", Reason.PROMPT),
    ("入力テキストに不適切な表現", Reason.PROMPT),
    ("the output video may be related to copyright restrictions", Reason.COPYRIGHT),
    ("OutputVideoSensitiveContentDetected: the output  video may contain", Reason.VIDEO),
    ("生成的视频可能包含敏感信息", Reason.VIDEO),
    ("Generation failed (E-77)", None),
    ("", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), SAID)
def test_a_reason_is_read_from_the_services_words(text: str, reason: Reason | None) -> None:
    assert reason_in(text) == reason


def test_only_a_refusal_has_a_reason_and_unknown_words_are_other() -> None:
    refused = State(
        Phase.FAILED, error_class=ErrorClass.REFUSED, error_code="TASK_FAILED", error_message="?"
    )
    assert reason_of(refused) is Reason.OTHER
    assert reason_of(replace(refused, error_class=ErrorClass.PERMANENT)) is None
    text = "the output audio may contain sensitive information"
    assert reason_of(replace(refused, error_message=text)) is Reason.SOUND
    assert reason_of(replace(refused, error_message=text, error_class=ErrorClass.TRANSIENT)) is None
    assert reason_of(replace(refused, error_message=text, phase=Phase.IN_FLIGHT)) is None


def test_a_code_of_the_models_maker_is_a_refusal() -> None:
    for code in ("InputTextSensitiveContentDetected", "OutputVideoRiskDetection"):
        assert classify(code) is ErrorClass.REFUSED


def test_every_reason_but_other_has_words_in_three_languages() -> None:
    rows = {row.reason: row for row in TABLE if row.english}
    assert rows.keys() == set(Reason) - {Reason.OTHER}
    assert all(row.codes and row.chinese and row.japanese for row in rows.values())
