"""Asks for the rules that HiAPI publishes, compares them with ours, checks unknown models' rows.

Free, without a key, and never in the way: where nothing is published, nothing is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import anyio

from seedance_batch.api.client import Client, public_site
from seedance_batch.core.drift import (
    Schema,
    differences,
    input_schema_in,
    our_rules,
    price_differences,
)
from seedance_batch.core.hiapi import Verdict
from seedance_batch.core.manifest import Code, Finding, Job, Manifest, Place, Severity
from seedance_batch.core.model import FAMILY, family_model
from seedance_batch.core.pricing import PriceTable

_PATIENCE = 5.0
"""Seconds for an answer; nobody waits longer for what only warns."""


def published_schemas(base_url: str, models: Collection[str]) -> dict[str, Schema]:
    """The schema of ``input`` of each of these models, of those that are published."""
    return anyio.run(_schemas, base_url, tuple(dict.fromkeys(models)))


async def _schemas(base_url: str, models: Sequence[str]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    async with Client(public_site(base_url), "", deadline=_PATIENCE) as client:
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


def family_names() -> list[str]:
    """HiAPI's own name of each model that is known."""
    return [model.names[0] for model in FAMILY]


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
