"""YAML text into plain nodes that know their lines: scalars keep their text, nothing is typed.

No tags, no aliases, no duplicate keys, bounded depth: what is refused here cannot blow up later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from seedance_batch.reader.cells import quoted

MOST_DEPTH: Final = 8
_TOO_DEEP: Final = f"is nested more than {MOST_DEPTH} deep"
_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(slots=True)
class Scalar:
    """A text, or None where nothing was written."""

    text: str | None
    line: int


@dataclass(slots=True)
class Listing:
    """A sequence."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Mapping:
    """A mapping; keys are texts, in their order."""

    line: int
    entries: dict[str, Node] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)


Node = Scalar | Listing | Mapping


class YamlFault(Exception):
    """What is wrong with the text, and in which line."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line
        self.words = words


def tree(text: str) -> tuple[Node | None, list[YamlFault]]:
    """The one document in a text (None where there is none), and what is not allowed in it.

    Raises `YamlFault` where the text cannot be read to its end.
    """
    loader = getattr(yaml, "CLoader", yaml.Loader)
    builder = _Builder()
    try:
        return builder.build(yaml.parse(text, Loader=loader)), builder.faults
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _unreadable(text, mark.index if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlFault(
            line, f"holds a character that YAML forbids (U+{_code(error):04X})"
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
        return YamlFault(too_deep, _TOO_DEEP)
    here = text[index : index + 1]
    if here == "\t":
        return YamlFault(line, "a tab stands where YAML wants blanks")
    if here == ":":
        return YamlFault(line, "a colon inside a text needs quotes around the text")
    return YamlFault(line, "is no YAML from here on; quotes around a text may be missing")


def _too_deep(text: str) -> int | None:
    """The line in which brackets are opened more than `MOST_DEPTH` deep, if any is: some parsers
    refuse that themselves, before they say what they have read."""
    bare = _QUOTED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    opened = [match.start() for match in _OPENS.finditer(bare)]
    closed = [match.start() for match in re.finditer(r"[\]}]", bare)]
    depth = 0
    for at, change in sorted([*((at, 1) for at in opened), *((at, -1) for at in closed)]):
        depth = max(0, depth + change)
        if depth > MOST_DEPTH:
            return text.count("\n", 0, at) + 1
    return None


class _Builder:
    """Builds the tree from events with a stack of its own, so that depth is counted."""

    def __init__(self) -> None:
        self._stack: list[Listing | Mapping] = []
        self._keys: list[Scalar | None] = []
        self._root: Node | None = None
        self._documents = 0
        self.faults: list[YamlFault] = []

    def build(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            self._take(event)
        return self._root

    def _take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        match event:
            case yaml.ScalarEvent():
                self._refuse_tag(event, line)
                is_nothing = not event.style and event.value in _NOTHING
                self._add(Scalar(None if is_nothing else event.value, line))
            case yaml.SequenceStartEvent():
                self._refuse_tag(event, line)
                self._open(Listing(line))
            case yaml.MappingStartEvent():
                self._refuse_tag(event, line)
                self._open(Mapping(line))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._stack.pop()
                self._keys.pop()
            case yaml.AliasEvent():
                self._fault(line, "aliases (*name) are not read; say it in defaults: instead")
                self._add(Scalar(None, line))
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise YamlFault(line, "a second document begins here; a manifest has one")

    def _open(self, node: Listing | Mapping) -> None:
        if len(self._stack) >= MOST_DEPTH:
            raise YamlFault(node.line, _TOO_DEEP)
        self._add(node)
        self._stack.append(node)
        self._keys.append(None)

    def _add(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if isinstance(parent, Listing):
            parent.items.append(node)
        elif (key := self._keys[-1]) is None:
            self._keys[-1] = self._key(parent, node)
        else:
            parent.entries[str(key.text)] = node
            parent.key_lines[str(key.text)] = key.line
            self._keys[-1] = None

    def _key(self, parent: Mapping, node: Node) -> Scalar:
        if not isinstance(node, Scalar) or node.text is None:
            raise YamlFault(node.line, "a key must be a text")
        if node.text == "<<":
            self._fault(node.line, "merge keys (<<) are not read; say it in defaults: instead")
        elif node.text in parent.entries:
            first = parent.key_lines[node.text]
            self._fault(node.line, f"{quoted(node.text)} was given in line {first} already")
        return node

    def _refuse_tag(self, event: yaml.NodeEvent, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._fault(line, f"tags ({quoted(str(tag))}) are not read; leave it out")

    def _fault(self, line: int, words: str) -> None:
        self.faults.append(YamlFault(line, words))
