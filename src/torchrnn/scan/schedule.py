"""The order of work within a step: segments of products and of pointwise operations, and barriers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torchrnn.scan.fuse import ON_ROWS, Fusion
from torchrnn.scan.order import in_order
from torchrnn.scan.pieces import Piece


@dataclass
class Segment:
    """One stage of the program: what is computed in it, a ``product``, ``pointwise`` or ``copy``; or a ``barrier``."""

    kind: str
    pieces: list[Piece]
    copies_to: Piece | None = None
    """For a ``copy``: the given piece whose next value this is."""

    @property
    def sharing(self) -> str:
        """How the cores share the work: by ``columns``, or by ``rows`` where whole rows are read or widths differ."""
        if self.kind != "pointwise":
            return "columns"
        width = self.pieces[0].width
        is_plain = all(piece.width == width and piece.detail not in ON_ROWS for piece in self.pieces)
        return "columns" if is_plain else "rows"


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
        segment = Segment("pointwise", [])
        while ready := [piece for piece in waiting if piece.op != "product" and is_ready(piece)]:
            segment.pieces += take(ready[:1])
        if segment.pieces:
            yield segment
        products = [piece for piece in waiting if is_ready(piece)]
        if products:
            factors = factors_of(products[0])
            yield Segment("product", take([piece for piece in products if factors_of(piece) == factors]))


def factors_of(product: Piece) -> tuple[Piece, ...]:
    """The inputs of a product, without the value that it begins from."""
    return product.args[: len(product.detail[0])]


def read_across(segment: Segment) -> list[Piece]:
    """What a product reads in all columns, and so from other column groups."""
    return list(factors_of(segment.pieces[0])) if segment.kind == "product" else []


def read_in_part(segment: Segment) -> list[Piece]:
    """What each of the cores that share a segment reads its own part of."""
    if segment.copies_to is not None:
        return segment.pieces
    across = read_across(segment)
    return [arg for piece in segment.pieces for arg in piece.args if arg not in across]


def _with_barriers(segments: list[Segment], carried: dict[Piece, Piece]) -> Iterator[Segment]:
    """Wait wherever a core reads what another one wrote since the last barrier, in this step or the last."""
    written: dict[Piece, str] = {}
    read_at_start: dict[Piece, set[str]] = {}
    has_waited = False
    for segment in segments:
        reads = [(piece, "across") for piece in read_across(segment)]
        reads += [(piece, segment.sharing) for piece in read_in_part(segment)]
        if any(written.get(piece, sharing) != sharing for piece, sharing in reads):
            yield Segment("barrier", [])
            written.clear()
            has_waited = True
        if not has_waited:
            for piece, sharing in reads:
                read_at_start.setdefault(piece, set()).add(sharing)
        yield segment
        made = segment.pieces if segment.copies_to is None else [segment.copies_to]
        written.update(dict.fromkeys(made, segment.sharing))
    for given, passed in carried.items():
        last = {written[piece] for piece in (given, passed) if piece in written}
        if any(how != sharing for how in last for sharing in read_at_start.get(given, ())):
            yield Segment("barrier", [])
            return
