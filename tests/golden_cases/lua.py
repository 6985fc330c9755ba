"""A parser for the expressions that describe how a recorded module was made.

`nn.Sequencer(nn.LSTM(4,6)):remember("both")`, `nn.SeqLSTM(4,6); batchfirst=true`, `nn.GRU(4,6) with rho=3`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<string>\"[^\"]*\"|'[^']*')|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<symbol>[(){}.,:;=-]))"
)
CONSTANTS = {"nil": None, "true": True, "false": False}


class LuaError(ValueError):
    """The text is not an expression that this parser knows."""


@dataclass(frozen=True)
class Constant:
    value: Any


@dataclass(frozen=True)
class Number:
    """A positive integer that is written out: it may be a size. `key` is its place in the text."""

    key: int
    value: int


@dataclass(frozen=True)
class Name:
    """`nn.LSTM`, or a symbol such as `H`."""

    path: str


@dataclass(frozen=True)
class Table:
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Call:
    function: Any
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Method:
    object: Any
    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Assignment:
    name: str
    value: Any


def parse(text: str) -> list[Any]:
    """The statements of a text: expressions and assignments, separated by `;`, `,` or `with`."""
    return _Parser(text).statements()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.position = 0

    def statements(self) -> list[Any]:
        found = []
        while self.peek()[0] != "end":
            found.append(self.statement())
            while self.peek()[1] in (";", ",", "with"):
                self.next()
        return found

    def statement(self) -> Any:
        expression = self.expression()
        if self.peek()[1] == "=" and isinstance(expression, Name):
            self.next()
            return Assignment(expression.path, self.expression())
        return expression

    def expression(self) -> Any:
        kind, token = self.next()
        if token == "-":
            operand = self.expression()
            if not isinstance(operand, Number | Constant):
                raise self.error("a number after '-'")
            return Constant(-operand.value)
        if kind == "number":
            if token.isdigit() and int(token) > 0:
                return Number(self.position, int(token))
            return Constant(int(token) if token.isdigit() else float(token))
        if kind == "string":
            return Constant(token[1:-1])
        if token == "{":
            return Table(self.arguments("}"))
        if kind != "name":
            raise self.error("an expression")
        if token in CONSTANTS:
            return Constant(CONSTANTS[token])
        return self.suffixes(Name(token))

    def suffixes(self, expression: Any) -> Any:
        while True:
            token = self.peek()[1]
            if token == "." and isinstance(expression, Name):
                self.next()
                expression = Name(f"{expression.path}.{self.name()}")
            elif token == "(":
                self.next()
                expression = Call(expression, self.arguments(")"))
            elif token == ":":
                self.next()
                name = self.name()
                self.expect("(")
                expression = Method(expression, name, self.arguments(")"))
            else:
                return expression

    def arguments(self, end: str) -> tuple[Any, ...]:
        found = []
        while self.peek()[1] != end:
            found.append(self.expression())
            if self.peek()[1] != end:
                self.expect(",")
        self.next()
        return tuple(found)

    def name(self) -> str:
        kind, token = self.next()
        if kind != "name":
            raise self.error("a name")
        return token

    def expect(self, token: str) -> None:
        if self.next()[1] != token:
            raise self.error(repr(token))

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.position]

    def next(self) -> tuple[str, str]:
        token = self.tokens[self.position]
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def error(self, expected: str) -> LuaError:
        return LuaError(f"expected {expected} at token {self.position} of {self.text!r}")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(text.rstrip())
    while position < end:
        match = TOKEN.match(text, position)
        if match is None:
            raise LuaError(f"cannot read {text[position : position + 20]!r} in {text!r}")
        assert match.lastgroup is not None
        yield match.lastgroup, match.group(match.lastgroup)
        position = match.end()
    yield "end", ""
