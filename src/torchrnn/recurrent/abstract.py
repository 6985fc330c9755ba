"""One step of time with memory: the base of every cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchrnn.checks import require_row_dims
from torchrnn.masks import ZeroMask, ZeroMasked, held_rows, with_lengths, with_mask, without_masked
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent.remembered import Remembering, check_state, first_step
from torchrnn.scan import reference, scan, unstacked
from torchrnn.scan.reference import Cell
from torchrnn.tree import Tree, n_steps

is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)  # new in PyTorch 2.7


class AbstractRecurrent(Remembering):
    """One step of time with memory: the base of every cell, and the place where users add their own.

    A subclass writes two methods, both free of memory::

        initial_state(input)  ->  state before the first step, usually zeros like the batch of ``input``
        step(input, state)    ->  output, state

    ``input`` is one step, (N, D) or (D,); a state is a tensor or a (named) tuple of tensors. All the rest comes with
    it: calling the module takes one step and remembers the state; `sequence` runs a whole sequence; in a `Sequencer`
    it becomes a layer over time; both worlds of `Module` train it.

    After steps or a sequence, `inputs`, `outputs` and `states` list them (at most the last ``rho``), and after
    `backward`, `grad_inputs` lists the gradients of the inputs that were reached.

    What steps by hand keep: `update_output` keeps the graphs of the last ``rho`` steps, in evaluation that of the last
    one. In PyTorch's world the graph goes on from step to step, past ``rho`` and in evaluation, too, until
    `detach_state` or `forget` ends it. Under ``torch.no_grad()`` there is none. Streams without end want one of these.

    Arguments:
        rho: how many steps are kept for backpropagation through time.

    >>> import torch, torchrnn
    >>> class Leaky(torchrnn.AbstractRecurrent):
    ...     def __init__(self, input_size, hidden_size):
    ...         super().__init__()
    ...         self.i2h = torch.nn.Linear(input_size, hidden_size)
    ...         self.hidden_size = hidden_size
    ...     def initial_state(self, input):
    ...         return input.new_zeros(*input.shape[:-1], self.hidden_size)
    ...     def step(self, input, h):
    ...         h = 0.9 * h + torch.tanh(self.i2h(input))
    ...         return h, h
    >>> cell = Leaky(4, 6)
    >>> cell(torch.randn(3, 4)).shape
    torch.Size([3, 6])
    >>> torchrnn.Sequencer(cell)(torch.randn(5, 3, 4)).shape
    torch.Size([5, 3, 6])
    """

    def __init__(self, rho: int = DEFAULT_RHO) -> None:
        super().__init__(rho)
        self._zero_mask: ZeroMask | None = None

    def step(self, input: Tree, state: Tree) -> tuple[Tree, Tree]:
        """One step of time, free of memory: ``output, state``."""
        raise NotImplementedError(f"{type(self).__name__} must write step(input, state) -> (output, state).")

    def forward(self, input: Tree) -> Tree:
        """One step with memory: reads the remembered state and moves it on."""
        segment, state = self._begin_steps([input], through_time=True)
        cell, steps = self._masked([input], offset=self._steps)
        output, segment.final = cell.step(steps[0], state)
        segment.outputs, states = [output], [segment.final]
        segment.keep_states(lambda: states)
        self._end_steps(segment)
        return output

    def sequence(
        self, inputs: Tree, state: Tree = None, lengths: Tensor | list[int] | None = None
    ) -> tuple[Tree, Tree]:
        """Run a whole sequence, free of memory: returns the outputs and the final state.

        Arguments:
            inputs: a tensor (T, N, D), or a list of T steps.
            state: the state before the first step; the start state if it is not given.
            lengths: the number of steps of each row, (N,), in a ragged batch. Behind its end a row gives zeros, its
                state stays as it was at the end, and what stands in the padding, even NaN, reaches nothing.
        """
        if state is None:
            state = self._start(inputs)
        elif n_steps(inputs):
            check_state(self, state, self.initial_state(first_step(inputs)))
        cell, steps = self._masked(inputs, lengths)
        return scan(cell, steps, state)

    def remembered_sequence(self, inputs: Tree, state: Tree = None, lengths: Tensor | list[int] | None = None) -> Tree:
        """Run a whole sequence with memory: from ``state`` or else from the remembered one, which is moved on.

        This is what sequence modules call. A remembered state is detached, so gradients end at the sequence.
        """
        self._begin_record()
        segment, state = self._begin_steps(inputs, through_time=False, given=state)
        cell, steps = self._masked(inputs, lengths)
        parts = self.parts(state)
        run = reference.scan if parts and self._is_recorded() else scan
        first_apart = bool(parts) and self._has_rows_to_forget()
        segment.outputs, segment.final = run(cell, steps, state, segment.keep_states, first_apart)
        self._end_steps(segment)
        if parts:
            self._tell_parts(segment.states, segment.final, n_steps(inputs))
        if is_exporting():  # a program that is exported is free of memory
            self.forget()
        return segment.outputs

    def parts(self, state: Tree) -> list[tuple[AbstractRecurrent, Tree]]:
        """The recurrent modules that are stepped inside of this one, each with its part of ``state``."""
        return []

    def _tell_parts(self, states: Tree, final: Tree, length: int) -> None:
        """After a sequence that the native engine ran: what the parts have not seen, since nobody called them."""
        for i, (part, part_final) in enumerate(self.parts(final)):
            missed = length - part._steps
            if missed <= 0:
                continue
            part_states = None if states is None else [self.parts(s)[i][1] for s in unstacked(states)[-missed:]]
            part._remember_unseen(part_states, part_final, missed)
            part._tell_parts(part_states, part_final, length)

    def extra_repr(self) -> str:
        sizes = (getattr(self, name, None) for name in ("input_size", "hidden_size", "proj_size"))
        return ", ".join(str(size) for size in sizes if size is not None)

    # ------------------------------------------------------------------ masks

    def mask_zero(self, n_input_dims: int | None = None) -> AbstractRecurrent:
        self._zero_mask = ZeroMask(require_row_dims(self, n_input_dims))
        return self

    def set_zero_mask(self, mask: Tensor | Sequence[Tensor] | None) -> None:
        self._require_taker(mask)
        if self._zero_mask is not None:
            self._zero_mask.give(mask)

    @property
    def takes_zero_mask(self) -> bool:
        return self._masks and self._mask_input_dims is None

    @property
    def _masks(self) -> bool:
        return self._zero_mask is not None

    @property
    def _mask_input_dims(self) -> int | None:
        return None if self._zero_mask is None else self._zero_mask.n_input_dims

    def zero_rows_of_state(self, rows: Tensor, state: Tree) -> Tree:
        """``state`` with zeros in the masked rows, which begin anew from there."""
        return without_masked(rows, state)

    def hold_rows_of_state(self, rows: Tensor, before: Tree, after: Tree) -> Tree:
        """The state ``after`` a step, with the masked rows as they were ``before`` it."""
        return held_rows(rows, before, after)

    def _masked(self, inputs: Tree, lengths: Tensor | list[int] | None = None, offset: int = 0) -> tuple[Cell, Tree]:
        """The cell and the steps that the engine runs: with masks where there are any."""
        mask = self._zero_mask.of_steps(self, inputs, offset) if self._zero_mask is not None and len(inputs) else None
        cell, steps = (self, inputs) if mask is None else (ZeroMasked(self), with_mask(inputs, mask))
        return with_lengths(cell, steps, lengths, inputs)
