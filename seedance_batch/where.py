"""The language of ``--where``: a condition over a row's values, checked whole before any use.

Text is parsed with `ast` and turned into nested functions by a positive list: comparisons,
and/or/not, in, names, constants. A column whose name is not one word stands in brackets, as in
``[Scene no.] == '4'``. Nothing is ever handed to the interpreter.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import operator
import re
import shlex
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, cast

from seedance_batch.errors import UsageError

LONGEST: Final = 1000
"""Characters of an expression."""
DEEPEST: Final = 20
"""Levels of nesting."""

Value = str | int | float | bool | None
Lookup = Callable[[str], Value]
"""A row's value by name; None where it has none."""
Condition = Callable[[Lookup], bool]


class Type(StrEnum):
    """What a name or a constant is; only like is compared with like."""

    TEXT = "text"
    NUMBER = "a number"
    TRUTH = "true or false"
    NOTHING = "nothing"


_COMPARE: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ORDERS: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_HINT: Final = "--where \"client == 'Acme' and duration > 8\""


def compile_where(text: str, names: Mapping[str, Type]) -> Condition:
    """The condition that ``text`` states over ``names``.

    Raises `UsageError` for all that is not the language above, for unknown names, and for
    comparisons between types; its message names the character, counted from 1.
    """
    if len(text) > LONGEST:
        raise UsageError(f"--where is longer than {LONGEST:,} characters")
    indent = len(text) - len(text.lstrip())
    plain, columns = _without_brackets(text.strip(), names)
    tree = _parse(plain, text.strip(), indent)
    return _Compiler(plain, indent, names, columns).condition(tree, 0)


def as_name(heading: str) -> str:
    """How a column is written in an expression: ``Client name`` is ``Client_name``."""
    # Python reads identifiers in this form too.
    text = unicodedata.normalize("NFKC", heading.strip())
    name = "".join(c if f"_{c}".isidentifier() else "_" for c in text)
    return name if name.isidentifier() else f"_{name}"


_QUOTED: Final = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
_BRACKETS: Final = re.compile(rf"{_QUOTED}|(?P<after>\bin\s*)?\[(?P<column>[^\[\]'\"]+)\]")
_SINGLE: Final = re.compile(rf"{_QUOTED}|(?<![=!<>:])(?P<equals>=)(?!=)")


def _without_brackets(text: str, names: Mapping[str, Type]) -> tuple[str, dict[str, str]]:
    """The text with a word of the same length for each ``[column]``, and what the words stand for.

    After ``in`` brackets are a list, unless what they hold is a column's name of several words.
    """
    columns: dict[str, str] = {}
    stem = "_c"
    while any(name.startswith(stem) for name in names):
        stem += "_"

    def word(match: re.Match[str]) -> str:
        column, after = match["column"], match["after"] or ""
        name = (column or "").strip()
        if column is None or (after and (name.isidentifier() or name not in names)):
            return match[0]
        stand_in = f"{stem}{len(columns)}".ljust(len(match[0]) - len(after), "_")
        columns[stand_in] = name
        return after + stand_in

    return _BRACKETS.sub(word, text), columns


def as_written(name: str) -> str:
    """How a column's own name stands in an expression: in brackets, where it is not one word."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"[{name}]"


def _parse(text: str, typed: str, indent: int) -> ast.expr:
    """The tree of ``text``, which is as long as what was ``typed``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a text is the person's business
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        single = [match.start() for match in _SINGLE.finditer(text) if match["equals"]]
        if single:
            raise _no_assignment(typed, single, indent) from None
        at = f", character {indent + error.offset}" if error.offset else ""
        raise UsageError(f"--where{at}: {error.msg}", hint=_HINT) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"--where cannot be read: {error}", hint=_HINT) from None


def _no_assignment(typed: str, single: list[int], indent: int) -> UsageError:
    """For a single ``=`` in each of these places; the hint has what was meant."""
    meant = typed
    for at in reversed(single):
        meant = f"{meant[:at]}={meant[at:]}"
    message = f"--where, character {indent + single[0] + 1}: = compares nothing, use =="
    plain = not set('"$`\\!') & set(meant)  # to a shell, between double quotes
    return UsageError(
        message, hint=f'--where "{meant}"' if plain else f"--where {shlex.quote(meant)}"
    )


class _Compiler:
    """Turns one expression's tree into a function, or says where it cannot."""

    def __init__(
        self, text: str, indent: int, names: Mapping[str, Type], columns: Mapping[str, str]
    ) -> None:
        self._text = text
        self._indent = indent
        self._names = names
        self._columns = columns

    def condition(self, node: ast.expr, depth: int) -> Condition:
        """A tree that is true or false."""
        if depth > DEEPEST:
            raise self._error(node, f"is more than {DEEPEST} levels deep")
        match node:
            case ast.BoolOp(how, parts):
                return _joined(how, [self.condition(part, depth + 1) for part in parts])
            case ast.UnaryOp(ast.Not(), part):
                inner = self.condition(part, depth + 1)
                return lambda row: not inner(row)
            case ast.Compare(left, operators, rights):
                return self._comparison(left, operators, rights)
            case ast.Name() | ast.Constant() if self._type(node) is Type.TRUTH:
                value = self._value(node)
                return lambda row: value(row) is True
            case _:
                raise self._error(node, "is no comparison")

    def _comparison(
        self, left: ast.expr, operators: list[ast.cmpop], rights: list[ast.expr]
    ) -> Condition:
        parts = []
        for how, right in zip(operators, rights, strict=True):
            parts.append(self._pair(left, how, right))
            left = right
        return _joined(ast.And(), parts)

    def _pair(self, left: ast.expr, how: ast.cmpop, right: ast.expr) -> Condition:
        if isinstance(how, ast.In | ast.NotIn):
            within = self._membership(left, right)
            return within if isinstance(how, ast.In) else lambda row: not within(row)
        compare = _COMPARE.get(type(how))
        if compare is None:
            raise self._error(right, "follows “is”, which is not known here; write ==")
        ordered = isinstance(how, _ORDERS)
        self._check_types(left, right, ordered=ordered)
        one, other = self._value(left), self._value(right)
        if ordered:
            return lambda row: _ordered(compare, one(row), other(row))
        return lambda row: compare(one(row), other(row))

    def _membership(self, left: ast.expr, right: ast.expr) -> Condition:
        value = self._value(left)
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            for item in right.elts:
                self._check_types(left, item, ordered=False)
            items = [self._value(item) for item in right.elts]
            return lambda row: value(row) in [item(row) for item in items]
        if self._type(left) is not Type.TEXT or self._type(right) is not Type.TEXT:
            raise self._error(right, "follows “in”, which looks in text or in ('a', 'b')")
        text = self._value(right)
        return lambda row: str(value(row) or "") in str(text(row) or "")

    def _check_types(self, left: ast.expr, right: ast.expr, *, ordered: bool) -> None:
        one, other = self._type(left), self._type(right)
        if one is not other and (ordered or Type.NOTHING not in {one, other}):
            raise self._error(left, f"is {one}, and cannot be compared with {other}")
        if ordered and one not in {Type.NUMBER, Type.TEXT}:
            raise self._error(left, f"is {one}, which has no order")

    def _type(self, node: ast.expr) -> Type:
        plain = self._plain(node)
        if isinstance(plain, ast.Name):
            return self._names[self._column(plain)]
        return _type_of(plain.value)

    def _value(self, node: ast.expr) -> Callable[[Lookup], Value]:
        plain = self._plain(node)
        if isinstance(plain, ast.Name):
            name = self._column(plain)
            return lambda row: row(name)
        constant = cast(Value, plain.value)  # _plain lets no other kind through
        return lambda _: constant

    def _plain(self, node: ast.expr) -> ast.Name | ast.Constant:
        """A known name or a constant of a known type, else `UsageError`."""
        match node:
            case ast.Name():
                name = self._column(node)
                if name not in self._names:
                    raise self._unknown(node, name)
                return node
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as number)):
                return ast.Constant(-number)
            case ast.Constant(str() | int() | float() | None):
                return node
            case _:
                raise self._error(node, "is neither a column nor a text nor a number")

    def _column(self, node: ast.Name) -> str:
        return self._columns.get(node.id, node.id)

    def _unknown(self, node: ast.expr, name: str) -> UsageError:
        words = {as_name(n) for n in self._names if as_written(n) != n}
        written = {n: as_written(n) for n in self._names if n not in words}
        close = difflib.get_close_matches(name, [*written, "True", "False", "None"], n=1)
        meant = f"; did you mean {written.get(close[0], close[0])}?" if close else ""
        hint = f"columns: {', '.join(written.values())}"
        return UsageError(f"{self._place(node)}: there is no column {name}{meant}", hint=hint)

    def _error(self, node: ast.expr, words: str) -> UsageError:
        source = ast.get_source_segment(self._text, node) or ""
        for stand_in, column in self._columns.items():
            source = source.replace(stand_in, f"[{column}]")
        return UsageError(f"{self._place(node)}: {source} {words}", hint=_HINT)

    def _place(self, node: ast.expr) -> str:
        before = self._text.encode()[: node.col_offset].decode(errors="ignore")
        return f"--where, character {self._indent + len(before) + 1}"


def _type_of(constant: object) -> Type:
    if constant is None:
        return Type.NOTHING
    if isinstance(constant, str):
        return Type.TEXT
    return Type.TRUTH if isinstance(constant, bool) else Type.NUMBER


def _joined(how: ast.boolop, parts: list[Condition]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    join = all if isinstance(how, ast.And) else any
    return lambda row: join(part(row) for part in parts)


def _ordered(compare: Callable[[Any, Any], bool], one: Value, other: Value) -> bool:
    """An order comparison, which is false where a row has no value."""
    return one is not None and other is not None and compare(one, other)
