"""Every table layer and simple layer, from one table of cases, and what each of them refuses."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn import layers as L


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def positive(*shape):
    return torch.rand(*shape, dtype=torch.float64) + 0.1


def standardized(x):
    return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()


# What it is called, the layer, its input, and the same in plain torch.
CASES = [
    ("JoinTable", L.JoinTable(1), [draw(3, 4), draw(3, 2)], lambda x: torch.cat(x, 1)),
    ("JoinTable batch", L.JoinTable(0, 1), (draw(3, 4), draw(3, 2)), lambda x: torch.cat(x, 1)),
    ("JoinTable no batch", L.JoinTable(0, 1), [draw(4), draw(2)], lambda x: torch.cat(x, 0)),
    ("JoinTable negative", L.JoinTable(-1, 1), [draw(3, 4), draw(3, 2)], lambda x: torch.cat(x, 1)),
    ("SplitTable", L.SplitTable(0, 3), draw(5, 3, 4), lambda x: list(x)),
    ("SplitTable batch", L.SplitTable(0, 2), draw(3, 5, 4), lambda x: [x[:, t] for t in range(5)]),
    ("SplitTable negative", L.SplitTable(-1, 2), draw(3, 5, 4), lambda x: [x[..., d] for d in range(4)]),
    ("SelectTable", L.SelectTable(1), [draw(3), [draw(2), draw(4)]], lambda x: x[1]),
    ("SelectTable negative", L.SelectTable(-2), [draw(3), draw(2), draw(1)], lambda x: x[1]),
    ("NarrowTable", L.NarrowTable(-2, 2), (draw(3), draw(2), draw(1)), lambda x: list(x[1:])),
    ("FlattenTable", L.FlattenTable(), [draw(1), (draw(2), [draw(3)])], lambda x: [x[0], x[1][0], x[1][1][0]]),
    ("ZipTable", L.ZipTable(), [[draw(1), draw(2)], [draw(3), draw(4)]],
     lambda x: [list(z) for z in zip(*x, strict=True)]),
    ("ZipTable empty", L.ZipTable(), [[], []], lambda x: []),
    ("ZipTableOneToMany", L.ZipTableOneToMany(), [draw(1), [draw(2), draw(3)]], lambda x: [[x[0], y] for y in x[1]]),
    ("ReverseTable", L.ReverseTable(), [draw(1), draw(2)], lambda x: [x[1], x[0]]),
    ("CAddTable", L.CAddTable(), [draw(3, 4), draw(3, 4), draw(3, 4)], lambda x: x[0] + x[1] + x[2]),
    ("CAddTable one", L.CAddTable(), [draw(3, 4)], lambda x: x[0]),
    ("CSubTable", L.CSubTable(), [draw(3, 4), draw(3, 4)], lambda x: x[0] - x[1]),
    ("CMulTable", L.CMulTable(), [draw(3, 4), draw(3, 4), draw(3, 4)], lambda x: x[0] * x[1] * x[2]),
    ("CDivTable", L.CDivTable(), [draw(3, 4), positive(3, 4)], lambda x: x[0] / x[1]),
    ("CMaxTable", L.CMaxTable(), [draw(3, 4), draw(3, 4), draw(3, 4)], lambda x: torch.stack(x).amax(0)),
    ("CMinTable", L.CMinTable(), [draw(3, 4), draw(3, 4)], lambda x: torch.stack(x).amin(0)),
    ("DotProduct", L.DotProduct(), [draw(3, 4), draw(3, 4)], lambda x: (x[0] * x[1]).sum(1)),
    ("DotProduct vectors", L.DotProduct(), [draw(4), draw(4)], lambda x: x[0] @ x[1]),
    ("MixtureTable", L.MixtureTable(), [draw(3, 2), [draw(3, 4)] * 2],
     lambda x: torch.einsum("ne,end->nd", x[0], torch.stack(x[1]))),
    ("MixtureTable tensor", L.MixtureTable(), [draw(3, 2), draw(3, 2, 4)], lambda x: torch.einsum("ne,ned->nd", *x)),
    ("MixtureTable dim", L.MixtureTable(2), [draw(3, 2), draw(3, 4, 2)], lambda x: torch.einsum("ne,nde->nd", *x)),
    ("MixtureTable vector", L.MixtureTable(), [draw(2), draw(2, 4)], lambda x: x[0] @ x[1]),
    ("Abs", L.Abs(), draw(3, 4), torch.abs),
    ("Square", L.Square(), draw(3, 4), torch.square),
    ("Sqrt", L.Sqrt(), positive(3, 4), torch.sqrt),
    ("Exp", L.Exp(), draw(3, 4), torch.exp),
    ("Log", L.Log(), positive(3, 4), torch.log),
    ("AddConstant", L.AddConstant(-1.5), draw(3, 4), lambda x: x - 1.5),
    ("MulConstant", L.MulConstant(0.25), draw(3, 4), lambda x: x / 4),
    ("SAdd", L.SAdd(2), draw(3, 4), lambda x: x + 2),
    ("SAdd negate", L.SAdd(-1, negate=True), draw(3, 4), lambda x: 1 - x),
    ("Select", L.Select(0, -1), draw(5, 3, 4), lambda x: x[4]),
    ("Narrow", L.Narrow(1, 1, 2), draw(3, 5), lambda x: x[:, 1:3]),
    ("Narrow negative", L.Narrow(-1, -3, -2), draw(3, 5), lambda x: x[:, 2:4]),
    ("Transpose", L.Transpose((0, 1), (1, -1)), draw(3, 5, 4), lambda x: x.permute(1, 2, 0)),
    ("View", L.View(2, 6), draw(12), lambda x: x.view(2, 6)),
    ("View batch", L.View(12), draw(3, 2, 6), lambda x: x.view(3, 12)),
    ("View rest", L.View(-1, 4), draw(3, 2, 6), lambda x: x.view(9, 4)),
    ("View rows", L.View(-1, n_input_dims=2), draw(1, 2, 6), lambda x: x.view(1, 12)),
    ("View of no row", L.View(12, n_input_dims=2), draw(2, 6), lambda x: x.view(12)),
    ("Reshape", L.Reshape(2, 6), draw(12), lambda x: x.view(2, 6)),
    ("Reshape batch", L.Reshape(2, 6), draw(3, 12), lambda x: x.view(3, 2, 6)),
    ("Reshape batch of 1", L.Reshape(2, 6), draw(1, 12), lambda x: x.view(1, 2, 6)),
    ("Reshape never a batch", L.Reshape(2, 6, batch_mode=False), draw(1, 12), lambda x: x.view(2, 6)),
    ("Reshape always a batch", L.Reshape((1, 1), batch_mode=True), draw(3, 1), lambda x: x.view(3, 1, 1)),
    ("Squeeze", L.Squeeze(), draw(1, 3, 1), lambda x: x.view(3)),
    ("Squeeze dim", L.Squeeze(0, 2), draw(1, 1, 3), lambda x: x.view(1, 3)),
    ("Unsqueeze", L.Unsqueeze(1), draw(3, 4), lambda x: x.view(3, 1, 4)),
    ("Unsqueeze batch", L.Unsqueeze(0, 1), draw(3, 4), lambda x: x.view(3, 1, 4)),
    ("Unsqueeze last", L.Unsqueeze(-1), draw(3, 4), lambda x: x.view(3, 4, 1)),
    ("Replicate", L.Replicate(5), draw(3, 4), lambda x: torch.stack([x] * 5)),
    ("Replicate batch", L.Replicate(5, 0, 1), draw(3, 4), lambda x: torch.stack([x] * 5, 1)),
    ("Sum", L.Sum(1), draw(3, 4), lambda x: x @ torch.ones(4).to(x)),
    ("Sum batch", L.Sum(0, 1), draw(3, 4), lambda x: x.sum(1)),
    ("Mean", L.Mean(-2), draw(3, 4), lambda x: x.sum(0) / 3),
    ("Max", L.Max(1), draw(3, 4), lambda x: x.amax(1)),
    ("Min", L.Min(0, 1), draw(3, 4), lambda x: x.amin(1)),
    ("Normalize", L.Normalize(), draw(3, 4), lambda x: x / (x.norm(dim=1, keepdim=True) ** 2 + 1e-10).sqrt()),
    ("Normalize p=3", L.Normalize(3), draw(4), lambda x: x / x.norm(3)),
    ("Normalize inf", L.Normalize(math.inf), draw(3, 4), lambda x: x / x.abs().amax(1, keepdim=True)),
    ("Add", L.Add(4), draw(3, 4), lambda x, b: x + b),
    ("Add sizes", L.Add(2, 4), draw(3, 2, 4), lambda x, b: x + b),
    ("Add scalar", L.Add(scalar=True), draw(3, 4), lambda x, b: x + b[0]),
    ("CMul", L.CMul(4), draw(3, 4), lambda x, w: x * w),
    ("CMul sizes", L.CMul((1, 4)), draw(3, 2, 4), lambda x, w: x * w),
    ("Mul", L.Mul(), draw(3, 4), lambda x, w: x * w[0]),
    ("BatchNormalization", L.BatchNormalization(4), draw(3, 4), lambda x, w, b: standardized(x) * w + b),
    ("BatchNormalization of 1", L.BatchNormalization(4, affine=False), draw(1, 4), lambda x: x / math.sqrt(1 + 1e-5)),
    ("CopyGrad", L.CopyGrad(), draw(3, 4), lambda x: x),
]  # fmt: skip


def parametrized(cases):
    return pytest.mark.parametrize(
        ("layer", "input", "reference"), [pytest.param(*case[1:], id=case[0]) for case in cases]
    )


def assert_close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


@parametrized(CASES)
def test_computes_what_plain_torch_does(layer, input, reference):
    layer = copy.deepcopy(layer).double()
    assert_close(layer(input), reference(input, *layer.parameters()))


@parametrized(CASES)
def test_both_worlds_give_the_gradients_of_plain_torch(layer, input, reference):
    layer = copy.deepcopy(layer).double()
    leaves = tree_map(lambda t: t.clone().requires_grad_(), input)
    outputs = tree_leaves(reference(leaves, *layer.parameters()))
    grads = [torch.randn_like(y) for y in outputs]
    wanted = [*tree_leaves(leaves), *layer.parameters()]
    expected = (
        torch.autograd.grad(outputs, wanted, grads, allow_unused=True, materialize_grads=True)
        if outputs
        else [torch.zeros_like(leaf) for leaf in wanted]
    )
    output = layer.update_output(input)
    layer.zero_grad_parameters()
    given = iter(grads)
    grad_input = layer.backward(input, tree_map(lambda _: next(given), output))
    assert type(grad_input) is type(input)
    assert_close([*tree_leaves(grad_input), *(p.grad for p in layer.parameters())], list(expected))
    assert not any(y.requires_grad for y in tree_leaves(output))


@parametrized([case for case in CASES if tree_leaves(case[2])])
def test_gradcheck(layer, input, reference):
    layer = copy.deepcopy(layer).double()
    leaves = tree_map(lambda t: t.clone().requires_grad_(), input)
    flat = tree_leaves(leaves)
    of_leaves = lambda *_: tuple(tree_leaves(layer(leaves)))  # noqa: E731
    assert torch.autograd.gradcheck(of_leaves, (*flat, *layer.parameters()))


@parametrized(CASES)
def test_travels_by_state_dict_and_has_a_repr(layer, input, reference):
    twin = copy.deepcopy(layer)
    for parameter in twin.parameters():
        torch.nn.init.zeros_(parameter)
    twin.load_state_dict(layer.state_dict())
    assert_close(twin.double()(input), copy.deepcopy(layer).double()(input))
    assert type(layer).__name__ in repr(layer)


@given(st.integers(1, 4), st.data())
def test_join_undoes_split(n_dims, data):
    shape = data.draw(st.lists(st.integers(1, 3), min_size=n_dims, max_size=n_dims))
    dim = data.draw(st.integers(-n_dims, n_dims - 1))
    x = draw(*shape)
    parts = L.SplitTable(dim)(x)
    assert len(parts) == shape[dim]
    assert torch.equal(L.JoinTable(dim)([part.unsqueeze(dim) for part in parts]), x)


@given(st.recursive(st.integers(), lambda inner: st.lists(inner) | st.tuples(inner, inner)))
def test_flatten_keeps_the_order_of_the_leaves(tree):
    table = [tree]
    assert L.FlattenTable()(table) == tree_leaves(table)


def test_equal_elements_give_their_gradient_to_the_first():
    for layer in (L.CMaxTable(), L.CMinTable()):
        x = [torch.ones(2), torch.ones(2)]
        layer.update_output(x)
        assert_close(layer.backward(x, torch.ones(2)), [torch.ones(2), torch.zeros(2)])


def test_the_gradient_of_sqrt_at_zero_is_zero():
    x = torch.tensor([0.0, 4.0], requires_grad=True)
    L.Sqrt()(x).sum().backward()
    assert_close(x.grad, torch.tensor([0.0, 0.25]))


def test_constant_repeats_for_a_batch_and_gives_zero_gradients():
    layer = L.Constant([1.0, 2.0], n_input_dims=1)
    x = torch.randn(3, 4)
    y = layer.update_output(x)
    assert_close(y, torch.tensor([[1.0, 2.0]] * 3))
    assert_close(layer.backward(x, torch.ones_like(y)), torch.zeros(3, 4))
    assert_close(layer(torch.randn(4)), torch.tensor([1.0, 2.0]))
    assert_close(L.Constant(3)(["anything"]), torch.tensor(3))


def test_arg_max_gives_ids_and_zero_gradients():
    x = torch.tensor([[0.0, 2.0, 1.0], [5.0, 1.0, 1.0]])
    layer = L.ArgMax(0, n_input_dims=1)
    assert_close(layer.update_output(x), torch.tensor([1, 0]))
    assert_close(layer.backward(x, torch.zeros(2)), torch.zeros(2, 3))


def test_lookup_table_gathers_and_leaves_the_padding_alone():
    layer = L.LookupTable(5, 3, padding_index=-5)
    ids = torch.tensor([[0, 4, 4], [1, 0, 2]], dtype=torch.int32)
    assert_close(layer.update_output(ids), layer.weight.detach()[ids.long()])
    layer.zero_grad_parameters()
    assert_close(layer.backward(ids, torch.ones(2, 3, 3)), torch.zeros_like(ids))
    assert layer.weight[0].abs().sum() > 0
    assert layer.weight.grad[:, 0].tolist() == [0, 1, 1, 0, 2]


@given(st.floats(0.1, 3), st.sampled_from([1.0, 2.0]))
def test_lookup_table_renorms_what_it_looks_up_in_place(max_norm, norm_type):
    layer = L.LookupTable(4, 3, max_norm=max_norm, norm_type=norm_type)
    before = layer.weight.detach().clone()
    layer(torch.tensor([0, 2]))
    norms = layer.weight.detach().norm(norm_type, dim=1)
    assert torch.equal(layer.weight[[1, 3]], before[[1, 3]])
    assert torch.all(norms[[0, 2]] <= max_norm * 1.001)


def test_batch_normalization_keeps_running_averages_and_uses_them_in_evaluation():
    layer = L.BatchNormalization(4, momentum=0.5).double()
    x = draw(6, 4)
    layer(x)
    assert_close(layer.running_mean, 0.5 * x.mean(0))
    assert_close(layer.running_var, 0.5 + 0.5 * x.var(0))
    assert set(layer.state_dict()) == {"weight", "bias", "running_mean", "running_var"}
    layer.eval()
    y = (x - layer.running_mean) / (layer.running_var + 1e-5).sqrt() * layer.weight + layer.bias
    assert_close(layer(x), y)
    assert_close(layer.running_mean, 0.5 * x.mean(0))


@pytest.mark.parametrize(
    ("parameter", "low", "high", "spread"),
    [
        (L.Add(10000).bias, -0.01, 0.01, 0.01 / math.sqrt(3)),
        (L.Add(100, 100).bias, -0.1, 0.1, 0.1 / math.sqrt(3)),
        (L.CMul(100, 100).weight, -0.01, 0.01, 0.01 / math.sqrt(3)),
        (L.Mul().weight, -1, 1, None),
        (L.BatchNormalization(10000).weight, 0, 1, 1 / math.sqrt(12)),
        (L.LookupTable(100, 100).weight, -9, 9, 1),
    ],
)
def test_first_values_have_the_distribution_of_the_original(parameter, low, high, spread):
    assert low <= parameter.min() <= parameter.max() <= high
    if spread is not None:
        assert parameter.std().item() == pytest.approx(spread, rel=0.05)


ERRORS = [
    (lambda: L.JoinTable(1.0), TypeError, "JoinTable: dim must be an integer; got 1.0"),
    (lambda: L.JoinTable(0, 0), ValueError, "n_input_dims must be at least 1; got 0"),
    (lambda: L.JoinTable(0)(torch.ones(2)), TypeError, r"must be a table .* got a tensor of shape \(2,\)"),
    (lambda: L.JoinTable(0)([]), ValueError, "at least one element"),
    (lambda: L.JoinTable(0)([torch.ones(1), 3]), TypeError, r"input\[1\] must be a tensor; got int"),
    (lambda: L.JoinTable(2)([torch.ones(1, 2)]), ValueError, "dim=2 is not a dimension .* expected -2 to 1"),
    (lambda: L.JoinTable(0)([torch.ones(1, 2), torch.ones(1, 3)]), ValueError, "all sizes but that of"),
    (lambda: L.SplitTable(0)([torch.ones(1)]), TypeError, r"input must be a tensor; got \[\(1,\)\]"),
    (lambda: L.SplitTable(1, 1)(torch.ones(2, 2)), ValueError, "dim=1 of each row of the batch"),
    (lambda: L.SelectTable("a"), TypeError, "index must be an integer; got 'a'"),
    (lambda: L.SelectTable(2)([1, 2]), ValueError, "no position 2 in a table of 2 elements"),
    (lambda: L.SelectTable(-3)([1, 2]), ValueError, "no position -3"),
    (lambda: L.NarrowTable(0, 0), ValueError, "length must be at least 1"),
    (lambda: L.NarrowTable(1, 2)([1, 2]), ValueError, "2 elements from 1 on exceed a table of 2"),
    (lambda: L.ZipTable()([[1, 2], [3]]), ValueError, r"one length; got \[2, 1\]"),
    (lambda: L.ZipTable()([[1], 3]), TypeError, r"input\[1\] must be a table .* got int"),
    (lambda: L.ZipTableOneToMany()([1]), ValueError, "must have 2 elements; got 1"),
    (lambda: L.CAddTable()([torch.ones(3, 2), torch.ones(2)]), ValueError, r"one shape; got \[\(3, 2\), \(2,\)\]"),
    (lambda: L.CSubTable()([torch.ones(2)] * 3), ValueError, "must have 2 elements; got 3"),
    (lambda: L.MixtureTable()([torch.ones(3, 2), [torch.ones(3, 4)]]), ValueError, "one weight for each expert"),
    (lambda: L.MixtureTable()([torch.ones(1, 1, 1), []]), ValueError, r"must be \(N, E\) or \(E,\)"),
    (lambda: L.Abs()([torch.ones(1)]), TypeError, "Abs: input must be a tensor"),
    (lambda: L.MulConstant("2"), TypeError, "constant must be a number; got '2'"),
    (lambda: L.Add(), ValueError, "at least one size"),
    (lambda: L.Add(0), ValueError, "size must be at least 1; got 0"),
    (lambda: L.Add(4)(torch.ones(3, 5)), ValueError, r"end in the size of the bias, \(4,\); got \(3, 5\)"),
    (lambda: L.CMul(3, 4)(torch.ones(4)), ValueError, r"end in the size of the gain, \(3, 4\); got \(4,\)"),
    (lambda: L.Select(0, 5)(torch.ones(5)), ValueError, "no position 5 in dimension 0 of 5"),
    (lambda: L.Narrow(0, 2, 4)(torch.ones(5)), ValueError, "4 slices from 2 on are not in dimension 0 of 5"),
    (lambda: L.Transpose(0, 1), ValueError, "expected pairs of dimensions"),
    (lambda: L.View(-1, -1), ValueError, "at most one size can be -1"),
    (lambda: L.View(5)(torch.ones(3, 4)), ValueError, "does not divide into rows"),
    (lambda: L.Reshape(5)(torch.ones(3, 4)), ValueError, "5 elements for each of 3 rows"),
    (lambda: L.Replicate(0), ValueError, "n must be at least 1"),
    (lambda: L.Sum(2)(torch.ones(3, 4)), ValueError, "Sum: dim=2 is not a dimension"),
    (lambda: L.Normalize(0), ValueError, "p must be positive"),
    (lambda: L.Normalize()(torch.ones(1, 1, 1)), ValueError, r"must be \(N, D\) or \(D,\)"),
    (lambda: L.BatchNormalization(4)(torch.ones(4)), ValueError, r"a batch \(N, 4\); got \(4,\)"),
    (lambda: L.BatchNormalization(4, momentum=2), ValueError, "momentum must be 0 to 1"),
    (lambda: L.BatchNormalization(4, eps=-1), ValueError, "eps must not be negative"),
    (lambda: L.LookupTable(0, 4), ValueError, "n_index must be at least 1"),
    (lambda: L.LookupTable(4, 4, max_norm=0), ValueError, "max_norm must be positive"),
    (lambda: L.LookupTable(4, 4, norm_type=0), ValueError, "norm_type must be positive"),
    (lambda: L.LookupTable(4, 4, padding_index=4), ValueError, "no position 4"),
    (lambda: L.LookupTable(4, 4)(torch.ones(2)), TypeError, r"integer ids; got torch.float32. .*\.long\(\)"),
    (lambda: L.LookupTable(4, 4)(torch.tensor([4])), ValueError, "ids must be 0 to 3; got 4 to 4"),
    (lambda: L.LookupTable(4, 4)(torch.tensor([-1])), ValueError, "ids must be 0 to 3; got -1 to -1"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
