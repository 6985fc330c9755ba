"""One step of time with memory: the base of every cell."""

from __future__ import annotations

import torch
from torch import Tensor

from torchrnn.checks import require_row_dims
from torchrnn.masks import ZeroMasked, with_lengths, with_mask, without_masked, zero_rows
from torchrnn.protocol import DEFAULT_RHO
from torchrnn.recurrent.remembered import Remembering, check_state, first_step
from torchrnn.scan import reference, scan, unstacked
from torchrnn.scan.reference import Cell
from torchrnn.tree import Tree, batch_size, n_steps

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
        self._masks = False
        self._mask_input_dims: int | None = None
        self._zero_mask: Tensor | None = None
        self._mask_is_given = False

    def step(self, input: Tree, state: Tree) -> tuple[Tree, Tree]:
        """One step of time, free of memory: ``output, state``."""
        raise NotImplementedError(f"{type(self).__name__} must write step(input, state) -> (output, state).")

    def forward(self, input: Tree) -> Tree:
        """One step with memory: reads the remembered state and moves it on."""
        with self._taking([input], through_time=True) as (segment, state):
            cell, steps = self._masked([input], offset=self._steps)
            output, segment.final = cell.step(steps[0], state)
            segment.outputs, segment.states = [output], [segment.final]
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
        with self._taking(inputs, through_time=False, given=state) as (segment, state):
            cell, steps = self._masked(inputs, lengths)
            parts = self.parts(state)
            run = reference.scan if parts and self._is_recorded() else scan
            first_apart = bool(parts) and self._has_rows_to_forget()
            segment.outputs, segment.final = run(cell, steps, state, segment.keep_states, first_apart)
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
            if states is None:
                part_states: Tree = None
            elif isinstance(states, list):
                part_states = [self.parts(state)[i][1] for state in states[-missed:]]
            else:
                part_states = unstacked(self.parts(states)[i][1])[-missed:]
            part._remember_unseen(part_states, part_final, missed)
            part._tell_parts(part_states, part_final, missed)

    def extra_repr(self) -> str:
        sizes = (getattr(self, name, None) for name in ("input_size", "hidden_size", "proj_size"))
        return ", ".join(str(size) for size in sizes if size is not None)

    # ------------------------------------------------------------------ masks

    def mask_zero(self, n_input_dims: int | None = None) -> AbstractRecurrent:
        self._masks, self._mask_is_given = True, False
        self._mask_input_dims = require_row_dims(self, n_input_dims)
        return self

    def set_zero_mask(self, mask: Tensor | None) -> None:
        self._zero_mask = None if mask is None else torch.as_tensor(mask).bool()
        self._mask_is_given = True

    def zero_rows_of_state(self, rows: Tensor, state: Tree) -> Tree:
        """``state`` with zeros in the masked rows, which begin anew from there."""
        return without_masked(rows, state)

    def _masked(self, inputs: Tree, lengths: Tensor | list[int] | None = None, offset: int = 0) -> tuple[Cell, Tree]:
        """The cell and the steps that the engine runs: with masks where there are any."""
        mask = self._mask_of(inputs, offset) if self._masks and len(inputs) else None
        cell, steps = (self, inputs) if mask is None else (ZeroMasked(self), with_mask(inputs, mask))
        return with_lengths(cell, steps, lengths, inputs)

    def _mask_of(self, inputs: Tree, offset: int) -> Tensor | None:
        if self._mask_input_dims is not None:
            if isinstance(inputs, Tensor):
                return zero_rows(inputs, self._mask_input_dims)
            return torch.stack([zero_rows(step, self._mask_input_dims) for step in inputs])
        if not self._mask_is_given:
            raise ValueError(
                f"{type(self).__name__}: mask_zero() was called without n_input_dims, so the mask must be given before "
                "each sequence: set_zero_mask(mask) with a mask (T, N), true where a row is masked, or None for none."
            )
        return None if self._zero_mask is None else self._steps_of_mask(self._zero_mask, inputs, offset)

    def _steps_of_mask(self, mask: Tensor, inputs: Tree, offset: int) -> Tensor:
        """The part of a mask (T, N) for the steps that come now; a mask (N,) is for each of them."""
        if mask.dim() < 2:
            return mask.expand(len(inputs), *mask.shape)
        if batch_size(inputs) not in (None, mask.shape[1]):
            raise ValueError(
                f"{type(self).__name__}: the zero mask {tuple(mask.shape)} has {mask.shape[1]} rows, the batch "
                f"{batch_size(inputs)}. Call set_zero_mask(mask) with a mask (T, N) for this sequence."
            )
        end = offset + len(inputs)
        if len(mask) < end or (isinstance(inputs, Tensor) and len(mask) != len(inputs)):
            raise ValueError(
                f"{type(self).__name__}: the zero mask {tuple(mask.shape)} has {len(mask)} steps, the sequence "
                f"{end}. Call set_zero_mask(mask) with a mask (T, N) for this sequence."
            )
        return mask[offset:end]
