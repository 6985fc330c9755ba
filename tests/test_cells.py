"""What must hold for every recurrent module: sequences in pieces, step by step, rows on their own, gradients."""

from __future__ import annotations

import copy
import io
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cell_table import CELLS, D
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

import torchrnn
from torchrnn import AbstractRecurrent

every_cell = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())
Make = Callable[[], AbstractRecurrent]


def double(make: Make) -> AbstractRecurrent:
    torch.manual_seed(1)
    return make().double()


def sequence(T: int, N: int) -> Tensor:
    return torch.randn(T, N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(T * 100 + N))


def assert_same(got: Any, expected: Any) -> None:
    for a, b in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        if isinstance(b, Tensor):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@every_cell
@given(cuts=st.lists(st.integers(0, 7), max_size=4), N=st.integers(1, 3))
def test_a_sequence_in_pieces_equals_one_call(make: Make, cuts: list[int], N: int) -> None:
    cell, x = double(make), sequence(7, N)
    expected, final = cell.sequence(x)
    state, outputs = None, []
    bounds = [0, *sorted(cuts), 7]
    for start, stop in itertools.pairwise(bounds):
        output, state = cell.sequence(x[start:stop], state)
        outputs.append(output)
    assert_same(torch.cat(outputs), expected)
    assert_same(state, final)


@every_cell
@given(cut=st.integers(0, 6), N=st.integers(1, 3))
def test_a_remembering_sequencer_goes_on(make: Make, cut: int, N: int) -> None:
    x = sequence(6, N)
    net = torchrnn.Sequencer(double(make)).remember()
    expected = net(x)
    net.forget()
    assert_same(torch.cat([net(x[:cut]), net(x[cut:])]), expected)


@every_cell
def test_steps_equal_a_sequence(make: Make) -> None:
    cell, x = double(make), sequence(5, 3)
    expected, final = cell.sequence(x)
    cell.forget()
    outputs = [cell(step) for step in x]
    assert_same(torch.stack(outputs), expected)
    assert_same(cell.get_hidden_state(), final)
    assert_same(cell.outputs, list(expected))
    assert_same(cell.inputs, list(x))


@every_cell
def test_a_list_equals_a_tensor(make: Make) -> None:
    net, x = torchrnn.Sequencer(double(make)), sequence(5, 3)
    outputs = net(list(x))
    assert isinstance(outputs, list)
    assert_same(torch.stack(outputs), net(x))
    assert_same(net(tuple(x)), outputs)


@every_cell
def test_rows_do_not_see_each_other(make: Make) -> None:
    cell, x = double(make), sequence(5, 4)
    expected, _ = cell.sequence(x)
    other = x.clone()
    other[:, 2] = 1e3
    assert_same(cell.sequence(other)[0][:, [0, 1, 3]], expected[:, [0, 1, 3]])
    assert_same(cell.sequence(x[:, 1:2])[0], expected[:, 1:2])


@every_cell
@given(order=st.permutations(range(4)))
def test_permuted_rows_give_permuted_results(make: Make, order: list[int]) -> None:
    cell, x = double(make), sequence(4, 4)
    expected, final = cell.sequence(x)
    output, state = cell.sequence(x[:, order])
    assert_same(output, expected[:, order])
    assert_same(state, tree_map(lambda leaf: leaf[order] if isinstance(leaf, Tensor) else leaf, final))


@every_cell
def test_one_sample_without_a_batch(make: Make) -> None:
    cell, x = double(make), sequence(5, 1)
    expected, _ = cell.sequence(x)
    assert_same(cell.sequence(x[:, 0])[0], expected[:, 0])


@every_cell
@pytest.mark.parametrize(("T", "N"), [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_empty_and_tiny_sequences(make: Make, T: int, N: int) -> None:
    net = torchrnn.Sequencer(double(make))
    features = net(sequence(2, 1)).shape[2:]
    x = sequence(T, N)
    net.zero_grad_parameters()
    output = net.update_output(x)
    assert output.shape == (T, N, *features)
    assert net.backward(x, torch.ones_like(output)).shape == x.shape


@every_cell
def test_an_input_that_is_not_contiguous(make: Make) -> None:
    cell, x = double(make), sequence(5, 3)
    expected, _ = cell.sequence(x)
    strided = torch.stack([x, x], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert_same(cell.sequence(strided)[0], expected)
    assert_same(cell.sequence(x.transpose(0, 1).contiguous().transpose(0, 1))[0], expected)


@pytest.mark.slow
@every_cell
def test_gradients_of_a_sequence(make: Make) -> None:
    net = torchrnn.Sequencer(double(make))
    x = sequence(3, 2).requires_grad_()
    parameters = tuple(net.parameters())

    def outputs(x: Tensor, *values: Tensor) -> Tensor:
        names = [name for name, _ in net.named_parameters()]
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), (x,))

    inputs = (x, *(p.detach().requires_grad_() for p in parameters))
    if isinstance(net.cell, torchrnn.NormStabilizer):
        net.eval()  # in training its gradient is, on purpose, not that of its output
    assert torch.autograd.gradcheck(outputs, inputs)
    assert torch.autograd.gradgradcheck(outputs, inputs, fast_mode=True)


@every_cell
def test_gradients_through_states(make: Make) -> None:
    cell = double(make).eval()
    x = sequence(2, 2)
    flat, structure = tree_flatten(cell.sequence(x)[1])
    places = [place for place, leaf in enumerate(flat) if isinstance(leaf, Tensor)]
    leaves = [flat[place].detach().requires_grad_() for place in places]

    def finals(*values: Tensor) -> tuple[Tensor, ...]:
        state = list(flat)
        for place, value in zip(places, values, strict=True):
            state[place] = value
        results = cell.sequence(x, tree_unflatten(state, structure))
        return tuple(leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor))

    if leaves and any(value.requires_grad for value in finals(*leaves)):
        assert torch.autograd.gradcheck(finals, leaves)


@every_cell
def test_both_worlds_have_the_same_gradients(make: Make) -> None:
    """Step by step and as a sequence, by autograd and by explicit calls: four ways to one gradient."""
    x, weights = sequence(5, 3), None
    gradients = []
    for by_steps in (True, False):
        for explicit in (True, False):
            cell = double(make)
            net = cell if by_steps else torchrnn.Sequencer(cell)
            inputs = list(x) if by_steps else [x]
            net.zero_grad_parameters()
            if explicit:
                outputs = [net.update_output(i) for i in inputs]
                weights = [torch.cos(y) for y in outputs]
                grads = [net.backward(i, w) for i, w in zip(inputs[::-1], weights[::-1], strict=True)]
                if by_steps and len(grads) > 1:
                    assert_same(torch.stack(cell.grad_inputs), torch.stack(grads[::-1]))
                grad_x = torch.stack(grads[::-1]) if by_steps else grads[0]
            else:
                leaf = x.clone().requires_grad_()
                outputs = [net(i) for i in (leaf.unbind() if by_steps else [leaf])]
                sum((y * torch.cos(y.detach())).sum() for y in outputs).backward()
                grad_x = leaf.grad
            gradients.append([grad_x, *(p.grad for p in net.parameters())])
    for other in gradients[1:]:
        assert_same(other, gradients[0])


@every_cell
def test_copies_files_and_state_dicts(make: Make) -> None:
    cell, x = double(make), sequence(3, 2)
    before = [cell(step) for step in x]
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert_same(twin(x[0]), copy.deepcopy(cell)(x[0]))  # the remembered state came along
    fresh = double(make)
    file = io.BytesIO()
    torch.save(cell.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file))
    assert_same([fresh(step) for step in x], before)


@every_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtypes(make: Make, dtype: torch.dtype) -> None:
    cell = double(make)
    expected, _ = cell.sequence(sequence(4, 2))
    output, state = cell.to(dtype).sequence(sequence(4, 2).to(dtype))
    assert output.dtype == dtype
    assert all(leaf.dtype == dtype for leaf in tree_leaves(state) if isinstance(leaf, Tensor))
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)


@every_cell
def test_a_switch_of_mode_forgets(make: Make) -> None:
    cell, x = double(make), sequence(3, 2)
    evaluated = double(make).eval()
    expected = [evaluated(step) for step in x]
    for step in x:
        cell(step)
    cell.train()
    assert len(cell.outputs) == 3  # no switch
    cell.eval()
    assert cell.outputs == []
    assert_same([cell(step) for step in x], expected)
    assert not cell.training
    assert cell.train() is cell
    assert cell.training
    assert cell.evaluate() is cell
    assert not cell.training


@every_cell
def test_flat_parameters_are_the_parameters(make: Make) -> None:
    net, x = torchrnn.Sequencer(double(make)), sequence(3, 2)
    expected = net.update_output(x)
    values, grads = net.get_parameters()
    assert values.numel() == sum(p.numel() for p in net.parameters())
    assert_same(net(x), expected)
    net.update_output(x)
    net.backward(x, torch.ones_like(expected))
    if values.numel():
        assert grads.norm() > 0
        values.sub_(grads, alpha=0.1)
        assert not torch.equal(net(x), expected)
        again, _ = net.get_parameters()
        assert again.data_ptr() == values.data_ptr()
    net.zero_grad_parameters()
    assert grads.norm() == 0


@every_cell
def test_state_dict_keys_do_not_change_with_use(make: Make) -> None:
    cell = double(make)
    before = list(cell.state_dict())
    torchrnn.Sequencer(cell)(sequence(3, 2))
    assert list(cell.state_dict()) == before
