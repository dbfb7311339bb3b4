"""How the rules that HiAPI publishes for a model differ from this program's, in words. Pure.

An alarm, and never a source to buy by: what is not understood in a published schema is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from seedance_batch.core.model import (
    ALWAYS_SENT,
    FAMILY,
    MOST_IMAGES,
    FamilyModel,
    Resolution,
    TaskInput,
    family_model,
)
from seedance_batch.core.pricing import PriceTable, prices_of

Schema = Mapping[str, Any]
"""A JSON Schema (2020-12), or a part of one."""

_LIMITS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
}
_DEEPEST: Final = 8
"""Levels of an answer or of a schema that are looked through."""


@dataclass(frozen=True, slots=True)
class FieldRules:
    """What a schema says of one field."""

    kind: str | None = None
    """JSON's type; None where several are allowed, or none is said."""
    values: frozenset[str] = frozenset()
    """The only ones; empty where any will do."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """By JSON Schema's keywords, those of `_LIMITS`."""


def input_schema_in(answer: object) -> Schema | None:
    """The schema of a task's ``input`` in an answer, whatever it is wrapped in; None without."""
    queue = [(answer, 0)]
    for node, depth in queue:
        if not isinstance(node, Mapping) or depth > _DEEPEST:
            continue
        properties = node.get("properties")
        if isinstance(properties, Mapping) and "prompt" in properties:
            shared = answer.get("$defs") if isinstance(answer, Mapping) else None
            return {**({"$defs": shared} if shared else {}), **node}
        queue += [(inner, depth + 1) for inner in node.values()]
    return None


def rules_in(schema: Schema) -> dict[str, FieldRules]:
    """What a schema says of each field."""
    properties = schema.get("properties", {})
    return {str(name): _field_rules(_flat(node, schema)) for name, node in properties.items()}


def _flat(node: object, root: Schema, depth: int = 0) -> dict[str, Any]:
    """A field's keywords, with references and alternatives resolved; null is no alternative."""
    if not isinstance(node, Mapping) or depth > _DEEPEST:
        return {}
    found = {name: value for name, value in node.items() if name not in {"$ref", "allOf"}}
    parts = [_pointed(node["$ref"], root)] if isinstance(node.get("$ref"), str) else []
    parts += node["allOf"] if isinstance(node.get("allOf"), list) else []
    for name in ("anyOf", "oneOf"):
        choices = found.pop(name, None)
        if isinstance(choices, list):
            real = [c for c in choices if isinstance(c, Mapping) and c.get("type") != "null"]
            parts += real if len(real) == 1 else []
    for part in parts:
        found = {**_flat(part, root, depth + 1), **found}
    return found


def _pointed(reference: str, root: Schema) -> object:
    node: object = root
    for part in reference.removeprefix("#/").split("/"):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _field_rules(node: Mapping[str, Any]) -> FieldRules:
    kind, values = node.get("type"), node.get("enum")
    if isinstance(kind, list):
        kinds = [each for each in kind if each != "null"]
        kind = kinds[0] if len(kinds) == 1 else None
    limits = {
        name: node[name]
        for name in _LIMITS
        if isinstance(node.get(name), int | float) and not isinstance(node[name], bool)
    }
    named = frozenset(map(str, values)) if isinstance(values, list) else frozenset[str]()
    return FieldRules(kind if isinstance(kind, str) else None, named, limits)


@cache
def our_rules(model: str) -> dict[str, FieldRules]:
    """What this program lets through for a known model, without ``--allow-…``."""
    found = rules_in(TaskInput.model_json_schema())
    images = found["reference_image_urls"]
    limits = {**images.limits, "maxItems": MOST_IMAGES}
    found["reference_image_urls"] = FieldRules(images.kind, images.values, limits)
    known = family_model(model) or FAMILY[0]
    documented = frozenset(known.resolutions) - {Resolution.K4}
    found["resolution"] = FieldRules("string", frozenset(map(str, documented)))
    return {name: rules for name, rules in found.items() if name not in known.lacks}


def differences(ours: Mapping[str, FieldRules], schema: Schema) -> list[str]:
    """What the published schema says otherwise, a sentence for each; empty where nothing."""
    theirs = rules_in(schema)
    new, gone = theirs.keys() - ours.keys(), ours.keys() - theirs.keys()
    found = [f"{name} is published, and this program does not know it" for name in new]
    found += [f"{name} is not among the published fields" for name in gone]
    for name in sorted(ours.keys() & theirs.keys()):
        found += _differing(name, ours[name], theirs[name])
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in ALWAYS_SENT:
            found.append(f"{name} is required")
    return sorted(found)


def _differing(name: str, ours: FieldRules, theirs: FieldRules) -> Iterator[str]:
    if theirs.kind and ours.kind and theirs.kind != ours.kind:
        yield f"{name} is {theirs.kind}, not {ours.kind}"
    if theirs.values and ours.values:
        if more := theirs.values - ours.values:
            yield f"{name} may also be {', '.join(sorted(more))}"
        if fewer := ours.values - theirs.values:
            yield f"{name} may not be {', '.join(sorted(fewer))}"
    for limit, words in _LIMITS.items():
        there, here = theirs.limits.get(limit), ours.limits.get(limit)
        is_address = here is None and limit.endswith("Length")
        if there is not None and there != here and not is_address:
            known = "no limit" if here is None else f"{here:,}"
            yield f"{name} has {words.format(f'{there:,}')}; here it is {known}"


def price_differences(
    table: PriceTable | None, models: Iterable[FamilyModel] = FAMILY
) -> list[str]:
    """What of the price list is not understood, or missing, for models that are known."""
    if table is None:
        return []
    found = []
    for model in models:
        price = prices_of(model.names[0], table)
        if price is None:
            found.append(f"the price list does not name {model.names[0]}")
        elif price.fault is not None:
            found.append(f"{model.names[0]}: {price.fault}")
    return found
