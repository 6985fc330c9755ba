"""A plan: the two programs, forward and backward, of one kind of step, and everything around them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchrnn.scan.build import build
from torchrnn.scan.carried import Carried
from torchrnn.scan.constants import Constants, Replay, run_calls
from torchrnn.scan.execute import Executor
from torchrnn.scan.goals import Row
from torchrnn.scan.layout import Array, Program, Ref, padded
from torchrnn.scan.multiplications import Refs
from torchrnn.scan.operations import Unsupported
from torchrnn.scan.parameter_gradients import ParameterGradients, SomeParameters, Sum
from torchrnn.scan.passes import MOST_LAYOUTS, Pass
from torchrnn.scan.pieces import Cutter, Piece, propagate_cuts
from torchrnn.scan.recipe import Wanted
from torchrnn.scan.record import Value
from torchrnn.scan.stages import Carry, Stages, cone, what_backward_reads, what_to_keep
from torchrnn.scan.trace import Trace

Pieces = list[Piece]


@dataclass
class Finished:
    """The results of a forward run, and what a backward run needs of it."""

    outputs: list[Tensor]
    final: list[Tensor]
    kept: Tensor


@dataclass
class Gradients:
    """What a backward run makes where some gradients are wanted."""

    inputs: list[int]
    """Among all gradients, those of inputs that there are."""
    states: list[int]
    parameters: SomeParameters
    wanted: Wanted


class Plan:
    """How a step is run over sequences, for any T and N.

    Arguments:
        trace: the step.
        wants_backward: whether to keep what the backward needs, and to plan it.
        by_step: whether the steps come one by one, so that every product belongs to its step.
    """

    takes_bfloat16 = False
    """Whether what it is given may be bfloat16 in place of float32."""
    under_autocast = False
    """Whether the reference, in its place, would run under autocast to bfloat16."""

    def __init__(self, trace: Trace, wants_backward: bool, by_step: bool = False) -> None:
        self.trace, self.wants_backward, self.by_step = trace, wants_backward, by_step
        translation = trace.translation
        self._cutter = _cut(trace)
        self._order = {value: i for i, value in enumerate(_constant_values(trace))}
        self.x_rows, self.s_rows, self.gy_rows, self.gs_rows = (self._inputs(g) for g in ("x", "s", "gy", "gs"))
        wide = self._cutter.wide
        self.outputs = [wide(row) for row in trace.outputs]
        self.next_states = [wide(row) for row in trace.states]
        self.output_dtypes = [torch.float32] * len(self.outputs)
        self.state_dtypes = [torch.float32] * len(self.next_states)
        self._sums = {
            value: Sum(wide(a.left), None if a.right is None else wide(a.right), tuple(a.shape))
            for value, a in (translation.accumulators.items() if wants_backward else ())
        }
        self.grad_inputs = [None if row is None else wide(row) for row in trace.grad_inputs]
        self.grad_states = [wide(row) if row else [self._cutter.graph.number(0.0)] for row in trace.grad_states]

        self._replay = Replay(translation.constants)
        self._tails = Replay(translation.tails)
        self.parameter_gradients = ParameterGradients(trace.grad_tensors, self._sums, self._tails)
        self.x_arrays = [_given_array(row) for row in self.x_rows]
        self.s_arrays = [[Array("stack", padded(p.width), more=1) for p in row] for row in self.s_rows]
        self._plan_forward()
        shapes = zip(self.outputs, trace.output_shapes, strict=True)
        # Copies: what users do to an output in place must not change what is kept.
        self._results = Wanted([Row(tuple(row), shape) for row, shape in shapes], range(len(self.s_rows)))
        self._gradients: dict[tuple[bool, ...], Gradients] = {}
        if wants_backward:
            self._plan_backward()
        self._find_constants()

    def _inputs(self, group: str) -> list[Pieces]:
        """The pieces of the inputs of one group, in order."""
        rows = {row.detail[1]: row for row in self.trace.all_rows if row.op == "input" and row.detail[0] == group}
        return [self._cutter.pieces(rows[index]) for index in sorted(rows)]

    # ------------------------------------------------------------------ planning

    def _plan_forward(self) -> None:
        leaves = _refs(self.x_rows, self.x_arrays)
        carries = _carries(self.s_rows, self.next_states, self.s_arrays, 0, 1)
        wanted = _flat(self.outputs)
        forward = cone([*wanted, *_flat(self.next_states)])
        keep: Pieces = []
        if self.wants_backward:
            read = what_backward_reads(self._wanted_by_backward(), forward)
            keep = what_to_keep(read, set(_flat(self.next_states)))
        program = self._build(carries, leaves, [*wanted, *keep], keep=keep)
        refs = {**leaves, **program.refs}
        for carry, (given, passed) in carries.items():
            refs.setdefault(carry.given, given)
            if carry.passed.op not in ("number", "constant"):
                refs.setdefault(carry.passed, passed)
        arrays = [array for row in self.s_arrays for array in row]
        kept = {*arrays, *(refs[piece].array for piece in _stored(keep, refs))} - set(self.x_arrays)
        if any(array.kind != "stack" for array in kept):
            raise Unsupported("a value that backward needs is not there for all steps")
        widths = _widths(self.x_arrays, self.x_rows)
        executor = Executor(program, arrays, kept, widths, backwards=False)
        states = Carried(self.s_rows, self.s_arrays, self.trace.state_shapes)
        self.forward_pass = Pass(executor, states, leaves, refs)

    def _wanted_by_backward(self) -> Pieces:
        rows = [*self.grad_states, *(row for row in self.grad_inputs if row)]
        for each in self._sums.values():
            rows += [each.left, each.right or []]
        return _flat(rows)

    def _plan_backward(self) -> None:
        self.gy_arrays = [_given_array(row) for row in self.gy_rows]
        there = {*self.forward_pass.executor.kept, *self.x_arrays}
        leaves = {piece: ref for piece, ref in self.forward_pass.refs.items() if ref.array in there}
        leaves |= _refs(self.gy_rows, self.gy_arrays)
        wanted = _flat([row for row in self.grad_inputs if row])
        groups = self.parameter_gradients.together()
        sums: Pieces = []
        for each in self._sums.values():
            if each.right is None:
                sums += each.left
            else:
                wanted += [*each.left, *each.right]
                groups += [each.right] if len(each.right) > 1 else []
        grads = [self._spread(row, like) for row, like in zip(self.grad_states, self.gs_rows, strict=True)]
        stages = Stages(list(_carries(self.gs_rows, grads, self._gs_arrays(set()), 1, 0)), leaves)
        late_sums = [piece for piece in dict.fromkeys(sums) if stages.of(piece) == "after"]
        read_after = set(stages.read_after([*wanted, *late_sums]))
        self.gs_arrays = self._gs_arrays(read_after & stages.given)
        carries = _carries(self.gs_rows, grads, self.gs_arrays, 1, 0)
        may_go = set(self.forward_pass.executor.kept) - {array for row in self.s_arrays for array in row}
        free = {piece for piece, ref in leaves.items() if ref.array in may_go} - read_after
        program = self._build(carries, leaves, [*wanted, *late_sums], sums, groups, free)
        taken = set(program.refs.values())
        refs = {piece: ref for piece, ref in leaves.items() if ref not in taken} | program.refs
        for carry, (given, _) in carries.items():
            refs.setdefault(carry.given, given)
        arrays = [array for row in self.gs_arrays for array in row]
        widths = _widths([*self.x_arrays, *self.gy_arrays], [*self.x_rows, *self.gy_rows])
        executor = Executor(program, arrays, set(), widths, backwards=True)
        grad_states = Carried(self.gs_rows, self.gs_arrays, self.trace.state_shapes)
        self.backward_pass = Pass(executor, grad_states, leaves, refs, after=self.forward_pass)

    def _gs_arrays(self, stacked: set[Piece]) -> list[list[Array]]:
        return [
            [Array("stack" if p in stacked else "ring", padded(p.width), more=1) for p in row] for row in self.gs_rows
        ]

    def _spread(self, row: Pieces, like: Pieces) -> Pieces:
        """A gradient, piece by piece as the state; one that is zero everywhere is a number."""
        return row if len(row) == len(like) else [row[0]] * len(like)

    def _build(
        self,
        carries: dict[Carry, tuple[Ref, Ref]],
        leaves: Refs,
        wanted: Iterable[Piece],
        sums: Sequence[Piece] = (),
        groups: Sequence[Pieces] = (),
        free: Container[Piece] = (),
        keep: Container[Piece] = (),
    ) -> Program:
        graph, unique = self._cutter.graph, list(dict.fromkeys(sums))
        program = build(graph, carries, leaves, wanted, unique, groups, self._order, free, keep, self.by_step)
        rings = {ref.array for ref in program.refs.values() if ref.array.kind == "ring"}
        if not rings:
            return program
        for array in rings:  # what is wanted for all steps turned out to be carried
            array.kind = "stack"
        return build(graph, carries, leaves, wanted, unique, groups, self._order, free, keep, self.by_step)

    def _find_constants(self) -> None:
        """The calls on parameters that any part of the plan needs."""
        used: dict[Value, None] = {}
        for piece in self._cutter.graph.all_pieces():
            if piece.op == "constant":
                used[piece.detail[0]] = None
            elif piece.op == "linear":
                used.update(dict.fromkeys(value for value, _, _ in piece.detail))
        tail_calls = self._tails.needed(v for v in self.trace.grad_tensors if v is not None)
        for call in tail_calls if self.wants_backward else []:
            used.update(dict.fromkeys(call.operands()))
        used.update(dict.fromkeys(v for v in self.trace.grad_tensors if v is not None))
        self._constant_calls = self._replay.needed(used)
        self._constants: dict[Any, Constants] = {}

    def values(self, tensors: list[Tensor]) -> dict[Value, Tensor]:
        """Everything that is made of parameters alone."""
        values = dict(zip(self.trace.tensors, tensors, strict=True))
        run_calls(self._constant_calls, values)
        return values

    def constants(self, tensors: Sequence[Tensor]) -> Constants:
        """What is made of parameters alone, for parameters that lie in memory as these do."""
        strides = tuple(map(Tensor.stride, tensors))
        found = self._constants.get(strides)
        if found is None:
            if len(self._constants) >= MOST_LAYOUTS:
                self._constants.clear()
            with torch.no_grad():
                found = self._constants[strides] = Constants(self._constant_calls, self.trace.tensors, tensors)
        return found

    # ------------------------------------------------------------------ running

    def forward(
        self, xs: list[Tensor], states: list[Tensor], tensors: list[Tensor], is_cleared: bool = False
    ) -> Finished:
        """Run all steps; ``xs`` are (T, N, ...). In cleared memory, even the padding is always the same."""
        T, N = xs[0].shape[:2]
        run = self.forward_pass.laid_out(T, N, self.constants(tensors)).recipe(self._results, states)
        made = run.run(xs, tensors, states, is_cleared=is_cleared)
        return Finished(made.goals, made.last, made.kept)

    def kept_size(self, T: int, N: int) -> int:
        """How many floats a forward run keeps; T and N may be symbols."""
        return self.forward_pass.executor.kept_size(T, N)

    def states(self, kept: Tensor, T: int, N: int) -> list[Tensor]:
        """The states after each step, of what a run kept."""
        return self.forward_pass.carried.after_each_step(kept, self.forward_pass.executor.kept_at(T, N), T, N)

    def backward(
        self,
        xs: list[Tensor],
        kept: Tensor,
        tensors: list[Tensor],
        grad_outputs: list[Tensor | None],
        grad_final: list[Tensor | None],
        wanted: list[bool],
    ) -> list[Tensor | None]:
        """The gradients of ``[*xs, *states, *tensors]``, as far as they are ``wanted``.

        ``kept`` is used up: gradients are written over what they are computed from.
        """
        T, N = xs[0].shape[:2]
        gradients = self._gradients_for(tuple(wanted))
        run = self.backward_pass.laid_out(T, N, self.constants(tensors)).recipe(gradients.wanted, grad_final)
        given = [*xs]
        for grad, row in zip(grad_outputs, self.gy_rows, strict=True):
            width = sum(piece.width for piece in row)
            given.append(torch.zeros(T, N, width, dtype=torch.float32) if grad is None else grad)
        made = run.run(given, tensors, grad_final, kept)
        grads: list[Tensor | None] = [None] * len(wanted)
        for i, grad in zip(gradients.inputs, made.goals, strict=False):
            grads[i] = grad.view(xs[i].shape)
        for i, grad in zip(gradients.states, made.last, strict=True):
            grads[i] = grad
        grads[len(xs) + len(self.s_rows) :] = gradients.parameters.finish(
            made.goals[len(gradients.inputs) :], made.values
        )
        return run.apart(grads, [kept, *given])

    def _gradients_for(self, wanted: tuple[bool, ...]) -> Gradients:
        if wanted not in self._gradients:
            n_x, n_s = len(self.x_rows), len(self.s_rows)
            rows = {i: row for i, row in enumerate(self.grad_inputs) if row and wanted[i]}
            goals = [Row(tuple(row), (sum(piece.width for piece in row),)) for row in rows.values()]
            parameters = self.parameter_gradients.wanted(wanted[n_x + n_s :])
            states = [i for i in range(n_s) if wanted[n_x + i]]
            self._gradients[wanted] = Gradients(
                list(rows), [n_x + i for i in states], parameters, Wanted([*goals, *parameters.goals], states)
            )
        return self._gradients[wanted]


def _cut(trace: Trace) -> Cutter:
    """The pieces of all rows of a step."""
    rows = trace.all_rows
    inputs = {row.detail: row for row in rows if row.op == "input"}
    ties = [(inputs["s", i], row) for i, row in enumerate(trace.states)]
    ties += [(inputs["gs", i], row) for i, row in enumerate(trace.grad_states) if row is not None]
    propagate_cuts(rows, ties)
    cutter = Cutter()
    for row in rows:  # each after its arguments
        cutter.pieces(row)
    return cutter


def _constant_values(trace: Trace) -> list[Value]:
    made = [value for call in trace.translation.constants for value in call.made()]
    return [*trace.tensors, *made]


def _flat(rows: Iterable[Pieces]) -> Pieces:
    return [piece for row in rows for piece in row]


def _given_array(row: Pieces) -> Array:
    """An array for an input, with room for whole vectors behind the last of its pieces, wherever that begins."""
    begins = sum(piece.width for piece in row[:-1])
    return Array("stack", padded(begins + padded(row[-1].width)))


def _refs(rows: list[Pieces], arrays: list[Array]) -> Refs:
    """Inputs lie as they come: the pieces of a row one after the other."""
    refs: Refs = {}
    for row, array in zip(rows, arrays, strict=True):
        column = 0
        for piece in row:
            refs[piece] = Ref(array, column)
            column += piece.width
    return refs


def _widths(arrays: list[Array], rows: list[Pieces]) -> dict[Array, int]:
    return {array: sum(piece.width for piece in row) for array, row in zip(arrays, rows, strict=True)}


def _stored(pieces: Iterable[Piece], refs: Refs) -> Pieces:
    """What has to be in memory to have ``pieces``: they themselves, or what they are computed from after the loop."""
    found: dict[Piece, None] = {}
    waiting = list(pieces)
    while waiting:
        piece = waiting.pop()
        if piece in refs:
            found[piece] = None
        else:
            waiting += piece.args
    return list(found)


def _carries(
    given: list[Pieces], passed: list[Pieces], arrays: list[list[Array]], before: int, after: int
) -> dict[Carry, tuple[Ref, Ref]]:
    return {
        Carry(g, p): (Ref(array, 0, before), Ref(array, 0, after))
        for given_row, passed_row, own in zip(given, passed, arrays, strict=True)
        for g, p, array in zip(given_row, passed_row, own, strict=True)
    }
