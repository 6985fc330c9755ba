"""The order of work within a step: segments of pointwise operations, reductions and products, and barriers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torchrnn.scan.fuse import Fusion
from torchrnn.scan.order import in_order
from torchrnn.scan.pieces import Piece


@dataclass
class Segment:
    """One stage of the program: what is computed in it, all of one width if it is ``pointwise``."""

    kind: str
    pieces: list[Piece]
    copies_to: Piece | None = None
    """For a ``copy``: the given piece whose next value this is."""


def schedule(fusion: Fusion, roots: Iterable[Piece], carried: dict[Piece, Piece], copied: list[Piece]) -> list[Segment]:
    """Segments that compute ``roots``, each after what it needs.

    ``carried`` maps each given piece to what is passed on for it, and ``copied`` lists those given pieces whose next
    value is not computed in place.
    """
    segments = list(_segments(fusion, roots))
    segments += [Segment("copy", [carried[given]], given) for given in copied]
    return list(_with_barriers(segments, carried))


def _segments(fusion: Fusion, roots: Iterable[Piece]) -> Iterator[Segment]:
    def to_compute(pieces: Iterable[Piece]) -> list[Piece]:
        return [piece for piece in pieces if not fusion.is_leaf(piece)]

    waiting = in_order(to_compute(roots), lambda piece: to_compute(piece.args))
    done: set[Piece] = set()

    def is_ready(piece: Piece) -> bool:
        return all(arg in done or fusion.is_leaf(arg) for arg in piece.args)

    def take(pieces: list[Piece]) -> list[Piece]:
        done.update(pieces)
        for piece in pieces:
            waiting.remove(piece)
        return pieces

    while waiting:
        ready = [piece for piece in waiting if is_ready(piece)]
        pointwise = min((p for p in ready if p.op == "pointwise"), key=lambda p: p.width > 1, default=None)
        if pointwise is not None:
            segment = Segment("pointwise", [])
            while same := [p for p in waiting if p.op == "pointwise" and p.width == pointwise.width and is_ready(p)]:
                segment.pieces += take(same[:1])
            yield segment
            continue
        reduction = next((piece for piece in ready if piece.op == "reduce"), None)
        if reduction is not None:
            yield Segment("reduce", take([reduction]))
            continue
        factors = factors_of(ready[0])
        yield Segment("product", take([piece for piece in ready if factors_of(piece) == factors]))


def factors_of(product: Piece) -> tuple[Piece, ...]:
    """The inputs of a product, without the value that it begins from."""
    return product.args[: len(product.detail[0])]


def read_across(segment: Segment) -> list[Piece]:
    """What a segment reads beyond the columns that it writes, and so from other column groups."""
    if segment.kind == "product":
        return list(factors_of(segment.pieces[0]))
    if segment.kind == "reduce":
        return list(segment.pieces[0].args)
    return [piece.args[0] for piece in segment.pieces if piece.is_pointwise("broadcast")]


def _with_barriers(segments: list[Segment], carried: dict[Piece, Piece]) -> Iterator[Segment]:
    """Wait wherever something is read across that was written since the last barrier, in this step or the last."""
    dirty: set[Piece] = set()
    read_at_start: set[Piece] = set()
    has_waited = False
    for segment in segments:
        across = read_across(segment)
        if any(piece in dirty for piece in across):
            yield Segment("barrier", [])
            dirty.clear()
            has_waited = True
        if not has_waited:
            read_at_start.update(across)
        yield segment
        dirty.update(segment.pieces if segment.copies_to is None else [segment.copies_to])
    if any(given in read_at_start and (passed in dirty or given in dirty) for given, passed in carried.items()):
        yield Segment("barrier", [])
