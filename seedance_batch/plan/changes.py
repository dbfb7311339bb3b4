"""Says in plain words how a job differs from an earlier attempt's body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from seedance_batch.identity import canonical_model
from seedance_batch.manifest import Job
from seedance_batch.model import INPUT_FIELDS

_SHOWN: Final = frozenset(INPUT_FIELDS) - {"prompt"} - {n for n in INPUT_FIELDS if "_url" in n}
"""Fields whose values are short enough to name; prompts and addresses are not."""
_OFF_UNSENT: Final = frozenset({"return_last_frame", "nsfw_checker"})


def changes(template: str, job: Job) -> str:
    """What was edited since, e.g. ``prompt changed, duration 5 → 8, seed added (7)``.

    ``template`` is the earlier body (`Intent.template`).
    """
    body = json.loads(template)
    before, after = body["input"], job.input.wire()
    found = [_change(name, before, after) for name in INPUT_FIELDS]
    if canonical_model(body["model"]) != canonical_model(job.model):
        found.insert(0, f"model {body['model']} → {job.model}")
    return ", ".join(text for text in found if text) or "content changed"


def changed_fields(template: str, job: Job) -> frozenset[str]:
    """The input fields in which a job differs from an earlier body; ``model`` among them."""
    body = json.loads(template)
    before, after = body["input"], job.input.wire()
    found = {name for name in INPUT_FIELDS if _change(name, before, after)}
    if canonical_model(body["model"]) != canonical_model(job.model):
        found.add("model")
    return frozenset(found)


def _change(name: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    unsent = False if name in _OFF_UNSENT else None
    old, new = before.get(name, unsent), after.get(name, unsent)
    if old == new:
        return ""
    if name not in _SHOWN:
        return f"{name} {'added' if old is None else 'removed' if new is None else 'changed'}"
    if old is None:
        return f"{name} added ({_plain(new)})"
    if new is None:
        return f"{name} removed ({_plain(old)})"
    return f"{name} {_plain(old)} → {_plain(new)}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
