"""Holds output against the schema of ``--json``; writes ``docs/events.md`` from that schema.

``python -m tests.events_page`` writes the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from seedance_batch.cli.starter import output_schema

PAGE = Path(__file__).parent.parent / "docs" / "events.md"
_TABLE = ("| field | example | meaning |", "|---|---|---|")


def page() -> str:
    """The page as it should be; its beginning is written by hand."""
    defs = output_schema()["$defs"]
    events = {n.removeprefix("event_"): d for n, d in defs.items() if n.startswith("event_")}
    parts = {n: d for n, d in defs.items() if "properties" in d and not n.startswith("event_")}
    head, _, _ = PAGE.read_text(encoding="utf-8").partition("\n## ")
    lines = [f"{head.rstrip()}\n"]
    for name, found in events.items():
        lines += [f"## `{name}`", "", f"{_sentence(found['description'])}", "", *_table(found), ""]
    lines.append("## Parts\n")
    for name, found in parts.items():
        lines += [f"### *{name}*", "", *_table(found), ""]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    yield from _TABLE
    for name, field in found["properties"].items():
        if "examples" in field or "description" in field:
            yield f"| `{name}` | {_example(field)} | {_meaning(field)} |"


def _example(field: Mapping[str, Any]) -> str:
    shown = [json.dumps(each, ensure_ascii=False) for each in field.get("examples", [])]
    return f"`{shown[0]}`" if shown else ""


def _meaning(field: Mapping[str, Any]) -> str:
    words = ", ".join(f"`{word}`" for word in field.get("enum", []) if word is not None)
    return f"{field['description']}; one of {words}" if words else str(field["description"])


def valid_output(value: Any) -> Any:
    """The value, where the schema describes it and every field of it."""
    _validators()[value["event"]].validate(value)
    return value


@cache
def _validators() -> dict[str, Any]:
    defs = _closed(output_schema()["$defs"])
    kinds = (name.removeprefix("event_") for name in defs if name.startswith("event_"))
    return {
        kind: jsonschema_rs.validator_for({"$ref": f"#/$defs/event_{kind}", "$defs": defs})
        for kind in kinds
    }


def _closed(schema: Any) -> Any:
    """The schema without leave for fields that it does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    own = {name: _closed(value) for name, value in schema.items()}
    return own | ({"additionalProperties": False} if "required" in schema else {})


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
