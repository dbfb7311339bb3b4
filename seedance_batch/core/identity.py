"""Who a row is: content hashes, row keys, idempotency keys, request bodies.

Two rows with equal content are the same order; a row's key never depends on its position; one
intent has one idempotency key and one exact body for ever.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from seedance_batch.core.model import BLOB_PREFIX, MEDIA_FIELDS, MODEL_SPELLINGS, TaskInput

_DERIVED_PREFIX: Final = "r-"

SANDBOX_ORIGIN: Final = "sandbox"
"""What a run folder of the sandbox belongs to, whatever its port."""


def canonical_model(model: str) -> str:
    """The model's name with white space trimmed and its spellings made equal."""
    name = model.strip()
    return MODEL_SPELLINGS.get(name, name)


def content_hash(model: str, task_input: TaskInput) -> str:
    """Sha256 of what decides the clip; spelling, callback, key and address stay out of it."""
    content = {"model": canonical_model(model), "input": task_input.effective()}
    text = json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


_LINE_END: Final = re.compile(r"[^\S\r\n]*(?:\r\n?|\n)")


def loosened(text: str) -> str:
    """The text without what git, editors and spreadsheets change unasked: one kind of line end, no
    blanks at the ends of its lines, none around it."""
    return _LINE_END.sub("\n", text).strip()


def row_keys(rows: Iterable[tuple[str | None, str]]) -> list[str]:
    """A key for each (id or None, content hash): the id, else content and occurrence number.

    A derived key can be given back as an id (our results sheets do), and stays the same row.
    """
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    pairs = list(rows)
    taken.update(row_id for row_id, _ in pairs if row_id)
    keys = []
    for row_id, content in pairs:
        keys.append(row_id or _derived(content, seen, taken))
    return keys


def _derived(content: str, seen: Counter[str], taken: set[str]) -> str:
    stem = f"{_DERIVED_PREFIX}{content[:10]}"
    while True:
        seen[stem] += 1
        key = stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"
        if key not in taken:
            return key


def idempotency_key(folder_id: str, key: str, kind: str, number: int, content: str) -> str:
    """One key per intent: the folder, the row, draft or final, the attempt, the row's content.

    Nothing that an attempt has by chance is part of it. So a journal that has lost an attempt comes
    to the same key, which the service answers with the first task, or, where other flags made
    another body, with a refusal; never with a second charge.
    """
    parts = "\n".join((folder_id, key, kind, str(number), content))
    return f"sb-{hashlib.sha256(parts.encode('utf-8', 'surrogatepass')).hexdigest()[:48]}"


def callback_token(salt: str, idempotency_key: str) -> str:
    """What an attempt's callback address ends in: nobody guesses it, and it is always the same."""
    text = f"callback\n{idempotency_key}".encode()
    return hmac.new(salt.encode(), text, hashlib.sha256).hexdigest()[:32]


def fingerprint(api_key: str, salt: str) -> str:
    """Tells whether two keys are equal, and nothing else about them."""
    return hmac.new(salt.encode(), api_key.encode(), hashlib.sha256).hexdigest()[:24]


def folder_mark(folder_id: str) -> str:
    """Tells a run folder, and its later copies, from others, and tells nothing else about it."""
    return hashlib.sha256(folder_id.encode()).hexdigest()[:16]


def body_template(
    model: str,
    task_input: TaskInput,
    *,
    callback_url: str | None = None,
    storage: str | None = None,
) -> str:
    """The body of a create as JSON text, with local media as tokens; see `render_body`."""
    body: dict[str, Any] = {"model": model, "input": task_input.wire()}
    if callback_url is not None:
        body["callback"] = {"url": callback_url, "when": "final"}
    if storage is not None:
        body["storage"] = storage
    return _dump(body)


def render_body(template: str, data_uris: Mapping[str, str]) -> bytes:
    """The exact bytes to send: tokens in media fields replaced by their data URIs.

    ``data_uris`` maps a token (``sha256:…``) to its data URI. The same arguments give the same
    bytes for ever, which is what lets a resend be a replay.
    """
    body = json.loads(template)
    fields = body["input"]
    for name in MEDIA_FIELDS.keys() & fields.keys():
        fields[name] = _substitute(fields[name], data_uris)
    return _dump(body).encode()


def tokens(template: str) -> list[str]:
    """The media tokens that a template waits for."""
    fields = json.loads(template)["input"]
    found: list[str] = []
    for name in MEDIA_FIELDS:
        value = fields.get(name, [])
        found += [v for v in ([value] if isinstance(value, str) else value) if _is_token(v)]
    return found


def _substitute(value: str | Sequence[str], data_uris: Mapping[str, str]) -> str | list[str]:
    if isinstance(value, str):
        return data_uris[value] if _is_token(value) else value
    return [data_uris[item] if _is_token(item) else item for item in value]


def _is_token(value: str) -> bool:
    return value.startswith(BLOB_PREFIX)


def _dump(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
