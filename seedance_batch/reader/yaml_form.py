"""The YAML form of a manifest: ``defaults``, ``rows``, ``matrix``, ``variants``, ``include``.

Values stay texts; what they mean is decided where cells of every format are read.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from seedance_batch.manifest import Place
from seedance_batch.reader.cells import quoted
from seedance_batch.reader.decoding import decoded
from seedance_batch.reader.expansion import Axes, cross, fill, repeat, template
from seedance_batch.reader.headings import FORBIDDEN, field_of, plain
from seedance_batch.reader.inclusion import included
from seedance_batch.reader.source import Loading, Source
from seedance_batch.reader.table import Origin, Table, Value
from seedance_batch.reader.yaml_tree import Listing, Mapping, Node, Scalar, YamlFault, tree

KEYS: Final = ("defaults", "rows", "matrix", "variants", "include", "prompt_template")
"""Everything that may stand at the top."""
MOST_VARIANTS: Final = 1_000


def load(source: Source, loading: Loading) -> list[Table]:
    """The tables of a YAML manifest, fully expanded: its own rows, and the included files'."""
    text = decoded(source, loading)
    if text is None:
        return []
    try:
        root, faults = tree(text)
    except YamlFault as fatal:
        root, faults = None, [fatal]
    for fault in faults:
        loading.noted.problem(Place(source.file, line=fault.line), fault.words)
    if faults:
        return []
    return _Form(source, loading).tables(root)


class _Form:
    """One YAML file while it is understood."""

    def __init__(self, source: Source, loading: Loading) -> None:
        self._source = source
        self._loading = loading
        self._noted = loading.noted

    def tables(self, root: Node | None) -> list[Table]:
        match root:
            case Listing():
                return self._rows(root)
            case Mapping():
                return self._expanded(root)
            case _:
                self._noted.problem(
                    self._source.place, "is no manifest: rows: with a list of rows is missing"
                )
                return []

    def _expanded(self, root: Mapping) -> list[Table]:
        self._check_keys(root)
        parts = root.entries
        tables = self._included(parts.get("include"))
        if "rows" in parts:
            tables += self._rows(parts["rows"])
        axes = self._axes(parts.get("matrix"))
        if axes and not tables:
            tables = [Table(self._source.file, [], [[]], [axes.place.line or 1], origins=[[]])]
        if not tables and not parts.keys() & {"include", "rows"}:
            self._noted.problem(self._source.place, "has no rows")
        # What the matrix sets, defaults need not fill.
        crossed = [t for t in tables if axes is None or cross(t, axes, self._noted)]
        self._complete(crossed, parts)
        return self._repeated(crossed, self._variants(parts.get("variants")))

    def _complete(self, tables: list[Table], parts: dict[str, Node]) -> None:
        defaults = self._defaults(parts.get("defaults"))
        wording = self._text(parts.get("prompt_template"), "prompt_template")
        for table in tables:
            for heading, value, place in defaults:
                fill(table, heading, value, place)
            if wording:
                place = self._place(parts["prompt_template"].line, "prompt_template")
                template(table, wording, place, self._noted)

    def _repeated(self, tables: list[Table], variants: int) -> list[Table]:
        if variants == 1:
            return tables
        self._loading.about["variants"] = str(variants)
        return [table for table in tables if repeat(table, variants, self._noted)]

    # ── the top ─────────────────────────────────────────────────────────────────────────────────

    def _check_keys(self, root: Mapping) -> None:
        for key, line in root.key_lines.items():
            if key not in KEYS:
                self._noted.problem(self._place(line, key), _unknown_key(key))

    def _included(self, node: Node | None) -> list[Table]:
        tables = []
        for item in node.items if isinstance(node, Listing) else [node]:
            name = self._text(item, "include")
            if name is not None and item is not None:
                place = self._place(item.line, "include")
                tables += included(name, place, self._source, self._loading)
        return tables

    def _defaults(self, node: Node | None) -> list[tuple[str, Value, Place]]:
        if node is None or (isinstance(node, Scalar) and node.text is None):
            return []
        if not isinstance(node, Mapping):
            self._noted.problem(self._place(node.line, "defaults"), "is no mapping of fields")
            return []
        return [
            (key, self._value(value, key), self._place(value.line, key))
            for key, value in node.entries.items()
        ]

    def _axes(self, node: Node | None) -> Axes | None:
        if node is None:
            return None
        place = self._place(node.line, "matrix")
        if not isinstance(node, Mapping) or not node.entries.keys() - {"exclude"}:
            self._noted.problem(place, "is no mapping of a column to its values")
            return None
        columns = {
            key: self._values(value, key) for key, value in node.entries.items() if key != "exclude"
        }
        return Axes(place, columns, self._excluded(node.entries.get("exclude")))

    def _values(self, node: Node, key: str) -> list[tuple[Value, Place]]:
        if not isinstance(node, Listing) or not node.items:
            self._noted.problem(self._place(node.line, key), "wants a list of values in the matrix")
            return [(None, self._place(node.line, key))]
        return [(self._value(item, key), self._place(item.line, key)) for item in node.items]

    def _excluded(self, node: Node | None) -> list[tuple[dict[str, Value], Place]]:
        found = []
        for item in node.items if isinstance(node, Listing) else [node]:
            if isinstance(item, Mapping):
                pairs = {key: self._value(value, key) for key, value in item.entries.items()}
                found.append((pairs, self._place(item.line, "exclude")))
            elif item is not None:
                self._noted.problem(
                    self._place(item.line, "exclude"), "wants mappings of a column to a value"
                )
        return found

    def _variants(self, node: Node | None) -> int:
        text = self._text(node, "variants")
        if text is None or node is None:
            return 1
        if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_VARIANTS:
            return int(text)
        self._noted.problem(
            self._place(node.line, "variants"),
            f"{quoted(text)} is no whole number from 1 to {MOST_VARIANTS:,}",
        )
        return 1

    # ── rows ────────────────────────────────────────────────────────────────────────────────────

    def _rows(self, node: Node) -> list[Table]:
        if not isinstance(node, Listing) or not node.items:
            self._noted.problem(self._place(node.line, "rows"), "is no list of rows")
            return []
        headings: dict[str, int] = {}
        rows = []
        for item in node.items:
            if not isinstance(item, Mapping):
                self._noted.problem(self._place(item.line), "a row is a mapping of fields")
                continue
            for key in item.entries:
                if key not in headings:
                    self._check_row_key(key, item)
                    headings[key] = len(headings)
            rows.append(item)
        return [self._table(list(headings), rows, node.line)] if rows else []

    def _check_row_key(self, key: str, row: Mapping) -> None:
        if key in KEYS:
            line = row.key_lines[key]
            self._noted.problem(self._place(line, key), "belongs to the top, not into a row")

    def _table(self, headings: list[str], rows: list[Mapping], line: int) -> Table:
        values: list[list[Value]] = []
        origins: list[list[Origin]] = []
        for row in rows:
            nodes = [row.entries.get(heading) for heading in headings]
            values.append(
                [
                    None if node is None else self._value(node, heading)
                    for node, heading in zip(nodes, headings, strict=True)
                ]
            )
            origins.append([None if node is None else node.line for node in nodes])
        lines = [row.line for row in rows]
        return Table(self._source.file, headings, list(values), lines, line, origins=list(origins))

    def _value(self, node: Node, key: str) -> Value:
        match node:
            case Scalar():
                return node.text
            case Listing():
                return tuple(self._item(item, key) for item in node.items)
            case Mapping():
                self._noted.problem(
                    self._place(node.line, key),
                    "is a mapping, where a text or a list is wanted; quotes make it a text",
                )
                return None

    def _item(self, node: Node, key: str) -> str:
        if isinstance(node, Scalar):
            return node.text or ""
        self._noted.problem(self._place(node.line, key), "a list holds texts only")
        return ""

    def _text(self, node: Node | None, key: str) -> str | None:
        if node is None or isinstance(node, Scalar):
            return None if node is None else node.text
        self._noted.problem(self._place(node.line, key), "is no text")
        return None

    def _place(self, line: int, column: str | None = None) -> Place:
        return Place(self._source.file, line=line, column=column)


def _unknown_key(key: str) -> str:
    if why := FORBIDDEN.get(plain(key)):
        return why
    if field_of(key):
        return "is an input field: it belongs into defaults: or a row"
    meant = get_close_matches(key, KEYS, n=1)
    known = f"did you mean {meant[0]}?" if meant else f"those are {', '.join(KEYS)}"
    return f"is no key of a manifest; {known}"
