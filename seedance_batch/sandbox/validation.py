"""Checks a body against ``openapi.yaml``, says what is wrong as HiAPI would, and opens its media.

Stricter than JSON Schema in one way, as HiAPI is: ``5.0`` is no integer.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import io
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import lru_cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

from jsonschema_rs import Draft202012Validator, ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from seedance_batch.sandbox.answers import is_this_machine

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class Unreadable(ValueError):
    """A body that is no JSON, or holds what JSON text cannot."""


def strict_json(body: bytes) -> Any:
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
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = resources.files(__package__).joinpath("openapi.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506  (a safe loader)
    return loaded


class Checker:
    """Checks creates against the schema; what is open can be decided otherwise."""

    def __init__(
        self, allow_4k: bool = False, allow_mixed: bool = False, refuse_seed: bool = False
    ) -> None:
        schema = deepcopy(specification())
        fields = schema["components"]["schemas"]["Input"]
        if allow_4k:
            fields["properties"]["resolution"]["enum"].append("4k")
        if allow_mixed:
            del fields["dependentSchemas"]
        if refuse_seed:
            del fields["properties"]["seed"]
        self._whole = {n for n, f in fields["properties"].items() if f.get("type") == "integer"}
        self._schema = schema
        self._validators: dict[str, Draft202012Validator] = {}

    def problems(self, body: Any, model: str = "") -> list[str]:
        """What is wrong with a body for that model, each with its place; empty when it is fine."""
        try:
            found = [_words(error) for error in self._validator(model).iter_errors(body)]
        except ValueError:  # how the validator says it
            return ["the body is nested too deeply"]
        return found or list(self._fractions(body["input"]))

    def _validator(self, model: str) -> Draft202012Validator:
        """That of a model's bodies, made for the first of them: it takes 10 ms."""
        fields = self._schema["components"]["schemas"]["Input"]
        name = model.replace("2-0", "2.0")
        name = name if name in fields["x-models"] else ""
        if name not in self._validators:
            whole = _whole(input_schema(name, fields), self._schema)
            self._validators[name] = Draft202012Validator(whole)
        return self._validators[name]

    def _fractions(self, fields: dict[str, Any]) -> Iterator[str]:
        for name, value in fields.items():
            if name in self._whole and type(value) is float:
                yield f"input.{name} must be an integer, not {_name(value)}"


@lru_cache(maxsize=8)
def checker_for(allow_4k: bool, allow_mixed: bool, refuse_seed: bool) -> Checker:
    """The one for these decisions, which keeps nothing of what it checked."""
    return Checker(allow_4k, allow_mixed, refuse_seed)


def input_schema(model: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The schema of one model's ``input``: what ``x-models`` says of it, applied to ``fields``."""
    found = deepcopy(fields)
    own = found.pop("x-models").get(model)
    if own is not None:
        found["properties"]["resolution"]["enum"] = own["resolutions"]
        for name in own["lacks"]:
            del found["properties"][name]
    return found


def published_schema(model: str, *, allow_4k: bool = False) -> dict[str, Any]:
    """The schema of a model's ``input`` as HiAPI publishes it: whole, without references."""
    schemas = specification()["components"]["schemas"]
    found = input_schema(model.replace("2-0", "2.0"), schemas["Input"])
    if allow_4k and model.replace("2-0", "2.0") not in schemas["Input"]["x-models"]:
        found["properties"]["resolution"]["enum"].append("4k")
    for field in found["properties"].values():
        holder = field["items"] if "items" in field else field
        reference = holder.pop("$ref", "").rpartition("/")[2]
        holder.update(schemas.get(reference, {}))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _whole(fields: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    schemas = {**schema["components"]["schemas"], "Input": fields}
    components = {**schema["components"], "schemas": schemas}
    return {"$ref": "#/components/schemas/Create", **schema, "components": components}


def _words(error: ValidationError) -> str:
    """A problem in HiAPI's manner: the place, then what it must be. Lengths are code points."""
    place = _place(error.instance_path)
    match error.kind:
        case Kind.Type(types=types):
            return (
                f"{place or 'the body'} must be {_article(types[0])}, not {_name(error.instance)}"
            )
        case Kind.Required(property=name):
            needed = (
                ", and another field needs it" if "dependentRequired" in error.schema_path else ""
            )
            return f"{_join(place, name)} is missing{needed}"
        case Kind.AdditionalProperties(unexpected=names):
            return "; ".join(f"{_join(place, name)} is no known field" for name in names)
        case Kind.FalseSchema():
            return f"{place} does not go together with the other fields"
        case Kind.AnyOf():
            return f"{_join(place, 'reference_audio_urls')} needs an image or a video beside it"
        case Kind.Enum(options=options):
            return f"{place} must be one of {', '.join(map(str, options))}"
        case Kind.Pattern(pattern=pattern):
            return f"{place} is no {_meanings().get(pattern, 'value of the right form')}"
        case Kind.MinLength(limit=limit):
            return f"{place} is shorter than {limit} characters"
        case Kind.MaxLength(limit=limit):
            return f"{place} is longer than {limit} characters"
        case Kind.MinItems():
            return f"{place} is empty"
        case Kind.MaxItems(limit=limit):
            return f"{place} has more than {limit} entries"
        case Kind.Minimum(limit=limit):
            return f"{place} is below {limit}"
        case Kind.Maximum(limit=limit):
            return f"{place} is above {limit}"
    return f"{place or 'the body'} is not valid"


@lru_cache(maxsize=1)
def _meanings() -> dict[str, str]:
    """Pattern → what matches it, in words."""
    schemas = specification()["components"]["schemas"]
    described = [*schemas.values(), *schemas["Callback"]["properties"].values()]
    return {s["pattern"]: s["description"] for s in described if {"pattern", "description"} <= {*s}}


def _place(path: list[str | int]) -> str:
    place = ""
    for step in path:
        place = f"{place}[{step}]" if isinstance(step, int) else _join(place, step)
    return place


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aio' else 'a'} {name}"


def _name(value: object) -> str:
    return "null" if value is None else f"the {type(value).__name__} {str(value)[:40]!r}"


# ── What a media address holds: data URIs and loopback addresses only, nothing else is fetched ────

_LARGEST: Final = 64 * 2**20
_PATIENCE: Final = 3.0
_MOST_PIXELS: Final = 50_000_000


def content_at(url: str) -> bytes | None:
    """The bytes behind an address, or None where it is not ours to fetch or does not answer."""
    if url.startswith("data:"):
        return _data(url)
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not is_this_machine(parts.hostname or ""):
            return None
        return _get(parts.hostname or "", parts.port or 80, _target(parts.path, parts.query))
    except (OSError, http.client.HTTPException, ValueError):
        return None


def _data(url: str) -> bytes | None:
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except binascii.Error:
        return None


def _target(path: str, query: str) -> str:
    return f"{path or '/'}?{query}" if query else path or "/"


def _get(host: str, port: int, target: str) -> bytes | None:
    """One GET; a redirect is no answer, since it could lead away from this machine."""
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        content = answer.read(_LARGEST + 1)
    finally:
        connection.close()
    return content if answer.status == 200 and len(content) <= _LARGEST else None


def image_ratio(url: str) -> float | None:
    """Width by height of the image at an address, or None."""
    from PIL import Image, UnidentifiedImageError

    content = content_at(url)
    if content is None:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    return width / height if height and width * height <= _MOST_PIXELS else None


def media_seconds(url: str) -> float | None:
    """Length of the video or audio at an address, or None."""
    import av

    content = content_at(url)
    if not content:
        return None
    try:
        with av.open(io.BytesIO(content), "r") as container:
            length = container.duration
    except (av.FFmpegError, ValueError):
        return None
    return length / 1_000_000 if length and length > 0 else None
