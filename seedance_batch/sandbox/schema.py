"""Checks a body against ``openapi.yaml``: the part of JSON Schema that file uses, strictly.

Stricter than JSON Schema in one way, as HiAPI is: ``5.0`` is no integer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final

import yaml

Schema = Mapping[str, Any]

_TYPES: Final[Mapping[str, Callable[[object], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: type(value) is int,
}


_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class Unreadable(ValueError):
    """A body that is no JSON, or holds what JSON text cannot."""


def parse_json(body: bytes) -> Any:
    """The JSON value of a body; raises `Unreadable`."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # fails on a lone one
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


@lru_cache(maxsize=1)
def specification() -> dict[str, Any]:
    """``openapi.yaml``, read once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = resources.files(__package__).joinpath("openapi.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506  (a safe loader)
    return loaded


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks values against the named schemas; two rules can be relaxed."""

    allow_4k: bool = False
    allow_mixed: bool = False

    def problems(self, name: str, value: object) -> list[str]:
        """What is wrong with the value, each with its place; empty when it is fine."""
        return list(self._check({"$ref": f"#/components/schemas/{name}"}, value, ""))

    def _check(self, schema: Schema | bool, value: object, place: str) -> Iterator[str]:
        if isinstance(schema, bool):
            if not schema:
                yield f"{place} does not go together with the other fields"
            return
        schema = _resolved(schema)
        wanted = schema.get("type")
        if wanted and not _TYPES[wanted](value):
            yield f"{place or 'the body'} must be {_article(wanted)}, not {_name(value)}"
        elif isinstance(value, dict):
            yield from self._check_object(schema, value, place)
        elif isinstance(value, list):
            yield from self._check_list(schema, value, place)
        else:
            yield from self._check_scalar(schema, value, place)

    def _check_object(self, schema: Schema, value: dict[str, Any], place: str) -> Iterator[str]:
        fields = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_join(place, name)} is missing"
        for name, content in value.items():
            if name in fields:
                yield from self._check(fields[name], content, _join(place, name))
            elif schema.get("additionalProperties") is False:
                yield f"{_join(place, name)} is no known field"
        yield from self._check_company(schema, value, place)

    def _check_company(self, schema: Schema, value: dict[str, Any], place: str) -> Iterator[str]:
        for name, others in schema.get("dependentRequired", {}).items():
            if name in value:
                yield from (
                    f"{_join(place, name)} needs {other}" for other in others if other not in value
                )
        if not self.allow_mixed:
            for name, rule in schema.get("dependentSchemas", {}).items():
                if name in value:
                    yield from self._check(rule, value, place)

    def _check_list(self, schema: Schema, value: list[Any], place: str) -> Iterator[str]:
        if len(value) < schema.get("minItems", 0):
            yield f"{place} is empty"
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{place} has more than {schema['maxItems']} entries"
        for number, item in enumerate(value):
            yield from self._check(schema.get("items", True), item, f"{place}[{number}]")

    def _check_scalar(self, schema: Schema, value: object, place: str) -> Iterator[str]:
        allowed = schema.get("enum")
        if allowed is not None and value not in self._relaxed(allowed, place):
            yield f"{place} must be one of {', '.join(map(str, allowed))}"
        if isinstance(value, str):
            yield from _check_text(schema, value, place)
        elif type(value) is int:
            yield from _check_number(schema, value, place)

    def _relaxed(self, allowed: list[str], place: str) -> list[str]:
        return [*allowed, "4k"] if self.allow_4k and place == "input.resolution" else allowed


def _resolved(schema: Schema) -> Schema:
    while "$ref" in schema:
        found: Any = specification()
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _check_text(schema: Schema, value: str, place: str) -> Iterator[str]:
    """Lengths count code points, as Python's do."""
    if len(value) < schema.get("minLength", 0):
        yield f"{place} is shorter than {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{place} is longer than {schema['maxLength']} characters"
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield f"{place} is no {schema.get('description', 'value of the right form')}"


@lru_cache(maxsize=32)
def _pattern(text: str) -> re.Pattern[str]:
    """A final ``$`` means the very end, as in ECMAScript, not before a line break."""
    return re.compile(text.removesuffix("$") + r"\Z" if text.endswith("$") else text)


def _check_number(schema: Schema, value: int, place: str) -> Iterator[str]:
    if value < schema.get("minimum", value):
        yield f"{place} is below {schema['minimum']}"
    if value > schema.get("maximum", value):
        yield f"{place} is above {schema['maximum']}"


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aio' else 'a'} {name}"


def _name(value: object) -> str:
    return "null" if value is None else f"the {type(value).__name__} {str(value)[:40]!r}"
