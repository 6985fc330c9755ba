"""Building a program: storage for every value of the loop, and the numbers that the machine reads."""

from __future__ import annotations

from collections.abc import Container, Iterable

from torchrnn.scan import native
from torchrnn.scan.fuse import Fusion
from torchrnn.scan.layout import PADDING, Array, Before, Program, Ref, padded
from torchrnn.scan.pieces import Piece, PieceGraph
from torchrnn.scan.record import Value
from torchrnn.scan.reuse import Uses
from torchrnn.scan.schedule import Segment, factors_of, read_across, schedule
from torchrnn.scan.stages import BEFORE, CORE, LEAF, Carry, Stages

PRODUCT, POINTWISE, BARRIER, BFLOAT16 = range(4)
LOCAL = 1 << 20


def build(
    graph: PieceGraph,
    carries: dict[Carry, tuple[Ref, Ref]],
    leaves: dict[Piece, Ref],
    wanted: Iterable[Piece],
    sums: Iterable[Piece],
    groups: Iterable[list[Piece]],
    order: dict[Value, int],
    free: Container[Piece] = (),
    keep: Container[Piece] = (),
    by_step: bool = False,
) -> Program:
    """The program of one pass.

    Arguments:
        graph: where the pieces are from.
        carries: what goes from step to step, and where it lies before and after a step.
        leaves: what lies there already, for all steps.
        wanted: what is asked for, for all steps; what can be computed after the loop is left to that.
        sums: what is to be summed over rows and steps.
        groups: values that should lie side by side, if they are stored.
        order: a number for each constant, to put products of one of them next to one another.
        free: leaves that nobody reads after the loop, so that a step may write over its part of them.
        keep: of what is wanted that which another pass reads.
        by_step: whether the steps come one by one, so that nothing is done for all of them at once.
    """
    stages = Stages(list(carries), leaves, by_step)
    needed = stages.needed_from_core(wanted)
    sums = [piece for piece in sums if stages.of(piece) in (CORE, BEFORE, LEAF)]
    passed = [carry.passed for carry in carries]
    fusion = Fusion(graph, stages, [*passed, *needed], sums)
    return _Builder(graph, fusion, carries, leaves, needed, order, free, keep).program(groups)


class _Builder:
    def __init__(
        self,
        graph: PieceGraph,
        fusion: Fusion,
        carries: dict[Carry, tuple[Ref, Ref]],
        leaves: dict[Piece, Ref],
        needed: list[Piece],
        order: dict[Value, int],
        free: Container[Piece],
        keep: Container[Piece],
    ) -> None:
        self.graph, self.fusion, self.needed, self.order, self.keep = graph, fusion, needed, order, keep
        self.free = _places_to_take(leaves, free)
        self.arrays: list[Array] = []
        self.homes: dict[Piece, Ref] = dict(leaves)
        self.sums = self._places_of_sums(list(fusion.accumulators))
        self.carried: dict[Piece, Piece] = {}
        self.copied: list[Piece] = []
        self.targets: dict[Piece, Ref] = {}
        for carry, (before, after) in carries.items():
            self.homes[carry.given] = before
            self.targets[carry.given] = after
        for carry, (_, after) in carries.items():
            result = fusion.result[carry.passed]
            self.carried[carry.given] = result
            if fusion.is_leaf(result) or result in self.homes:
                self.copied.append(carry.given)
            else:
                self.homes[result] = after
        self.buffers: list[Ref] = []
        self._numbers: dict[Ref, int] = {}

    def _places_of_sums(self, pieces: list[Piece]) -> dict[Piece, Ref]:
        """Places in one array for all."""
        if not pieces:
            return {}
        array = self._array("sum", sum(padded(piece.width) for piece in pieces))
        return _beside_one_another(pieces, Ref(array))

    def _array(self, kind: str, columns: int, detail: object = None) -> Array:
        array = Array(kind, columns + (PADDING if columns % 256 == 0 and columns else 0), detail=detail)
        self.arrays.append(array)
        return array

    def program(self, groups: Iterable[list[Piece]]) -> Program:
        fusion = self.fusion
        accumulators = list(dict.fromkeys(fusion.accumulators.values()))
        roots = [*self.carried.values(), *(fusion.result[piece] for piece in self.needed), *accumulators]
        before = self._store_before(roots)
        for piece in self.needed:
            if fusion.result[piece].op in ("number", "constant"):
                fusion.result[piece] = self.graph.add("pointwise", (fusion.result[piece],), piece.width, "copy")
                roots.append(fusion.result[piece])
        for piece in fusion.accumulators:
            self.homes[fusion.accumulators[piece]] = self.sums[piece]
        segments = schedule(fusion, roots, self.carried, self.copied)
        uses = Uses(segments)
        for group in groups:
            self._store_side_by_side(group, uses)
        self._reuse(before, uses)
        self._store_rest(uses)
        code, weights = self._encode(segments)
        sums = {piece: self.homes[accumulator] for piece, accumulator in fusion.accumulators.items()}
        refs = {piece: self.homes[fusion.result[piece]] for piece in self.needed}
        return Program(
            code=code,
            buffers=self.buffers,
            weights=weights,
            before=before,
            refs=refs,
            sums=sums,
            arrays=self.arrays,
            barriers=sum(segment.kind == "barrier" for segment in segments),
        )

    # ------------------------------------------------------------------ storage

    def _store_before(self, roots: list[Piece]) -> list[Before]:
        """Homes for what is computed before the loop, products of the same factors next to one another."""
        found: dict[tuple[Piece, ...], list[Piece]] = {}
        seen: set[Piece] = set()
        waiting = list(roots)[::-1]
        while waiting:
            piece = waiting.pop()
            if piece in seen:
                continue
            seen.add(piece)
            if piece.op == "before":
                found.setdefault(piece.args, []).append(piece)
            elif not self.fusion.is_leaf(piece):
                waiting += piece.args[::-1]
        result = []
        for products in found.values():
            # in the order of the columns of the weight, so that they can be one product
            products.sort(key=lambda p: [(self.order[value], k, c) for value, k, c in p.detail[0]])
            result.append(Before(self._side_by_side(products), products))
        return result

    def _store_side_by_side(self, group: list[Piece], uses: Uses) -> None:
        results = [self.fusion.result.get(piece) for piece in group]
        if all(piece in self.needed for piece in group) and len(set(results)) == len(group):
            own = [r for r in results if r is not None and r not in self.homes and not self.fusion.is_leaf(r)]
            if len(own) == len(group) and not self._write_over_leaves(own, uses):
                self._side_by_side(own)

    def _write_over_leaves(self, pieces: list[Piece], uses: Uses) -> bool:
        """Let pieces take the places of leaves that lie side by side and are read for the last time, if there are any.

        A step has such a leaf in the cache, and writing to memory that is not takes longer than most of its arithmetic.
        """
        for first in self.free:
            places = _beside_one_another(pieces, first)
            if not all(place in self.free for place in places.values()):
                continue
            if uses.replace({piece: self.free[place] for piece, place in places.items()}):
                self.homes.update(places)
                for place in places.values():
                    del self.free[place]
                return True
        return False

    def _side_by_side(self, pieces: list[Piece]) -> Array:
        array = self._array("stack", sum(padded(piece.width) for piece in pieces))
        self.homes.update(_beside_one_another(pieces, Ref(array)))
        return array

    def _reuse(self, before: list[Before], uses: Uses) -> None:
        """Let what is needed for all steps take the place of the hoisted products that it is computed from.

        A step reads its part of these once; after that the memory, which is in the cache by then, is free.
        """
        needed = {self.fusion.result[piece] for piece in self.needed}
        for group in before:
            heirs: dict[Piece, list[Piece]] = {}
            free = sorted(needed - set(self.homes), key=lambda piece: uses.written.get(piece, (0, 0)))
            for product in sorted(group.products, key=uses.last_read):
                place = uses.in_place(product)
                heir = next((p for p in free if p not in heirs and uses.may_replace(p, place)), None)
                if heir is None or product in needed:
                    break
                heirs.update(dict.fromkeys([*place[1:], heir], place))
            else:
                self.homes.update((heir, self.homes[place[0]]) for heir, place in heirs.items())
                uses.hold(heirs)

    def _store_rest(self, uses: Uses) -> None:
        """Store what is needed and has no place yet; what is kept side by side, so that it may be replaced as a row."""
        results = {self.fusion.result[piece]: piece in self.keep for piece in self.needed}
        rest = {result: is_kept for result, is_kept in results.items() if result not in self.homes}
        rows: dict[int, list[Piece]] = {}
        for result, is_kept in rest.items():
            if is_kept:
                rows.setdefault(result.width, []).append(result)
            elif not self._write_over_leaves([result], uses):
                self._side_by_side([result])
        for row in rows.values():
            self._side_by_side(row)

    def _home(self, piece: Piece) -> Ref:
        """Where a piece lies; what has no place gets one that is used anew every other step."""
        if piece not in self.homes:
            if piece.op in ("number", "constant"):
                self.homes[piece] = Ref(self._array(piece.op, 0, (piece.detail, piece.width)))
            else:
                self.homes[piece] = Ref(self._array("ring", padded(piece.width)))
        return self.homes[piece]

    def _buffer(self, ref: Ref) -> int:
        if ref not in self._numbers:
            self._numbers[ref] = len(self.buffers)
            self.buffers.append(ref)
        return self._numbers[ref]

    # ------------------------------------------------------------------ the machine's numbers

    def _encode(self, segments: list[Segment]) -> tuple[list[int], list[tuple[Value, int, int]]]:
        leaving = self._read_elsewhere(segments)
        code: list[int] = []
        weights: list[tuple[Value, int, int]] = []
        for segment in segments:
            if segment.kind == "barrier":
                code.append(BARRIER)
            elif segment.kind == "product":
                code += self._encode_product(segment.pieces, len(weights))
                weights += [weight for product in segment.pieces for weight in product.detail[0]]
            elif segment.kind == "copy":
                assert segment.copies_to is not None
                to, width = self.targets[segment.copies_to], segment.copies_to.width
                code += [POINTWISE, False, 1]
                code += _instruction("copy", width, self._buffer(to), self._at(segment.pieces[0]))
            else:
                code += self._encode_pointwise(segment, leaving)
        return code, weights

    def _at(self, piece: Piece) -> int:
        return self._buffer(self._home(piece))

    def _encode_product(self, products: list[Piece], first_weight: int) -> list[int]:
        factors = factors_of(products[0])
        code = [PRODUCT, len(factors), *(n for factor in factors for n in (self._at(factor), factor.width))]
        code.append(len(products))
        for product in products:
            _, begins = product.detail
            code += [self._at(product), self._at(product.args[-1]) if begins else -1, product.width]
        return [*code, first_weight]

    def _encode_pointwise(self, segment: Segment, leaving: set[Piece]) -> list[int]:
        """Instructions on local slots, which are free again after the last use of what is in them."""
        last_use = {arg: i for i, piece in enumerate(segment.pieces) for arg in piece.args}
        slots: dict[Piece, int] = {}
        free: list[int] = []
        n_slots = 0
        body: list[int] = []
        for i, piece in enumerate(segment.pieces):
            operands = [LOCAL + slots[arg] if arg in slots else self._at(arg) for arg in piece.args]
            free += [slots.pop(arg) for arg in dict.fromkeys(piece.args) if arg in slots and last_use[arg] == i]
            if piece in leaving or piece not in last_use:
                destination = self._at(piece)
            else:
                if not free:
                    free.append(n_slots)
                    n_slots += 1
                slots[piece] = free.pop()
                destination = LOCAL + slots[piece]
            width = max(arg.width for arg in piece.args) if piece.detail.startswith("row_") else piece.width
            body += _instruction(piece.detail, width, destination, *operands)
        return [POINTWISE, segment.sharing == "rows", len(segment.pieces), *body]

    def _read_elsewhere(self, segments: list[Segment]) -> set[Piece]:
        """What has to be in memory: everything with a home, and what other segments read."""
        made_in = {piece: i for i, segment in enumerate(segments) for piece in segment.pieces if not segment.copies_to}
        leaving = set(self.homes)
        for i, segment in enumerate(segments):
            for piece in segment.pieces:
                args = [piece] if segment.copies_to else [*piece.args]
                leaving.update(arg for arg in args if made_in.get(arg, i) != i)
            leaving.update(read_across(segment))
        return leaving


def _beside_one_another(pieces: Iterable[Piece], first: Ref) -> dict[Piece, Ref]:
    """Places for pieces from one on, each behind the padding of the one before it."""
    places, column = {}, first.column
    for piece in pieces:
        places[piece] = Ref(first.array, column, first.shift)
        column += padded(piece.width)
    return places


def _places_to_take(leaves: dict[Piece, Ref], free: Container[Piece]) -> dict[Ref, list[Piece]]:
    """What lies at each place of which all is free."""
    places: dict[Ref, list[Piece]] = {}
    for leaf, ref in leaves.items():
        places.setdefault(ref, []).append(leaf)
    return {ref: pieces for ref, pieces in places.items() if all(piece in free for piece in pieces)}


def _instruction(operation: str, width: int, destination: int, *operands: int) -> list[int]:
    return [native.code(operation), width, destination, *operands, *[-1] * (3 - len(operands))]
