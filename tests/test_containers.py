"""Containers behave like lists of modules, and run what they hold."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchrnn.layers import ConcatTable, MapTable, ParallelTable, Sequential

KINDS = [Sequential, ConcatTable, ParallelTable]


@given(st.lists(st.tuples(st.sampled_from(["add", "insert", "remove"]), st.integers(-3, 3))))
def test_a_container_is_edited_like_a_list(edits):
    container, model = Sequential(), []
    for edit, index in edits:
        module = nn.Identity()
        if edit == "add":
            assert container.add(module) is container
            model.append(module)
        elif edit == "insert" and -len(model) <= index <= len(model):
            assert container.insert(index, module) is container
            model.insert(index, module)
        elif edit == "remove" and -len(model) <= index < len(model):
            assert container.remove(index) is container
            del model[index]
    assert list(container) == model
    assert len(container) == len(model)
    assert list(dict(container.named_children())) == [str(position) for position in range(len(model))]
    for position, module in enumerate(model):
        assert container.get(position) is container[position] is module
        assert container[position - len(model)] is module


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_is_a_container_of_the_same_modules(kind):
    modules = [nn.Linear(2, 2) for _ in range(4)]
    part = kind(*modules)[1:3]
    assert type(part) is kind
    assert list(part) == modules[1:3]


def test_parameters_are_named_as_in_torch_and_travel_by_state_dict():
    ours, theirs = (kind(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for kind in (Sequential, nn.Sequential))
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(5, 3)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(copy.deepcopy(ours)(x), theirs(x))


def test_sequential_runs_its_modules_in_order_and_nothing_is_the_identity():
    x = torch.randn(3, 4)
    assert torch.equal(Sequential(nn.Tanh(), nn.Softmax(-1))(x), x.tanh().softmax(-1))
    assert Sequential()(x) is x


def test_concat_table_sums_the_gradients_of_its_input():
    net = ConcatTable(nn.Tanh(), nn.Identity())
    x = torch.randn(3, 4)
    y = net.update_output(x)
    assert [torch.equal(a, b) for a, b in zip(y, [x.tanh(), x], strict=True)] == [True, True]
    assert torch.allclose(net.backward(x, [torch.ones(3, 4), torch.ones(3, 4)]), 2 - x.tanh() ** 2)


def test_parallel_table_keeps_the_structure_of_its_input_in_the_gradient():
    net = ParallelTable(nn.Linear(4, 6), nn.Sigmoid())
    for table in ([torch.randn(3, 4), torch.randn(3, 5)], (torch.randn(3, 4), torch.randn(3, 5))):
        y = net.update_output(table)
        grad = net.backward(table, [torch.ones_like(part) for part in y])
        assert type(y) is list
        assert type(grad) is type(table)
        assert [part.shape for part in grad] == [part.shape for part in table]


def test_map_table_shares_one_module():
    net = MapTable().add(nn.Linear(4, 6))
    xs = [torch.randn(3, 4), torch.randn(2, 4)]
    net.update_output(xs)
    net.zero_grad_parameters()
    net.backward(xs, [torch.ones(3, 6), torch.ones(2, 6)])
    assert len(list(net.parameters())) == 2
    assert torch.allclose(net.get(0).bias.grad, torch.full((6,), 5.0))
    assert net([]) == []


ERRORS = [
    (lambda: Sequential(3), TypeError, "module must be a torch.nn.Module; got 3"),
    (lambda: Sequential(nn.Tanh), TypeError, "the class Tanh; make an instance"),
    (lambda: Sequential(nn.Tanh()).get(1), IndexError, "no module 1, there are 1 modules"),
    (lambda: Sequential().remove(), IndexError, "no module -1, there are 0 modules"),
    (lambda: Sequential().insert(1, nn.Tanh()), IndexError, "cannot insert at 1, there are 0"),
    (lambda: ParallelTable(nn.Tanh())([1, 2]), ValueError, "input must have 1 elements; got 2"),
    (lambda: ParallelTable(nn.Tanh())(torch.ones(1)), TypeError, "must be a table .* got a tensor of shape"),
    (lambda: MapTable(nn.Tanh()).add(nn.Tanh()), ValueError, "one module serves every element"),
    (lambda: MapTable()([torch.ones(1)]), ValueError, "no module to apply; add one"),
    (lambda: MapTable(nn.Tanh())(torch.ones(1)), TypeError, "must be a table"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
