"""Reuse: what of a step may be written where something else lies, since that is read for the last time by then."""

from __future__ import annotations

from collections.abc import Iterable

from torchrnn.scan.pieces import Piece
from torchrnn.scan.schedule import Segment, read_across

Time = tuple[int, int]
"""A segment, and an instruction in it."""
NEVER: Time = (-1, 0)
TOO_LATE: Time = (1 << 30, 0)


class Uses:
    """When, within a step, pieces are written and read."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._waits: dict[Piece, set[Piece]] = {}
        """What must be done before a piece of the same segment, beside what it is computed from."""
        self._note()

    def _note(self) -> None:
        self.written: dict[Piece, Time] = {}
        self._reads: dict[Piece, list[tuple[Time, Piece]]] = {}
        for i, segment in enumerate(self._segments):
            for j, piece in enumerate(segment.pieces):
                # instructions of a pointwise segment go through the same columns one after the other
                time = (i, j if segment.kind == "pointwise" else 0)
                if segment.copies_to is None:
                    self.written[piece] = time
                for arg in [piece] if segment.copies_to else piece.args:
                    self._reads.setdefault(arg, []).append((time, piece))
            for piece in read_across(segment):
                self._reads.setdefault(piece, []).append((TOO_LATE, piece))  # by cores that may lag behind

    def last_read(self, piece: Piece) -> Time:
        return max((time for time, _ in self._reads.get(piece, [])), default=NEVER)

    def in_place(self, piece: Piece) -> list[Piece]:
        """A piece, and the product that begins from it if nothing else reads it: that may lie in the same place."""
        readers = [reader for _, reader in self._reads.get(piece, [])]
        begins = len(readers) == 1 and readers[0].op == "product" and piece is readers[0].args[-1]
        return [piece, readers[0]] if begins and readers[0].width == piece.width else [piece]

    def may_replace(self, piece: Piece, before: list[Piece]) -> bool:
        """Whether a piece may be written where others of a step lie, the last of which may be itself."""
        if piece is before[-1]:
            return True
        now = self.written.get(piece, NEVER)
        reads = self._reads_before(piece, before)
        return (
            piece.op == "pointwise"
            and piece.width == before[0].width
            and all(time < now or (time == now and reader is piece) for time, reader in reads)
        )

    def hold(self, heirs: dict[Piece, list[Piece]]) -> None:
        """Let pieces that may replace others stay behind what reads these, whatever is put into another order later."""
        for heir, before in heirs.items():
            self._waits.setdefault(heir, set()).update(self._readers_to_wait_for(heir, before) or [])

    def replace(self, heirs: dict[Piece, list[Piece]]) -> bool:
        """Do what reads the values of ``heirs`` before the keys, which take their places, if that can be.

        The instructions of a segment are put into another order for it.
        """
        waits = {piece: set(others) for piece, others in self._waits.items()}
        for heir, before in heirs.items():
            readers = self._readers_to_wait_for(heir, before)
            if readers is None:
                return False
            waits.setdefault(heir, set()).update(readers)
        orders = {i: _in_order(self._segments[i].pieces, waits) for i in {self.written[heir][0] for heir in heirs}}
        if any(order is None for order in orders.values()):
            return False
        for i, order in orders.items():
            self._segments[i].pieces[:] = order or []
        self._waits = waits
        self._note()
        return True

    def _reads_before(self, heir: Piece, before: list[Piece]) -> list[tuple[Time, Piece]]:
        """When what ``heir`` is to replace is read; too late by cores that share that work in another way."""
        sharing = self._segments[self.written[heir][0]].sharing if heir in self.written else None
        return [
            (time if time == TOO_LATE or self._segments[time[0]].sharing == sharing else TOO_LATE, reader)
            for each in before
            for time, reader in self._reads.get(each, [])
        ]

    def _readers_to_wait_for(self, heir: Piece, before: list[Piece]) -> list[Piece] | None:
        """Those in the segment of ``heir`` that read what it is to replace; ``None`` if others read it later."""
        now, _ = self.written.get(heir, NEVER)
        reads = self._reads_before(heir, before)
        if heir.op != "pointwise" or heir.width != before[0].width or any(i > now for (i, _), _ in reads):
            return None
        return [reader for (i, _), reader in reads if i == now and reader is not heir]


def _in_order(pieces: Iterable[Piece], waits: dict[Piece, set[Piece]]) -> list[Piece] | None:
    """Pieces, each after its arguments and what it waits for, or ``None`` if they wait for one another."""
    missing = dict.fromkeys(pieces)
    order: list[Piece] = []
    while missing:
        ready = next((p for p in missing if not any(each in missing for each in (*p.args, *waits.get(p, ())))), None)
        if ready is None:
            return None
        order.append(ready)
        del missing[ready]
    return order
