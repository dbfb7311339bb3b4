"""The YAML form of a manifest: ``defaults``, ``rows``, ``matrix``, ``variants``, ``include``.

The text becomes plain nodes that know their lines, the nodes a table; other files are read below
the manifest's own folder only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

from seedance_batch.core.columns import folded
from seedance_batch.core.manifest import Place
from seedance_batch.core.model import LIST_FIELDS, MEDIA_FIELDS
from seedance_batch.errors import UsageError
from seedance_batch.reader.cells import SEVERAL, Origin, Scalar, Table, Value, quoted
from seedance_batch.reader.expansion import Axes, cross, fill, repeat, template
from seedance_batch.reader.headings import FORBIDDEN, field_of, names_prompt, plain
from seedance_batch.reader.media_files import is_url
from seedance_batch.reader.source import (
    MOST_NESTING,
    MOST_VARIANTS,
    TOO_DEEP,
    YAML_KEYS,
    Loading,
    Source,
    opened,
)
from seedance_batch.reader.text_file import decoded

# ── YAML text into plain nodes that know their lines: scalars keep their text, nothing is typed ───
# No tags, no aliases, no duplicate keys, bounded depth: what is refused here cannot blow up later.


_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(slots=True)
class YamlScalar:
    """A text, or None where nothing was written."""

    text: str | None
    line: int
    left_out: str = ""
    """What stands beside the text and is not part of it for YAML: a comment, or an anchor."""
    is_quoted: bool = False


@dataclass(slots=True)
class YamlListing:
    """A sequence."""

    line: int
    items: list[YamlNode] = field(default_factory=list)


@dataclass(slots=True)
class YamlMapping:
    """A mapping; keys are texts, in their order."""

    line: int
    entries: dict[str, YamlNode] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)


YamlNode = YamlScalar | YamlListing | YamlMapping


class YamlFault(Exception):
    """What is wrong with the text, and in which line."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line


def tree(text: str) -> tuple[YamlNode | None, list[YamlFault]]:
    """The one document in a text (None where there is none), and what is not allowed in it.

    Raises `YamlFault` where the text cannot be read to its end.
    """
    loader = getattr(yaml, "CLoader", yaml.Loader)
    builder = _Builder(text)
    try:
        return builder.build(yaml.parse(text, Loader=loader)), builder.faults
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _unreadable(text, mark.index if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlFault(
            line, f"contains a character that YAML forbids (U+{_code(error):04X})"
        ) from None


def _code(error: yaml.reader.ReaderError) -> int:
    return error.character if isinstance(error.character, int) else ord(error.character[:1])


_OPENS: Final = re.compile(r"(?:^|(?<=[\s\[{,:]))[\[{]")
_QUOTED: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'")


def _unreadable(text: str, index: int) -> YamlFault:
    """Why the parser stopped at a character, told from the text: its own words are for programmers
    and change from one version to the next."""
    before = text[:index]
    line = before.count("\n") + 1
    if too_deep := _too_deep(before):
        return YamlFault(too_deep, TOO_DEEP)
    here = text[index : index + 1]
    if here == "\t":
        return YamlFault(line, "there is a tab where YAML needs spaces")
    if here == ":":
        return YamlFault(line, "a colon inside a text needs quotes around the text")
    return YamlFault(line, "is not YAML from here on; quotes around a text may be missing")


def _too_deep(text: str) -> int | None:
    """The line in which brackets are opened more than `MOST_DEPTH` deep, if any is: some parsers
    refuse that themselves, before they say what they have read."""
    bare = _QUOTED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    opened = [match.start() for match in _OPENS.finditer(bare)]
    closed = [match.start() for match in re.finditer(r"[\]}]", bare)]
    depth = 0
    for at, change in sorted([*((at, 1) for at in opened), *((at, -1) for at in closed)]):
        depth = max(0, depth + change)
        if depth > MOST_NESTING:
            return text.count("\n", 0, at) + 1
    return None


_BLOCKS: Final = frozenset({"|", ">"})
_COMMENT: Final = re.compile(r"[ \t]+(#[^\r\n]*)")


class _Builder:
    """Builds the tree from events with a stack of its own, so that depth is counted."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stack: list[YamlListing | YamlMapping] = []
        self._keys: list[YamlScalar | None] = []
        self._root: YamlNode | None = None
        self._documents = 0
        self.faults: list[YamlFault] = []

    def build(self, events: Iterator[yaml.Event]) -> YamlNode | None:
        for event in events:
            self._take(event)
        return self._root

    def _take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.ScalarEvent():
                self._refuse_tag(event, line)
                is_nothing = not event.style and event.value in _NOTHING
                text = None if is_nothing else event.value
                self._add(YamlScalar(text, line, self._left_out(event), bool(event.style)))
            case yaml.SequenceStartEvent():
                self._refuse_tag(event, line)
                self._open(YamlListing(line))
            case yaml.MappingStartEvent():
                self._refuse_tag(event, line)
                self._open(YamlMapping(line))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._stack.pop()
                self._keys.pop()
            case yaml.AliasEvent():
                self._fault(line, "aliases (*name) are not read; use defaults: instead")
                self._add(YamlScalar(None, line))
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise YamlFault(line, "a second document begins here; a manifest has only one")

    def _left_out(self, event: yaml.ScalarEvent) -> str:
        if event.anchor:
            return f"&{event.anchor}"
        if event.style in _BLOCKS or event.end_mark is None:
            return ""
        comment = _COMMENT.match(self._text, event.end_mark.index)
        return comment[1].rstrip() if comment else ""

    def _open(self, node: YamlListing | YamlMapping) -> None:
        if len(self._stack) >= MOST_NESTING:
            raise YamlFault(node.line, TOO_DEEP)
        self._add(node)
        self._stack.append(node)
        self._keys.append(None)

    def _add(self, node: YamlNode) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if isinstance(parent, YamlListing):
            parent.items.append(node)
        elif (key := self._keys[-1]) is None:
            self._keys[-1] = self._key(parent, node)
        else:
            parent.entries[str(key.text)] = node
            parent.key_lines[str(key.text)] = key.line
            self._keys[-1] = None

    def _key(self, parent: YamlMapping, node: YamlNode) -> YamlScalar:
        if not isinstance(node, YamlScalar) or node.text is None:
            raise YamlFault(node.line, "a key must be a text")
        if node.text == "<<":
            self._fault(node.line, "merge keys (<<) are not read; use defaults: instead")
        elif node.text in parent.entries:
            first = parent.key_lines[node.text]
            self._fault(node.line, f"{quoted(node.text)} was already given in line {first}")
        return node

    def _refuse_tag(self, event: yaml.NodeEvent, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._fault(line, f"tags ({quoted(str(tag))}) are not read; leave the tag out")

    def _fault(self, line: int, words: str) -> None:
        self.faults.append(YamlFault(line, words))


# ── The YAML form of a manifest: ``defaults``, ``rows``, ``matrix``, ``variants``, ``include`` ────
# Values stay texts; what they mean is decided where cells of every format are read.


def yaml_tables(source: Source, loading: Loading) -> list[Table]:
    """The tables of a YAML manifest, fully expanded: its own rows, and the included files'."""
    text = decoded(source, loading)
    if text is None:
        return []
    try:
        root, faults = tree(text)
    except YamlFault as fatal:
        root, faults = None, [fatal]
    for fault in faults:
        loading.noted.problem(Place(source.file, line=fault.line), str(fault))
    if faults:
        return []
    return _Form(source, loading).tables(root)


class _Form:
    """One YAML file while it is understood."""

    def __init__(self, source: Source, loading: Loading) -> None:
        self._source = source
        self._loading = loading
        self._noted = loading.noted
        self._words_prompts = False
        """Whether a row's other texts may come to stand in its prompt."""

    def tables(self, root: YamlNode | None) -> list[Table]:
        match root:
            case YamlListing():
                return self._rows(root)
            case YamlMapping():
                return self._expanded(root)
            case _:
                self._noted.problem(
                    self._source.place, "is not a manifest: rows: with a list of rows is missing"
                )
                return []

    def _expanded(self, root: YamlMapping) -> list[Table]:
        self._check_keys(root)
        parts = root.entries
        self._words_prompts = "prompt_template" in parts
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
        return self._repeated(crossed, self._variants(parts.get("variants")), parts)

    def _complete(self, tables: list[Table], parts: dict[str, YamlNode]) -> None:
        defaults = self._defaults(parts.get("defaults"))
        wording = self._text(parts.get("prompt_template"), "prompt_template")
        self._check_whole(parts.get("prompt_template"), "prompt_template")
        for table in tables:
            for heading, value, place in defaults:
                fill(table, heading, value, place)
            if wording:
                place = self._place(parts["prompt_template"].line, "prompt_template")
                template(table, wording, place, self._noted)

    def _repeated(
        self, tables: list[Table], variants: int, parts: Mapping[str, YamlNode]
    ) -> list[Table]:
        if variants == 1:
            return tables
        self._loading.about["variants"] = str(variants)
        own = [table for table in tables if "variants" in table.headings]
        for table in own:  # where a row says it for itself, that counts
            place = self._place(parts["variants"].line, "variants")
            fill(table, "variants", str(variants), place)
        return [t for t in tables if t in own or repeat(t, variants, self._noted)]

    # ── the top ─────────────────────────────────────────────────────────────────────────────────

    def _check_keys(self, root: YamlMapping) -> None:
        for key, line in root.key_lines.items():
            if key not in YAML_KEYS:
                self._refuse(line, key, _unknown_key(key))

    def _included(self, node: YamlNode | None) -> list[Table]:
        tables = []
        for item in node.items if isinstance(node, YamlListing) else [node]:
            name = self._text(item, "include")
            if name is not None and item is not None:
                place = self._place(item.line, "include")
                tables += included(name, place, self._source, self._loading)
        return tables

    def _defaults(self, node: YamlNode | None) -> list[tuple[str, Value, Place]]:
        if node is None or (isinstance(node, YamlScalar) and node.text is None):
            return []
        if not isinstance(node, YamlMapping):
            self._refuse(node.line, "defaults", "is not a mapping of fields")
            return []
        return [
            (key, self._value(value, key), self._place(value.line, key))
            for key, value in node.entries.items()
        ]

    def _axes(self, node: YamlNode | None) -> Axes | None:
        if node is None:
            return None
        place = self._place(node.line, "matrix")
        if not isinstance(node, YamlMapping) or not node.entries.keys() - {"exclude"}:
            self._noted.problem(place, "is not a mapping of a column to its values")
            return None
        columns = {
            key: self._values(value, key) for key, value in node.entries.items() if key != "exclude"
        }
        return Axes(place, columns, self._excluded(node.entries.get("exclude")))

    def _values(self, node: YamlNode, key: str) -> list[tuple[Value, Place]]:
        if not isinstance(node, YamlListing) or not node.items:
            self._refuse(node.line, key, "wants a list of values in the matrix")
            return [(None, self._place(node.line, key))]
        return [(self._value(item, key), self._place(item.line, key)) for item in node.items]

    def _excluded(self, node: YamlNode | None) -> list[tuple[dict[str, Value], Place]]:
        found = []
        for item in node.items if isinstance(node, YamlListing) else [node]:
            if isinstance(item, YamlMapping):
                pairs = {key: self._value(value, key) for key, value in item.entries.items()}
                found.append((pairs, self._place(item.line, "exclude")))
            elif item is not None:
                self._refuse(item.line, "exclude", "wants mappings of a column to a value")
        return found

    def _variants(self, node: YamlNode | None) -> int:
        text = self._text(node, "variants")
        if text is None or node is None:
            return 1
        if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_VARIANTS:
            return int(text)
        words = f"{quoted(text)} is not a whole number from 1 to {MOST_VARIANTS:,}"
        self._refuse(node.line, "variants", words)
        return 1

    # ── rows ────────────────────────────────────────────────────────────────────────────────────

    def _rows(self, node: YamlNode) -> list[Table]:
        if not isinstance(node, YamlListing) or not node.items:
            self._refuse(node.line, "rows", "is not a list of rows")
            return []
        headings: dict[str, None] = {}
        rows = []
        for item in node.items:
            if not isinstance(item, YamlMapping):
                self._refuse(item.line, None, "a row is a mapping of fields")
                continue
            for key in item.entries:
                if key not in headings:
                    self._check_row_key(key, item)
                    headings[key] = None
            rows.append(item)
        return [self._table(list(headings), rows, node.line)] if rows else []

    def _check_row_key(self, key: str, row: YamlMapping) -> None:
        if key in YAML_KEYS and key != "variants":  # which a row may have for itself
            self._refuse(row.key_lines[key], key, "belongs at the top, not in a row")

    def _table(self, headings: list[str], rows: list[YamlMapping], line: int) -> Table:
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

    def _value(self, node: YamlNode, key: str) -> Value:
        match node:
            case YamlScalar():
                self._check_whole(node, key)
                return node.text
            case YamlListing():
                return tuple(self._item(item, key) for item in node.items)
            case YamlMapping():
                words = "is a mapping, but a text or a list is needed; quotes make it a text"
                self._refuse(node.line, key, words)
                return None

    def _check_whole(self, node: YamlNode | None, key: str) -> None:
        """Whether YAML has read less than was written: ``jersey #7`` is *jersey* and a comment."""
        if not isinstance(node, YamlScalar) or not node.left_out:
            return
        is_comment = node.left_out[1:2].isspace()  # as people write them, and nothing else
        words = (
            f"YAML leaves out {quoted(node.left_out)} here; put the text in quotes, "
            "or a comment on a line of its own"
        )
        if self._is_sent(key):
            if not (node.is_quoted and is_comment):
                self._refuse(node.line, key, words)
        elif not is_comment and (field_of(key) or "id") in _TEXTS:
            self._noted.warning(self._place(node.line, key), words)

    def _is_sent(self, key: str) -> bool:
        if names_prompt(key, self._loading.options.column_map) or key == "prompt_template":
            return True
        return self._words_prompts and field_of(key) is None

    def _item(self, node: YamlNode, key: str) -> str:
        if isinstance(node, YamlScalar):
            return node.text or ""
        self._refuse(node.line, key, "a list may contain only texts")
        return ""

    def _text(self, node: YamlNode | None, key: str) -> str | None:
        if node is None or isinstance(node, YamlScalar):
            return None if node is None else node.text
        self._refuse(node.line, key, "is not a text")
        return None

    def _refuse(self, line: int, column: str | None, words: str) -> None:
        self._noted.problem(self._place(line, column), words)

    def _place(self, line: int, column: str | None) -> Place:
        return Place(self._source.file, line=line, column=column)


_TEXTS: Final = MEDIA_FIELDS.keys() | {"id", "model"}
"""Fields that hold a text, as the person's own columns do."""


def _unknown_key(key: str) -> str:
    if why := FORBIDDEN.get(plain(key)):
        return why
    if field_of(key):
        return "is an input field: it belongs in defaults: or in a row"
    meant = get_close_matches(key, YAML_KEYS, n=1)
    known = f"did you mean {meant[0]}?" if meant else f"those are {', '.join(YAML_KEYS)}"
    return f"is not a key of a manifest; {known}"


# ── Other files that a YAML manifest takes its rows from: inside its folder, not deep, no rings ───


MOST_INCLUSION: Final = 4


def included(name: str, place: Place, source: Source, loading: Loading) -> list[Table]:
    """The tables of the file called ``name`` in a manifest; none, with a problem, where refused."""
    from seedance_batch.reader.read import tables_of  # which leads here for YAML

    chain = loading.including or (_real(source.folder / source.file),)
    try:
        target = _real(source.folder / name)
        if why := _refusal(name, target, chain, loading):
            loading.noted.problem(place, why)
            return []
        found = opened(source.folder / name, included=True)
    except (UsageError, OSError, ValueError) as error:
        why = str(error).rpartition(": ")[2] if isinstance(error, UsageError) else "no such name"
        loading.noted.problem(place, f"{quoted(name)} cannot be opened: {why}")
        return []
    file = str(PurePosixPath(source.file).parent / name.replace("\\", "/"))
    inner = replace(loading, about={}, including=(*chain, target))
    tables = tables_of(replace(found, file=file), inner)
    below = PurePosixPath(os.path.relpath(target.parent, _real(source.folder)))
    if str(below) != ".":
        mapped = {folded(h): field for field, h in loading.options.column_map.items()}
        for table in tables:
            _move(table, below, mapped)
    return tables


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _refusal(name: str, target: Path, chain: tuple[Path, ...], loading: Loading) -> str | None:
    if target in chain:
        return f"{quoted(name)} includes itself"
    if len(chain) > MOST_INCLUSION:
        return f"{quoted(name)} is included more than {MOST_INCLUSION} levels deep"
    if not loading.options.allow_outside and not target.is_relative_to(chain[0].parent):
        return f"{quoted(name)} lies outside the manifest's folder (--allow-outside reads it)"
    if target.exists() and not target.is_file():
        return f"{quoted(name)} is not a file"
    return None


def _move(table: Table, below: PurePosixPath, mapped: Mapping[str, str]) -> None:
    """Make relative paths begin in the including manifest's folder, so that rows stay whole."""
    for position, heading in enumerate(table.headings):
        field = mapped.get(folded(heading)) or field_of(heading)
        if field not in MEDIA_FIELDS:
            continue
        for index, row in enumerate(table.rows):
            if position < len(row):
                moved = list(row)
                moved[position] = _moved(row[position], below, field in LIST_FIELDS)
                table.rows[index] = moved


def _moved(value: Value, below: PurePosixPath, is_list: bool) -> Value:
    if isinstance(value, tuple):
        return tuple(_moved_one(item, below) for item in value)
    if isinstance(value, str) and is_list:
        return tuple(
            _moved_one(item.strip(), below) for item in SEVERAL.split(value) if item.strip()
        )
    return _moved_one(value, below)


def _moved_one(value: Scalar, below: PurePosixPath) -> Scalar:
    if not isinstance(value, str) or not value.strip() or is_url(value):
        return value
    return str(below / value)
