"""Stages: what runs once for all steps before the loop, what in it, and what once for all steps after it.

Only products leave the loop. Pointwise work stays there, where its operands are in the cache, unless it hangs off a
product that was moved behind the loop.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from torchrnn.scan.operations import OPERATIONS, Unsupported
from torchrnn.scan.pieces import Piece

LEAF, BEFORE, CORE, AFTER = "leaf", "before", "core", "after"


@dataclass(frozen=True)
class Carry:
    """A piece of the state, or of its gradient, on its way from step to step."""

    given: Piece
    """What a step gets."""
    passed: Piece
    """What it passes on."""


class Stages:
    """Where each piece of one pass, forward or backward, is computed.

    Arguments:
        carries: what goes from step to step.
        leaves: pieces that are there for all steps before the pass begins.
        by_step: keep every product in the loop, since the steps come one by one.
    """

    def __init__(self, carries: list[Carry], leaves: Iterable[Piece], by_step: bool = False) -> None:
        self.by_step = by_step
        self.given = {carry.given for carry in carries}
        self.leaves = set(leaves)
        self._moves: dict[Piece, bool] = {}
        self._stage: dict[Piece, str] = {}
        self._feeding = self._what_feeds(carry.passed for carry in carries)

    def is_leaf(self, piece: Piece) -> bool:
        return piece.op in ("number", "constant") or piece in self.leaves or piece in self.given

    def of(self, piece: Piece) -> str:
        if self.is_leaf(piece):
            return LEAF
        for each in self._unknown(piece, self._stage):
            self._stage[each] = self._find(each)
        return self._stage[piece]

    def _find(self, piece: Piece) -> str:
        if self.by_step:
            return CORE
        if piece.op == "linear" and not self._moves_with_state(piece):
            return BEFORE
        if piece.op == "linear" and piece not in self._feeding:
            return AFTER
        return AFTER if AFTER in map(self._stage.get, piece.args) else CORE

    def _moves_with_state(self, piece: Piece) -> bool:
        """Whether a piece depends on what is carried."""
        for each in self._unknown(piece, self._moves):
            if each.op == "input":
                raise Unsupported("a gradient is needed in the forward pass")
            self._moves[each] = any(arg in self.given or self._moves.get(arg, False) for arg in each.args)
        return piece in self.given or self._moves.get(piece, False)

    def _unknown(self, piece: Piece, known: Container[Piece]) -> list[Piece]:
        """What a piece is computed from and is not known yet, itself included, each after its arguments."""
        found: set[Piece] = set()
        waiting = [piece]
        while waiting:
            each = waiting.pop()
            if each not in known and each not in found and not self.is_leaf(each):
                found.add(each)
                waiting += each.args
        return sorted(found, key=lambda each: each.id)

    def _what_feeds(self, passed: Iterable[Piece]) -> set[Piece]:
        feeding: set[Piece] = set()
        waiting = list(passed)
        while waiting:
            piece = waiting.pop()
            if piece in feeding or self.is_leaf(piece):
                continue
            if piece.op == "linear" and not self._moves_with_state(piece):
                continue
            feeding.add(piece)
            waiting += piece.args
        return feeding

    def needed_from_core(self, wanted: Iterable[Piece]) -> list[Piece]:
        """What the loop has to leave behind for all steps so that ``wanted`` can be computed after it."""
        return [piece for piece in self.read_after(wanted) if self.of(piece) in (CORE, BEFORE)]

    def read_after(self, wanted: Iterable[Piece]) -> list[Piece]:
        """What is read once the loop is done, in order to compute ``wanted``."""
        found: dict[Piece, None] = {}
        waiting = list(wanted)[::-1]
        while waiting:
            piece = waiting.pop()
            if piece not in found:
                found[piece] = None
                if self.of(piece) == AFTER:
                    waiting += piece.args[::-1]
        return list(found)


def what_backward_reads(wanted: Iterable[Piece], forward: set[Piece]) -> list[Piece]:
    """The pieces of the forward pass that the backward pass is computed from, inputs and parameters aside."""
    found: dict[Piece, None] = {}
    seen: set[Piece] = set()
    waiting = list(wanted)[::-1]
    while waiting:
        piece = waiting.pop()
        if piece in seen:
            continue
        seen.add(piece)
        if piece in forward:
            if piece.op not in ("input", "number", "constant"):
                found[piece] = None
        else:
            waiting += piece.args[::-1]
    return list(found)


def what_to_keep(read: list[Piece], states: set[Piece]) -> list[Piece]:
    """Those of the pieces that backward reads which have to be kept: the others it computes again, cheaply."""

    def is_cheap(piece: Piece) -> bool:
        return piece.op == "pointwise" and not OPERATIONS[piece.detail].costly

    kept = {piece for piece in read if not is_cheap(piece)} - states

    def is_at_hand(piece: Piece) -> bool:
        """Whether a piece can be had from what is kept, without another one of those that are being looked at."""
        waiting = [piece]
        while waiting:
            each = waiting.pop()
            if each.op in ("input", "number", "constant") or each in states or each in kept:
                continue
            if not is_cheap(each):
                return False
            waiting += each.args
        return True

    for piece in sorted(read, key=lambda piece: piece.id):
        if not is_at_hand(piece):
            kept.add(piece)
    return sorted(kept, key=lambda piece: piece.id)


def cone(roots: Iterable[Piece]) -> set[Piece]:
    """Everything that the pieces are computed from, themselves included."""
    found: set[Piece] = set()
    waiting = list(roots)
    while waiting:
        piece = waiting.pop()
        if piece not in found:
            found.add(piece)
            waiting += piece.args
    return found
