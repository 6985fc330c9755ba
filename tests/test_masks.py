"""Ragged batches: masks, lengths, rows that begin anew; padding reaches nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cell_table import CELLS, D, H
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import torchrnn
from torchrnn import AbstractRecurrent

every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())
Make = Callable[[], AbstractRecurrent]
T, N = 6, 3


def double(make: Callable[[], torchrnn.Module]) -> torchrnn.Module:
    torch.manual_seed(1)
    return make().double()


def ragged(lengths: list[int], padding: float = math.nan) -> Tensor:
    x = torch.randn(T, len(lengths), D, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return x.masked_fill(torchrnn.padding_mask(lengths, T)[..., None], padding)


def assert_same(got: object, expected: object) -> None:
    for a, b in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        if isinstance(b, Tensor):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def one_row(state: object, row: int) -> object:
    return tree_map(lambda leaf: leaf[row : row + 1] if isinstance(leaf, Tensor) else leaf, state)


SEQUENCES: dict[str, Callable[[], torchrnn.Module]] = {
    **{name: lambda make=make: torchrnn.Sequencer(make()) for name, make in CELLS.items()},
    "SeqLSTM": lambda: torchrnn.SeqLSTM(D, H),
    "SeqLSTMP": lambda: torchrnn.SeqLSTMP(D, H, 2),
    "SeqGRU": lambda: torchrnn.SeqGRU(D, H),
    "VanillaRNN": lambda: torchrnn.VanillaRNN(D, H, batch_first=False),
    "BiSequencer": lambda: torchrnn.BiSequencer(torchrnn.LSTM(D, H)),
    "BiSequencer with a merge": lambda: torchrnn.BiSequencer(
        torchrnn.GRU(D, H), merge=torchrnn.Sequential(torchrnn.CAddTable(), nn.Linear(H, H))
    ),
    "BiSequencerLM": lambda: torchrnn.BiSequencerLM(torchrnn.FastLSTM(D, H)),
    "SeqBRNN": lambda: torchrnn.SeqBRNN(D, H),
    "SeqBLSTM": lambda: torchrnn.SeqBLSTM(D, H, 2),
    "SeqBGRU": lambda: torchrnn.SeqBGRU(D, H, torchrnn.JoinTable(2)),
}
every_sequence = pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES.keys())


@pytest.mark.slow
@every_sequence
@given(lengths=st.lists(st.integers(2, T), min_size=1, max_size=4), padding=st.sampled_from([math.nan, math.inf, 7.0]))
def test_each_row_of_a_ragged_batch_is_as_if_alone(
    make: Callable[[], torchrnn.Module], lengths: list[int], padding: float
) -> None:
    net, x = double(make), ragged(lengths, padding)
    output = net(x, lengths)
    assert not output[torchrnn.padding_mask(lengths, T)].any()
    for row, length in enumerate(lengths):
        assert_same(output[:length, row], net(x[:length, row : row + 1])[:, 0])
    assert_same(net(x, torch.tensor(lengths)), output)


@every_sequence
def test_padding_reaches_no_gradient(make: Callable[[], torchrnn.Module]) -> None:
    lengths = [2, T, 4]
    gradients = []
    for explicit, padding in itertools.product([False, True], [math.nan, math.inf, 1.0]):
        net, x = double(make), ragged(lengths, padding)
        net.zero_grad_parameters()
        if explicit:
            output = net.update_output(x, lengths=lengths)
            grad = net.backward(x, torch.cos(output))
        else:
            leaf = x.clone().requires_grad_()
            output = net(leaf, lengths)
            (output * torch.cos(output.detach())).sum().backward()
            grad = leaf.grad
        assert not grad[torchrnn.padding_mask(lengths, T)].any()
        gradients.append([grad, *(p.grad for p in net.parameters())])
    assert all(torch.isfinite(g).all() for g in gradients[0])
    for other in gradients[1:]:
        assert_same(other, gradients[0])


@pytest.mark.slow
@every_cell
@given(lengths=st.lists(st.integers(1, T), min_size=1, max_size=4))
def test_final_states_are_those_at_the_end_of_each_row(make: Make, lengths: list[int]) -> None:
    cell, x = double(make), ragged(lengths)
    _, final = cell.sequence(x, lengths=lengths)
    net = torchrnn.Sequencer(cell)
    net(x, lengths)
    assert_same(net.get_hidden_state(), final)
    for row, length in enumerate(lengths):
        _, alone = cell.sequence(x[:length, row : row + 1])
        assert_same(one_row(final, row), alone)


@every_cell
def test_lists_are_ragged_as_well(make: Make) -> None:
    net, x = torchrnn.Sequencer(double(make)), ragged([2, T, 3])
    assert_same(torch.stack(net(list(x), [2, T, 3])), net(x, [2, T, 3]))


@pytest.mark.parametrize("name", ["LSTM", "RecLSTM with projection", "GRU", "Recurrence", "a user's cell"])
def test_a_row_without_steps_keeps_its_initial_state(name: str) -> None:
    cell = double(CELLS[name])
    output, final = cell.sequence(ragged([0, T]), lengths=[0, T])
    assert not output[:, 0].any()
    assert_same(one_row(final, 0), cell.initial_state(torch.zeros(1, D, dtype=torch.float64)))


@every_cell
@pytest.mark.parametrize(
    ("before", "after", "forgotten"),
    [
        ([0, 3, T], [T, 0, 0], [False, False, True]),
        ([0, 0, 2], [0, 0, 0], [False, True, True]),
        ([2, T, 0], [0, 4, 3], [True, False, False]),
        ([1, 2, 5], [0, 0, 1], [False, True, True]),
    ],
)
def test_a_row_without_steps_in_a_chunk_goes_on_where_it_was(
    make: Make, before: list[int], after: list[int], forgotten: list[bool]
) -> None:
    """Its state is that which it has at the end of the last chunk, or at the start, whoever knows the start."""
    net = torchrnn.Sequencer(double(make)).remember()
    alone = torchrnn.Sequencer(double(make)).remember()
    chunks = [ragged([T] * 3), ragged([T] * 3).flip(0), ragged([T] * 3).flip(1)]
    net(chunks[0], before)
    net.forget(rows=torch.tensor(forgotten))
    net(chunks[1], after)
    output = net(chunks[2], [T] * 3)
    for row in range(3):
        parts = [chunks[1][: after[row], row : row + 1], chunks[2][:, row : row + 1]]
        if not forgotten[row]:
            parts.insert(0, chunks[0][: before[row], row : row + 1])
        alone.forget()
        assert_same(output[:, row], alone(torch.cat(parts))[-T:, 0])


@every_cell
def test_rows_of_zeros_and_lengths_go_together(make: Make) -> None:
    x = ragged([T] * N)
    x[1, 0] = x[0, 2] = 0
    lengths = [2, 0, 4]
    net = torchrnn.Sequencer(double(make).mask_zero(1)).remember()
    alone = torchrnn.Sequencer(double(make).mask_zero(1))
    net(x, lengths)
    output = net(x)
    for row, length in enumerate(lengths):
        assert_same(output[:, row], alone(torch.cat([x[:length], x])[:, row : row + 1])[-T:, 0])


def test_a_start_that_only_a_module_inside_knows_is_kept_and_learned() -> None:
    cell = double(CELLS["LearnedStart of a FastLSTM"])
    net = torchrnn.Sequencer(torchrnn.Sequential(nn.Linear(D, D).double(), cell)).remember()
    net(ragged([T, T]), [0, T])
    ((h, c),) = net.get_hidden_state()
    assert_same([h[0], c[0]], list(cell.start))
    (h[0].sum() + c[0].sum()).backward()
    assert_same([start.grad for start in cell.start], [torch.ones_like(start) for start in cell.start])


# ------------------------------------------------------------------ zero masks


@every_cell
def test_a_masked_row_gives_zeros_and_begins_anew(make: Make) -> None:
    """What the originals call maskZero; the mask comes from rows of zeros, or is set."""
    x = ragged([T, T, T])
    mask = torch.zeros(T, N, dtype=torch.bool)
    mask[2, 0] = mask[0, 1] = mask[3:, 2] = True
    by_input = torchrnn.Sequencer(double(make)).mask_zero(1)
    output = by_input(x.masked_fill(mask[..., None], 0.0))
    by_mask = torchrnn.Sequencer(double(make)).mask_zero()
    by_mask.set_zero_mask(mask)
    assert_same(by_mask(x.masked_fill(mask[..., None], math.nan)), output)
    assert not output[mask].any()
    alone = torchrnn.Sequencer(double(make))
    assert_same(output[:2, 0], alone(x[:2, :1])[:, 0])
    if make is not CELLS["a user's cell with a tree of states"]:  # which does not begin at zero
        assert_same(output[3:, 0], alone(x[3:, :1])[:, 0])
        assert_same(output[1:, 1], alone(x[1:, 1:2])[:, 0])
    by_mask.set_zero_mask(None)
    assert_same(by_mask(x), alone(x))
    by_mask.set_zero_mask(mask)
    assert_same(by_mask(x), output)


def test_masks_by_steps_equal_masks_of_a_sequence() -> None:
    cell = double(CELLS["LSTM"]).mask_zero()
    mask = torch.rand(T, N) < 0.4
    x = ragged([T] * N)
    cell.set_zero_mask(mask)
    expected = torchrnn.Sequencer(cell)(x)
    cell.forget()
    assert_same(torch.stack([cell.update_output(step) for step in x]), expected)
    for step, grad in zip(x.flip(0), expected.flip(0), strict=True):
        cell.backward(step, grad)
    grads = torch.stack(cell.grad_inputs)
    assert not grads[mask].any()
    assert grads[~mask].all()


def test_a_mask_goes_to_the_modules_inside_a_sequencer() -> None:
    inside = torchrnn.Sequential(torchrnn.LSTM(D, H).mask_zero(), torchrnn.MaskZero(nn.Linear(H, 2)))
    net = torchrnn.Sequencer(inside).double()
    mask = torch.rand(T, N) < 0.4
    net.set_zero_mask(mask)
    output = net(ragged([T] * N).masked_fill(mask[..., None], math.nan))
    assert not output[mask].any()
    assert output[~mask].all()
    net.set_zero_mask(None)
    assert net(ragged([T] * N)).all()


def test_the_mask_of_a_step_does_not_stay_in_the_modules_inside() -> None:
    lstm = double(CELLS["LSTM"]).mask_zero()
    net = torchrnn.Sequencer(torchrnn.Sequential(lstm, nn.Tanh()))
    net.set_zero_mask(torch.tensor([[False] * N] * (T - 1) + [[True] * N]))
    x = ragged([T] * N)
    assert not net(x)[-1].any()
    lstm.forget()
    assert lstm(x[0]).all()
    with pytest.raises(ValueError, match="has 1 rows"):
        net.set_zero_mask(torch.zeros(T, 1))
        net(x)
    assert lstm(x[1]).all()


@pytest.mark.parametrize("name", ["LSTM", "Recursor", "SeqLSTM", "BiSequencer", "SeqBGRU"])
def test_a_mask_may_be_a_list_of_one_for_each_step(name: str) -> None:
    mask = torchrnn.padding_mask([2, T, 4], T)
    net, x = double(SEQUENCES[name]).mask_zero(), ragged([T] * N)
    net.set_zero_mask(mask)
    expected = net(x)
    for steps in (list(mask), mask.tolist(), mask.int()):
        net.set_zero_mask(steps)
        assert_same(net(x), expected)


def test_lists_of_masks_go_to_layers_and_losses() -> None:
    mask = torchrnn.padding_mask([2, T, 4], T)
    layer, x = torchrnn.MaskZero(nn.Linear(D, 2)).double(), ragged([T] * N)
    inside = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.GRU(D, 2).mask_zero(), nn.Tanh())).double()
    masked = torchrnn.MaskZeroCriterion(torchrnn.MSECriterion())
    for net in (layer, inside):
        net.set_zero_mask(list(mask))
        output = net(x)
        assert not output[mask].any()
        assert output[~mask].all()
    for criterion in (masked, torchrnn.SequencerCriterion(masked)):
        losses = []
        for form in (mask, list(mask), mask.tolist()):
            criterion.set_zero_mask(form)
            losses.append(criterion(x, torch.zeros_like(x)))
        assert losses[0] == losses[1] == losses[2] > 0
    assert masked(x, torch.zeros_like(x)) == x.square().mean()  # no mask of a step stayed in it


def test_only_what_takes_a_mask_is_given_one() -> None:
    """The second layer was not made to mask, or goes by rows of zeros."""
    mask, x = torchrnn.padding_mask([2, T, 4], T), ragged([T] * N)
    for layer in (torchrnn.SeqGRU(H, H), torchrnn.SeqGRU(H, H).mask_zero(1)):
        stack = torchrnn.Sequential(torchrnn.SeqLSTM(D, H).mask_zero(), layer).double()
        stack.set_zero_mask(mask)
        first = stack.get(0)(x)
        assert not first[mask].any()
        assert_same(stack(x), layer(first))
        assert [module.takes_zero_mask for module in (stack, *stack)] == [True, True, False]
        layer.set_zero_mask(None)
    assert torchrnn.VariableLength(torchrnn.Sequencer(nn.Linear(D, 2)).double())([*x.unbind(1)])[0].shape == (T, 2)
    assert torchrnn.VariableLength(torchrnn.Sequential(nn.Linear(D, 2)).double())([*x.unbind(1)])[0].shape == (T, 2)


TAKES_NO_MASK: dict[str, Callable[[], Any]] = {
    "a cell": lambda: torchrnn.GRU(D, H),
    "rows of zeros": lambda: torchrnn.GRU(D, H).mask_zero(1),
    "a sequence": lambda: torchrnn.SeqLSTM(D, H),
    "a container in a sequence": lambda: torchrnn.Sequencer(torchrnn.Sequential(torchrnn.GRU(D, H), nn.Linear(H, H))),
    "both directions": lambda: torchrnn.BiSequencer(torchrnn.GRU(D, H)),
    "a container": lambda: torchrnn.Sequential(nn.Linear(D, H), torchrnn.SeqGRU(H, H)),
    "a layer that goes by rows of zeros": lambda: torchrnn.MaskZero(nn.Linear(D, H), 1),
    "a loss": lambda: torchrnn.MSECriterion(),
    "a loss over time": lambda: torchrnn.SequencerCriterion(torchrnn.MSECriterion()),
    "a loss that goes by rows of zeros": lambda: torchrnn.MaskZeroCriterion(torchrnn.MSECriterion(), 1),
}


@pytest.mark.parametrize("make", TAKES_NO_MASK.values(), ids=TAKES_NO_MASK.keys())
def test_a_mask_for_nobody_is_refused(make: Callable[[], Any]) -> None:
    net = make()
    remedy = "Put it into a MaskZeroCriterion" if isinstance(net, torchrnn.Criterion) else r"Call mask_zero\(\) before"
    with pytest.raises(ValueError, match=f"^{type(net).__name__}: .*takes a mask, and there is none. {remedy}"):
        net.set_zero_mask(torch.zeros(T, N, dtype=torch.bool))
    net.set_zero_mask(None)


def test_masks_are_reversed_with_the_sequence() -> None:
    lengths = [2, T, 4]
    net = torchrnn.BiSequencer(torchrnn.RecLSTM(D, H)).double()
    expected = net(ragged(lengths), lengths)
    net.mask_zero()
    net.set_zero_mask(torchrnn.padding_mask(lengths, T))
    assert_same(net(ragged(lengths)), expected)


def test_trim_zero_and_mask_zero_agree() -> None:
    linear = nn.Linear(D, H).double()
    x = torch.randn(5, D).double()
    x[[1, 3]] = 0
    grads = []
    for kind in (torchrnn.MaskZero, torchrnn.TrimZero):
        net = kind(linear, 1)
        net.zero_grad_parameters()
        output = net.update_output(x)
        assert not output[[1, 3]].any()
        grads.append([net.backward(x, torch.ones_like(output)), linear.weight.grad.clone(), linear.bias.grad.clone()])
        assert_same(net(x[0]), linear(x[0]))
        assert not net(x[1]).any()
    assert_same(grads[0], grads[1])
    lstm = double(lambda: torchrnn.LSTM(D, H))
    sequence = ragged([T] * N).masked_fill(torch.rand(T, N, 1) < 0.3, 0.0)
    expected = torchrnn.Sequencer(double(lambda: torchrnn.LSTM(D, H)).mask_zero(1))(sequence)
    assert_same(torchrnn.Sequencer(lstm.trim_zero(1))(sequence), expected)


def test_samples_of_different_lengths() -> None:
    samples = [torch.randn(length, D) for length in (3, 5, 1)]
    for module in (
        torchrnn.SeqLSTM(D, H),
        torchrnn.Sequential(torchrnn.SeqGRU(D, H), torchrnn.Sequencer(torchrnn.LSTM(H, H))),
        torchrnn.SeqBLSTM(D, H),
    ):
        net = torchrnn.VariableLength(module)
        outputs = net.update_output(samples)
        last = torchrnn.VariableLength(module, last_only=True)(samples)
        grads = net.backward(samples, outputs)
        assert [g.shape for g in grads] == [s.shape for s in samples]
        for sample, output, end in zip(samples, outputs, last, strict=True):
            module.set_zero_mask(None)
            torch.testing.assert_close(output, module(sample[:, None])[:, 0])
            torch.testing.assert_close(end, output[-1])


def test_lengths_go_through_a_stack() -> None:
    lengths = [2, T, 4]
    stack = torchrnn.Sequential(torchrnn.SeqLSTM(D, H), nn.Tanh(), torchrnn.Sequential(torchrnn.SeqGRU(H, H))).double()
    output = stack(ragged(lengths), lengths)
    for row, length in enumerate(lengths):
        assert_same(output[:length, row], stack(ragged(lengths)[:length, row : row + 1])[:, 0])
    both = torchrnn.BiSequencer(stack).double()
    output = both(ragged(lengths), lengths)
    for row, length in enumerate(lengths):
        assert_same(output[:length, row], both(ragged(lengths)[:length, row : row + 1])[:, 0])


@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_is_zero_whatever_a_merge_makes_of_it(batch_first: bool) -> None:
    class Shifted(torchrnn.CAddTable):
        def forward(self, input: list[Tensor]) -> Tensor:
            return super().forward(input) + 1

    lengths = [2, T, 4]
    padding = torchrnn.padding_mask(lengths, T)
    x = ragged(lengths).float()
    by_steps = torchrnn.BiSequencer(torchrnn.GRU(D, H), merge=Shifted())
    for output in (by_steps(x, lengths), torch.stack(by_steps(list(x), lengths))):
        assert not output[padding].any()
        assert output[~padding].all()
    x, padding = (x.transpose(0, 1), padding.t()) if batch_first else (x, padding)
    for merge in (Shifted(), nn.Identity()):
        outputs = torchrnn.SeqBRNN(D, H, batch_first=batch_first, merge=merge)(x, lengths)
        for output in outputs if isinstance(outputs, list) else [outputs]:
            assert not output[padding].any()
            assert output[~padding].all()


def test_steps_that_are_sequences_may_have_other_lengths() -> None:
    """The rows of a step are not its first dimension here."""
    net = torchrnn.Recursor(torchrnn.Sequential(torchrnn.SeqLSTM(D, H), torchrnn.Select(0, -1), torchrnn.LSTM(H, H)))
    assert [net(torch.randn(steps, 2, D)).shape for steps in (3, 5, 4)] == [(2, H)] * 3


# ------------------------------------------------------------------ rows that begin anew


@every_cell
@pytest.mark.parametrize("by_steps", [False, True])
def test_rows_can_be_forgotten_in_mid_stream(make: Make, by_steps: bool) -> None:
    x = ragged([T] * N)
    cell = double(make)
    net = cell if by_steps else torchrnn.Sequencer(cell).remember()

    def run(part: Tensor) -> Tensor:
        return torch.stack([net(step) for step in part]) if by_steps else net(part)

    run(x[:3])
    net.forget(rows=torch.tensor([True, False, False]))
    net.forget(rows=torch.tensor([True, False, True]))
    output = run(x[3:])
    whole, _ = double(make).sequence(x)
    anew, _ = double(make).sequence(x[3:])
    assert_same(output[:, 1], whole[3:, 1])
    assert_same(output[:, [0, 2]], anew[:, [0, 2]])


@pytest.mark.parametrize("has_start", [False, True])
def test_forgotten_rows_begin_anew_beside_a_given_h(has_start: bool) -> None:
    """``c`` is remembered where only ``h0`` is given, but not in the rows that were forgotten."""
    net, x = double(lambda: torchrnn.SeqLSTM(D, H).remember()), ragged([T] * N)
    h0, start = torch.randn(3, N, H, dtype=torch.float64).split([1, 2])
    if has_start:
        net.set_start_state(torchrnn.LSTMState(*start))
    net(x)
    c = net.get_hidden_state().c
    rows = torch.tensor([True, False, True])
    net.forget(rows=rows)
    c0 = torch.where(rows[:, None], start[1] if has_start else 0, c)
    expected, _ = net.cell.sequence(x, torchrnn.LSTMState(h0[0], c0))
    assert_same(net((h0[0], x)), expected)


def test_no_gradient_flows_into_a_row_that_was_forgotten() -> None:
    x = [*ragged([T] * N)]
    gradients = []
    for explicit in (True, False):
        net = torchrnn.Sequential(double(CELLS["LSTM"]), nn.Tanh())
        leaves = [step.clone().requires_grad_() for step in x]
        for t, step in enumerate(x if explicit else leaves):
            if t == 3:
                net.forget(rows=torch.tensor([True, False, False]))
            output = net.update_output(step) if explicit else net(step)
        if explicit:
            net.backward(x[-1], torch.ones_like(output))
            net.backward_through_time()
            gradients.append(torch.stack(net.get(0).grad_inputs))
        else:
            output.sum().backward()
            gradients.append(torch.stack([leaf.grad for leaf in leaves]))
    assert_same(gradients[0], gradients[1])
    assert not gradients[0][:3, 0].any()
    assert gradients[0][:3, 1:].any(-1).all()


# ------------------------------------------------------------------ losses


def test_a_masked_mean_over_all_real_steps() -> None:
    lengths = [1, 4, 2]
    scores = torch.randn(4, 3, 7, dtype=torch.float64)
    targets = torch.randint(7, (4, 3))
    mask = torchrnn.padding_mask(lengths, 4)
    loss = torchrnn.MaskZeroCriterion(torchrnn.CrossEntropyCriterion())
    loss.set_zero_mask(mask)
    expected = nn.functional.cross_entropy(scores[~mask], targets[~mask])
    torch.testing.assert_close(loss(scores.masked_fill(mask[..., None], math.nan), targets), expected)
    grad = loss.backward(scores.masked_fill(mask[..., None], math.inf), targets)
    assert torch.isfinite(grad).all()
    assert not grad[mask].any()
    by_steps = torchrnn.SequencerCriterion(torchrnn.MaskZeroCriterion(torchrnn.CrossEntropyCriterion()))
    by_steps.set_zero_mask(mask)
    means = [nn.functional.cross_entropy(s[~m], t[~m]) for s, t, m in zip(scores, targets, mask, strict=True)]
    torch.testing.assert_close(by_steps(scores, targets), sum(means))
    loss.set_zero_mask(torch.ones(4, 3, dtype=torch.bool))
    assert loss(scores, targets) == 0
    assert not loss.backward(scores, targets).any()


ERRORS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a length beyond the steps": (lambda: torchrnn.padding_mask([7], 6), ValueError, "between 0 and the 6 steps"),
    "a negative length": (lambda: torchrnn.padding_mask([-1], 6), ValueError, "between 0 and the 6 steps"),
    "fractions of steps": (lambda: torchrnn.padding_mask([1.5], 6), ValueError, "one int for each row"),
    "no mask set": (
        lambda: torchrnn.GRU(D, H).mask_zero()(torch.ones(2, D)),
        ValueError,
        "the mask must be given before",
    ),
    "no mask set in a layer": (lambda: torchrnn.MaskZero(nn.Tanh())(torch.ones(2, 2)), ValueError, "must be given"),
    "no mask set in a loss": (
        lambda: torchrnn.MaskZeroCriterion(torchrnn.MSECriterion())(torch.ones(2, 2), torch.ones(2, 2)),
        ValueError,
        "must be given",
    ),
    "a mask of another length": (
        lambda: [
            (net := torchrnn.SeqGRU(D, H).mask_zero()),
            net.set_zero_mask(torch.zeros(2, 3)),
            net(torch.ones(3, 3, D)),
        ],
        ValueError,
        r"mask \(2, 3\) has 2 steps, the sequence 3",
    ),
    "a loss with a mask of another size": (
        lambda: [
            (loss := torchrnn.MaskZeroCriterion(torchrnn.MSECriterion())),
            loss.set_zero_mask(torch.zeros(5)),
            loss(torch.ones(2, 2), torch.ones(2, 2)),
        ],
        ValueError,
        r"needs an input that begins with these dimensions; got \(2, 2\)",
    ),
    "rows that are no mask": (lambda: torchrnn.GRU(D, H).forget(rows=torch.tensor([1])), ValueError, "bool tensor"),
    "empty samples": (
        lambda: torchrnn.VariableLength(torchrnn.SeqGRU(D, H))([torch.ones(0, D)]),
        ValueError,
        "at least one step",
    ),
    "no samples": (lambda: torchrnn.VariableLength(torchrnn.SeqGRU(D, H))([]), ValueError, "at least one element"),
    "a module that cannot mask": (
        lambda: torchrnn.VariableLength(nn.LSTM(D, H)),
        TypeError,
        "must be a torchrnn.Module",
    ),
    "lengths of too few rows": (
        lambda: torchrnn.SeqGRU(D, H)(torch.ones(3, 2, D), [2]),
        ValueError,
        "one for each of the 2 rows",
    ),
    "rows of another batch": (
        lambda: [
            (net := torchrnn.GRU(D, H)),
            net(torch.ones(3, D)),
            net.forget(torch.tensor([True])),
            net(torch.ones(3, D)),
        ],
        ValueError,
        "given 1 rows; the batch has 3",
    ),
    "a mask of another batch": (
        lambda: [(net := torchrnn.SeqGRU(D, H).mask_zero()), net.set_zero_mask([[1]] * 3), net(torch.ones(3, 3, D))],
        ValueError,
        "has 1 rows, the batch 3",
    ),
    "masks of unlike steps": (
        lambda: torchrnn.GRU(D, H).mask_zero().set_zero_mask([torch.zeros(2), torch.zeros(3)]),
        ValueError,
        r"one \(N,\) for each step; got \[\(2,\), \(3,\)\]",
    ),
    "a state of another size": (
        lambda: torchrnn.GRU(D, H).sequence(torch.ones(3, 2, D), torch.zeros(1, H)),
        ValueError,
        "must have the shapes",
    ),
    "a state of another dtype": (
        lambda: torchrnn.GRU(D, H).sequence(torch.ones(3, 2, D), torch.zeros(2, H).double()),
        ValueError,
        "must be of",
    ),
    "samples for a batch-first module": (
        lambda: torchrnn.VariableLength(torchrnn.VanillaRNN(D, H)),
        ValueError,
        "batch_first",
    ),
    "dimensions that are no int": (lambda: torchrnn.GRU(D, H).mask_zero(1.5), TypeError, "must be an integer; got 1.5"),
    "fewer than no dimensions": (lambda: torchrnn.MaskZero(nn.Tanh(), -1), ValueError, "at least 0"),
    "dimensions that are not there": (
        lambda: torchrnn.zero_rows(torch.ones(2), 2),
        ValueError,
        "n_input_dims = 2",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_say_what_to_do(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
