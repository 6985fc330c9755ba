"""Every criterion, from one table of cases, and what each of them refuses."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

from torchrnn import layers as L

V = 7
IDS = torch.tensor([2, 0, 6])
IGNORED = torch.tensor([2, -1, 6])
WEIGHTS = torch.arange(1, V + 1).double() / V


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def scores(*shape):
    return draw(*shape).log_softmax(-1)


def chances(*shape):
    return draw(*shape).sigmoid()


def nll(x, t, weights=None):
    w = torch.ones(len(t)).to(x) if weights is None else weights[t]
    return -(w * x.gather(1, t[:, None])[:, 0]).sum() / w.sum()


def sequence_nll(x, t):
    return -x.gather(2, t[..., None]).sum()


# What it is called, the criterion, input, target, and the same in plain torch.
CASES = [
    ("ClassNLL", L.ClassNLLCriterion(), scores(3, V), IDS, nll),
    ("ClassNLL weights", L.ClassNLLCriterion(WEIGHTS), scores(3, V), IDS, lambda x, t: nll(x, t, WEIGHTS)),
    ("ClassNLL sum", L.ClassNLLCriterion(size_average=False), scores(3, V), IDS, lambda x, t: 3 * nll(x, t)),
    ("ClassNLL ignore", L.ClassNLLCriterion(ignore_index=0), scores(3, V), IDS, lambda x, t: nll(x[[0, 2]], t[[0, 2]])),
    ("ClassNLL ignore and weights", L.ClassNLLCriterion(WEIGHTS.tolist(), ignore_index=-1), scores(3, V), IGNORED,
     lambda x, t: nll(x[[0, 2]], t[[0, 2]], WEIGHTS)),
    ("ClassNLL all ignored", L.ClassNLLCriterion(), scores(2, V), torch.tensor([-100, -100]), lambda x, t: 0 * x.sum()),
    ("ClassNLL of nothing", L.ClassNLLCriterion(), scores(0, V), IDS[:0], lambda x, t: x.sum()),
    ("ClassNLL one", L.ClassNLLCriterion(WEIGHTS), scores(V), torch.tensor(3), lambda x, t: -x[3]),
    ("ClassNLL one in a row", L.ClassNLLCriterion(), scores(V), IDS[:1].int(), lambda x, t: -x[2]),
    ("ClassNLL number", L.ClassNLLCriterion(), scores(V), 3, lambda x, t: -x[3]),
    ("CrossEntropy", L.CrossEntropyCriterion(), draw(3, V), IDS, lambda x, t: F.cross_entropy(x, t)),
    ("CrossEntropy weights", L.CrossEntropyCriterion(WEIGHTS), draw(3, V), IDS,
     lambda x, t: F.cross_entropy(x, t, WEIGHTS)),
    ("CrossEntropy one", L.CrossEntropyCriterion(), draw(V), torch.tensor(3), lambda x, t: F.cross_entropy(x, t)),
    ("MSE", L.MSECriterion(), draw(3, 4), draw(3, 4), lambda x, t: ((x - t) ** 2).mean()),
    ("MSE sum", L.MSECriterion(False), draw(3, 4), draw(3, 4), lambda x, t: ((x - t) ** 2).sum()),
    ("MSE of nothing", L.MSECriterion(), draw(0, 4), draw(0, 4), lambda x, t: x.sum()),
    ("DistKLDiv", L.DistKLDivCriterion(), scores(3, V), scores(3, V).exp(), lambda x, t: (t * (t.log() - x)).mean()),
    ("DistKLDiv sum", L.DistKLDivCriterion(False), scores(2), torch.tensor([0.0, 1.0]), lambda x, t: -x[1]),
    ("BCE", L.BCECriterion(), chances(3, 4), chances(3, 4), F.binary_cross_entropy),
    ("BCE sum", L.BCECriterion(size_average=False), chances(4), chances(4),
     lambda x, t: 4 * F.binary_cross_entropy(x, t)),
    ("BCE weights", L.BCECriterion(WEIGHTS[:4]), chances(3, 4), chances(3, 4),
     lambda x, t: F.binary_cross_entropy(x, t, WEIGHTS[:4].expand(3, 4))),
    ("Multi", L.MultiCriterion(L.MSECriterion()).add(nn.L1Loss(), 0.5), draw(3, 4), draw(3, 4),
     lambda x, t: ((x - t) ** 2).mean() + 0.5 * (x - t).abs().mean()),
    ("Parallel", L.ParallelCriterion(nn.MSELoss()).add(nn.NLLLoss(), 0.3), [draw(2), scores(3, V)], [draw(2), IDS],
     lambda x, t: ((x[0] - t[0]) ** 2).mean() + 0.3 * nll(x[1], t[1])),
    ("Parallel repeated", L.ParallelCriterion(nn.L1Loss(), nn.MSELoss(), repeat_target=True), (draw(2), draw(2)),
     draw(2),
     lambda x, t: (x[0] - t).abs().mean() + ((x[1] - t) ** 2).mean()),
    ("Module", L.ModuleCriterion(L.MSECriterion(), nn.Flatten(), nn.Tanh()), draw(3, 2, 2), draw(3, 4),
     lambda x, t: ((x.view(3, 4) - t.tanh()) ** 2).mean()),
    ("Module alone", L.ModuleCriterion(nn.SmoothL1Loss()), draw(3, 2), draw(3, 2), F.smooth_l1_loss),
    ("Sequencer", L.SequencerCriterion(L.ClassNLLCriterion()), scores(5, 3, V), torch.randint(V, (5, 3)),
     lambda x, t: sequence_nll(x, t) / 3),
    ("Sequencer table", L.SequencerCriterion(nn.NLLLoss()), [scores(3, V), scores(2, V)], (IDS, IDS[:2]),
     lambda x, t: nll(x[0], t[0]) + nll(x[1], t[1])),
    ("Sequencer average", L.SequencerCriterion(L.MSECriterion(), True), draw(5, 3), [*draw(5, 3)],
     lambda x, t: ((x - torch.stack(t)) ** 2).mean()),
    ("Sequencer of nothing", L.SequencerCriterion(L.MSECriterion(), True), draw(0, 3), draw(0, 3),
     lambda x, t: x.sum()),
    ("Sequencer of an empty table", L.SequencerCriterion(L.MSECriterion()), [], [], lambda x, t: WEIGHTS.new_zeros(())),
    ("Repeater", L.RepeaterCriterion(L.ClassNLLCriterion()), [scores(3, V), scores(3, V)], IDS,
     lambda x, t: nll(x[0], t) + nll(x[1], t)),
    ("Repeater average", L.RepeaterCriterion(L.MSECriterion(), True), draw(5, 3), draw(3),
     lambda x, t: ((x - t) ** 2).mean()),
    ("Temporal", L.TemporalCrossEntropyCriterion(), draw(3, 5, V), torch.randint(V, (3, 5)),
     lambda x, t: sequence_nll(x.log_softmax(-1), t) / 3),
    ("Temporal sum", L.TemporalCrossEntropyCriterion(False), draw(3, 5, V), torch.randint(V, (3, 5)),
     lambda x, t: sequence_nll(x.log_softmax(-1), t)),
    ("Temporal mean", L.TemporalCrossEntropyCriterion(True, True), draw(3, 5, V), torch.randint(V, (3, 5)),
     lambda x, t: sequence_nll(x.log_softmax(-1), t) / 15),
    ("Temporal ignore", L.TemporalCrossEntropyCriterion(ignore_index=-1), draw(1, 2, V), torch.tensor([[3, -1]]),
     lambda x, t: -x[0, 0].log_softmax(0)[3]),
    ("Temporal of nothing", L.TemporalCrossEntropyCriterion(True, True), draw(0, 0, V), IDS.new_zeros(0, 0),
     lambda x, t: x.sum()),
]  # fmt: skip


def parametrized(cases):
    return pytest.mark.parametrize(
        ("criterion", "input", "target", "reference"), [pytest.param(*case[1:], id=case[0]) for case in cases]
    )


def assert_close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-9, atol=1e-9)


@parametrized(CASES)
def test_both_worlds_agree_with_plain_torch(criterion, input, target, reference):
    leaves = tree_map(lambda t: t.clone().requires_grad_(), input)
    expected = reference(leaves, target)
    flat = tree_leaves(leaves)
    grads = torch.autograd.grad(expected, flat) if flat else ()

    assert_close(criterion(input, target).double(), expected.detach())
    loss = criterion.update_output(input, target)
    assert loss.dim() == 0
    assert not loss.requires_grad
    assert_close(loss.double(), expected.detach())
    grad_input = criterion.backward(input, target)
    assert type(grad_input) is type(input)
    assert_close(tree_leaves(grad_input), list(grads))
    assert not any(leaf.requires_grad for leaf in tree_leaves(input))


@parametrized([case for case in CASES if tree_leaves(case[2])])
def test_gradcheck(criterion, input, target, reference):
    leaves = tree_map(lambda t: t.clone().requires_grad_(), input)
    assert torch.autograd.gradcheck(lambda *_: criterion(leaves, target), tree_leaves(leaves))


@parametrized(CASES)
def test_can_be_copied_and_printed(criterion, input, target, reference):
    twin = copy.deepcopy(criterion)
    assert not twin.state_dict()
    assert_close(twin.double()(input, target), criterion(input, target))
    assert type(criterion).__name__ in repr(criterion)


def test_integer_inputs_get_zeros_and_the_structure_stays():
    class First(L.Criterion):
        def forward(self, input, target):
            return (input["x"][0] * target).sum()

    ids = torch.tensor([1, 2])
    grad = First().backward({"x": (torch.ones(2), ids, None), "y": [torch.ones(3)]}, torch.tensor([3.0, 4.0]))
    assert_close(grad["x"][0], torch.tensor([3.0, 4.0]))
    assert_close(grad["x"][1], torch.zeros_like(ids))
    assert grad["x"][2] is None
    assert_close(grad["y"], [torch.zeros(3)])


def test_a_loss_that_does_not_depend_on_its_input_has_zero_gradients():
    class Nothing(L.Criterion):
        def forward(self, input, target):
            return torch.zeros(())

    assert_close(Nothing().backward(torch.ones(3), None), torch.zeros(3))


def test_backward_does_not_touch_the_parameters_inside():
    linear = nn.Linear(4, 2)
    L.ModuleCriterion(L.MSECriterion(), linear).backward(torch.randn(3, 4), torch.randn(3, 2))
    assert linear.weight.grad is None


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_bce_is_finite_where_it_is_certain(p):
    x = torch.tensor([p], dtype=torch.float64)
    wrong = 1 - x
    assert L.BCECriterion()(x, wrong).item() == pytest.approx(-math.log(1e-12))
    assert L.BCECriterion()(x, x).item() == pytest.approx(0, abs=1e-9)
    assert L.BCECriterion().backward(x, wrong).isfinite().all()


@given(st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_a_sequence_is_the_sum_of_its_steps_as_tensor_and_as_table(n_steps, n, size_average):
    x, t = scores(n_steps, n, V), torch.randint(V, (n_steps, n))
    criterion = L.SequencerCriterion(L.ClassNLLCriterion(), size_average)
    expected = sum(L.ClassNLLCriterion()(a, b) for a, b in zip(x, t, strict=True)) / (n_steps if size_average else 1)
    assert_close(criterion(x, t), expected)
    assert_close(criterion([*x], [*t]), expected)
    assert_close(torch.stack(criterion.backward([*x], t)), criterion.backward(x, t))


NLL, CE, T = L.ClassNLLCriterion, L.CrossEntropyCriterion, L.TemporalCrossEntropyCriterion
ONE = torch.zeros(1, dtype=torch.long)
ERRORS = [
    (lambda: NLL()(torch.ones(3, V), torch.ones(3)), TypeError, r"class ids; got torch.float32. Convert .*\.long\(\)"),
    (lambda: NLL()([1.0], ONE), TypeError, "ClassNLLCriterion: input and target must be tensors"),
    (lambda: NLL()(torch.ones(3, V), IDS[:2]), ValueError, r"got \(3, 7\) with \(2,\)"),
    (lambda: NLL()(torch.ones(3, V), IDS[:, None]), ValueError, r"got \(3, 7\) with \(3, 1\)"),
    (lambda: NLL()(torch.ones(1, 3, V), IDS[None]), ValueError, "Flatten sequences, or use SequencerCriterion"),
    (lambda: CE()(torch.ones(3, 4), IDS), ValueError, "CrossEntropyCriterion: targets must be 0 to 3, .* got 0 to 6"),
    (lambda: NLL()(torch.ones(1, 4), ONE - 1), ValueError, "got -1 to -1. Ids are 0-based"),
    (lambda: NLL(torch.ones(4))(torch.ones(1, 5), ONE), ValueError, "got 4 weights for 5 classes"),
    (lambda: NLL(torch.ones(4, 4)), ValueError, r"one number for each class, \(V,\); got \(4, 4\)"),
    (lambda: L.MSECriterion()(torch.ones(3, 1), torch.ones(3)), ValueError, r"one shape; got \(3, 1\) and \(3,\)"),
    (lambda: L.MSECriterion()(torch.ones(3), 1.0), TypeError, r"must be tensors; got \(3,\) and float"),
    (lambda: L.DistKLDivCriterion()(torch.ones(3), torch.ones(2)), ValueError, "one shape"),
    (
        lambda: L.BCECriterion()(torch.tensor([1.5]), torch.ones(1)),
        ValueError,
        "probabilities, 0 to 1. Apply .*Sigmoid",
    ),
    (lambda: L.BCECriterion([1.0, 2.0])(torch.ones(3), torch.ones(3)), ValueError, r"size of the weights, \(2,\)"),
    (lambda: L.MultiCriterion()(1, 1), ValueError, "there is no criterion; add one"),
    (lambda: L.MultiCriterion(nn.L1Loss), TypeError, "the class L1Loss; make an instance"),
    (lambda: L.MultiCriterion().add(nn.L1Loss(), "1"), TypeError, "weight must be a number; got '1'"),
    (lambda: L.ParallelCriterion(nn.L1Loss())([1, 2], [1, 2]), ValueError, "input must have 1 elements; got 2"),
    (lambda: L.ParallelCriterion(nn.L1Loss())([1], [1, 2]), ValueError, "target must have 1 elements; got 2"),
    (lambda: L.ModuleCriterion(abs), TypeError, "criterion must be a torch.nn.Module"),
    (lambda: L.SequencerCriterion(3), TypeError, "criterion must be a torch.nn.Module; got 3"),
    (
        lambda: L.SequencerCriterion(NLL())(torch.ones(()), []),
        TypeError,
        r"input must be a tensor \(T, ...\) or a table",
    ),
    (lambda: L.SequencerCriterion(NLL())([], 3), TypeError, "target must be a tensor .* got int"),
    (lambda: L.SequencerCriterion(NLL())([1, 2], [1]), ValueError, "as many steps; got 2 and 1"),
    (lambda: L.RepeaterCriterion(NLL())(3, 3), TypeError, "RepeaterCriterion: input must be a tensor"),
    (lambda: T()(torch.ones(3, V), IDS), ValueError, r"\(N, T, V\) with target \(N, T\); got \(3, 7\) with \(3,\)"),
    (lambda: T()(torch.ones(3, 5, V), torch.ones(3, 5)), TypeError, "integer class ids; got torch.float32"),
    (lambda: T()([1], [1]), TypeError, "input and target must be tensors"),
    (lambda: T()(torch.ones(1, 1, V), ONE[None] + V), ValueError, "targets must be 0 to 6, or -100 .* got 7 to 7"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
