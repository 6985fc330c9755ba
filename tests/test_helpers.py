"""Clipping, decay, momentum and norms around an update, and modules that share parameters."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchrnn import (
    LSTM,
    BatchNormalization,
    LookupTable,
    NCECriterion,
    NCEModule,
    Recursor,
    SeqLSTM,
    Sequencer,
    Sequential,
    check_parameters,
    grad_param_clip,
    max_param_norm,
    momentum_grad_parameters,
    update_grad_parameters,
    weight_decay,
)


def perceptron():
    return Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def tied():
    """Two places for one matrix, as in a language model."""
    net = Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    net.get(1).weight = net.get(0).weight
    return net


# A network, and which of its parameters, in their order, belong to one module.
NETS = {
    "perceptron": (perceptron, [[0, 1], [2, 3]]),
    "plain torch": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)), [[0, 1], [2, 3]]),
    "tied": (tied, [[0], [1]]),
    "the same module twice": (lambda: Sequential(*[nn.Linear(4, 4)] * 2), [[0, 1]]),
    "recurrent": (lambda: Sequencer(SeqLSTM(4, 6, 2)), [[0, 1, 2]]),
}
each_net = pytest.mark.parametrize(("make", "groups"), NETS.values(), ids=NETS)


def with_gradients(net):
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    return net


def grads(net):
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def values(net):
    return [p.detach().clone() for p in net.parameters()]


def norm_of(tensors):
    return math.sqrt(sum((t.double() ** 2).sum().item() for t in tensors))


def assert_close(left, right):
    torch.testing.assert_close(left, right)


# ---------------------------------------------------------------------- clipping


@each_net
@given(cutoff=st.floats(0.01, 100))
def test_clipping_scales_to_the_cutoff_and_returns_the_norm_before(make, groups, cutoff):
    net = with_gradients(make())
    before = grads(net)
    norm = norm_of(before)
    assert grad_param_clip(net, cutoff).item() == pytest.approx(norm, rel=1e-5)
    assert_close(grads(net), [g * min(1, cutoff / norm) for g in before])


@each_net
def test_clipping_by_module(make, groups):
    net = with_gradients(make())
    before = grads(net)
    assert grad_param_clip(net, 0.5, module_local=True).item() == pytest.approx(norm_of(before), rel=1e-5)
    after = grads(net)
    for group in groups:
        own = [before[index] for index in group]
        assert_close([after[index] for index in group], [g * min(1, 0.5 / norm_of(own)) for g in own])


@pytest.mark.parametrize("cutoff", [0, -1])
def test_clipping_may_be_off_and_still_tells_the_norm(cutoff):
    net = with_gradients(perceptron())
    before = grads(net)
    assert grad_param_clip(net, cutoff).item() == pytest.approx(norm_of(before), rel=1e-5)
    assert_close(grads(net), before)


def test_clipping_without_gradients_and_with_sparse_ones():
    net = perceptron()
    assert grad_param_clip(net, 1) == 0
    net.get(0).bias.grad = torch.tensor([3.0, 0, 0, 0, 0, 4.0])
    assert grad_param_clip(net, 1) == 5
    layer = NCEModule(4, 50, 5, torch.ones(50), sparse=True)
    NCECriterion()(layer([torch.randn(3, 4), torch.tensor([7, 7, 9])])).backward()
    dense = layer.weight.grad.to_dense()
    norm = grad_param_clip(layer, 1e-3).item()
    assert norm == pytest.approx(norm_of([dense, layer.bias.grad * norm / 1e-3]), rel=1e-4)
    assert_close(layer.weight.grad.to_dense(), dense * 1e-3 / norm)


# ---------------------------------------------------------------------- decay and momentum


@each_net
def test_weight_decay_adds_the_weights_once(make, groups):
    net = with_gradients(make())
    before = grads(net)
    weight_decay(net, 0.1)
    decayed = [g + 0.1 * w if w.dim() > 1 else g for g, w in zip(before, values(net), strict=True)]
    assert_close(grads(net), decayed)
    weight_decay(net, -1)
    assert_close(grads(net), decayed)
    weight_decay(net, 0.2, min_dim=1)
    assert_close(grads(net), [g + 0.2 * w for g, w in zip(decayed, values(net), strict=True)])


MOMENTA = [(0.9, None, False), (0.9, 0.0, False), (0.5, 0.2, False), (0.9, 0.0, True), (0.9, None, True)]


@each_net
@pytest.mark.parametrize(("momentum", "damping", "nesterov"), MOMENTA)
def test_momentum_follows_its_equations(make, groups, momentum, damping, nesterov):
    net = make()
    kept = None
    for _ in range(4):
        with_gradients(net)
        given = grads(net)
        share = 1 - (momentum if damping is None else damping)
        kept = given if kept is None else kept
        kept = [momentum * v + share * g for v, g in zip(kept, given, strict=True)]
        expected = [g + momentum * v for v, g in zip(kept, given, strict=True)] if nesterov else kept
        update_grad_parameters(net, momentum, damping, nesterov)
        assert_close(grads(net), expected)
        assert_close(momentum_grad_parameters(net), kept)


def test_momentum_without_damping_is_that_of_torch_after_the_first_step():
    ours, theirs = perceptron(), perceptron()
    theirs.load_state_dict(ours.state_dict())
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, dampening=0.9)
    for _ in range(4):
        with_gradients(ours)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = mine.grad.clone()
        update_grad_parameters(ours, 0.9)
        ours.update_parameters(0.1)
        optimizer.step()
        assert_close(values(ours), values(theirs))


def test_momentum_may_be_off():
    net = with_gradients(perceptron())
    before = grads(net)
    update_grad_parameters(net, 0)
    assert_close(grads(net), before)
    assert not any("momentum" in vars(p) for p in net.parameters())


def test_buffers_begin_as_copies_and_belong_to_the_parameters():
    net = perceptron()
    assert momentum_grad_parameters(net) == []
    with_gradients(net)
    buffers = momentum_grad_parameters(net)
    assert_close(buffers, grads(net))
    assert buffers[0] is not net.get(0).weight.grad
    assert momentum_grad_parameters(net.get(0))[0] is buffers[0]
    assert set(net.state_dict()) == set(perceptron().state_dict())
    net.get_parameters()
    assert momentum_grad_parameters(net)[0] is buffers[0]
    assert momentum_grad_parameters(net.double())[0].dtype == torch.float64
    assert not any("momentum" in vars(p) for p in copy.deepcopy(net).parameters())


# ---------------------------------------------------------------------- norms


def norms(weight, along):
    return weight.detach().movedim(along, 0).flatten(1).norm(dim=1)


@pytest.mark.parametrize(("max_out", "max_in"), [(0.5, None), (None, 0.3), (0.5, 0.3), (-1, 0.4), (None, None)])
@pytest.mark.parametrize("make", [perceptron, lambda: nn.Conv1d(3, 5, 2)])
def test_rows_and_columns_are_bounded_and_what_is_within_stays(make, max_out, max_in):
    net = make()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    before = values(net)
    max_param_norm(net, max_out, max_in)
    for weight, old in zip(values(net), before, strict=True):
        if weight.dim() == 1:
            assert torch.equal(weight, old)
            continue
        expected = old
        for along, bound in (0, max_out), (-1, max_in):
            if bound is not None and bound > 0:
                assert (norms(weight, along) <= bound + 1e-5).all()
                shape = [-1 if dim == along % old.dim() else 1 for dim in range(old.dim())]
                expected = expected * (bound / norms(expected, along)).clamp(max=1).view(shape)
        assert_close(weight, expected)


@pytest.mark.parametrize("table", [LookupTable(9, 4), nn.Embedding(9, 4)], ids=["LookupTable", "Embedding"])
@pytest.mark.parametrize(
    ("max_out", "max_in", "of_columns", "of_rows"),
    [(0.5, None, 0.5, None), (None, 0.5, 0.5, 0.5), (-1, 0.5, None, 0.5), (0.7, 0.2, 0.7, 0.2)],
)
def test_tables_of_vectors_lie_the_other_way_round(table, max_out, max_in, of_columns, of_rows):
    nn.init.normal_(table.weight, std=2)
    max_param_norm(table, max_out, max_in)
    for along, bound in (-1, of_columns), (0, of_rows):
        assert (norms(table.weight, along).max() <= (bound or math.inf) + 1e-5).all()
    if of_rows is None:
        assert norms(table.weight, 0).max() > 0.2


def test_a_step_in_the_usual_order_goes_through_a_network_that_is_trained_explicitly():
    net = perceptron()
    x, y = torch.randn(8, 4), torch.randn(8, 3)
    losses = []
    for _ in range(30):
        error = net.update_output(x) - y
        losses.append((error**2).mean().item())
        net.zero_grad_parameters()
        net.backward(x, 2 * error / error.numel())
        grad_param_clip(net, 5)
        weight_decay(net, 1e-4)
        update_grad_parameters(net, 0.5)
        net.update_parameters(0.3)
        max_param_norm(net, 2)
    assert losses[-1] < 0.8 * losses[0]


def test_broken_parameters_are_named():
    net = tied()
    check_parameters(net)
    with torch.no_grad():
        net.get(0).weight[1, 2] = float("nan")
        net.get(1).bias[:2] = float("inf")
    with pytest.raises(ValueError, match=r"in 0\.weight \(1 of 20 values\), 1\.bias \(2 of 5 values\)\. Go back"):
        check_parameters(net)


# ---------------------------------------------------------------------- sharing

SHARED = [(True, True), (True, False), (False, True), (False, False)]
each_way = pytest.mark.parametrize(("share_params", "share_grads"), SHARED)
CLONED = {
    "perceptron": perceptron,
    "tied": tied,
    "LSTM": lambda: LSTM(4, 6),
    "Sequencer": lambda: Sequencer(Sequential(LSTM(4, 6), nn.Linear(6, 2))),
    "NCEModule": lambda: NCEModule(4, 9, 3, torch.ones(9)),
}


@each_way
@pytest.mark.parametrize("make", CLONED.values(), ids=CLONED)
def test_a_clone_shares_what_it_is_told_to(make, share_params, share_grads):
    net = with_gradients(make())
    clone = net.shared_clone(share_params, share_grads)
    assert type(clone) is type(net)
    assert clone is not net
    assert_close(values(clone), values(net))
    assert len(list(clone.parameters())) == len(list(net.parameters()))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
            parameter.grad.add_(1)
    for mine, its in zip(net.parameters(), clone.parameters(), strict=True):
        assert torch.equal(mine, its) == share_params
        assert (its.grad is mine.grad) == share_grads


@pytest.mark.parametrize("share_params", [True, False])
def test_gradients_are_shared_before_there_are_any(share_params):
    net = perceptron()
    clone = net.shared_clone(share_params)
    net.zero_grad_parameters()
    x = torch.randn(2, 4)
    clone.update_output(x)
    clone.backward(x, torch.ones(2, 3))
    assert net.get(0).weight.grad.any()
    assert_close(grads(net), grads(clone))


def test_both_halves_of_a_siamese_network_learn_as_one():
    net = perceptron()
    clone = net.shared_clone()
    x, y = torch.randn(2, 4), torch.randn(2, 4)
    (net(x).sum() + clone(y).sum()).backward()
    both = grads(net)
    net.zero_grad()
    (net(x).sum() + net(y).sum()).backward()
    assert_close(grads(net), both)
    clone.get_parameters()[0].zero_()
    assert not net(x).any()


def test_a_clone_has_its_own_memory_and_shares_running_statistics():
    lstm = LSTM(4, 6)
    lstm(torch.randn(3, 4))
    clone = lstm.shared_clone()
    clone.forget()
    assert len(lstm.outputs) == 1
    assert clone(torch.randn(2, 4)).shape == (2, 6)

    norm = Sequential(BatchNormalization(4))
    clone = norm.shared_clone()
    clone(torch.randn(5, 4) + 3)
    assert norm.get(0).running_mean.any()
    assert_close(list(clone.buffers()), list(norm.buffers()))


def test_a_step_clone_keeps_the_recurrent_modules():
    net = Sequential(LSTM(4, 6), nn.Linear(6, 2), Sequential(Recursor(LSTM(2, 3))))
    clone = net.step_clone()
    assert clone is not net
    assert clone.get(0) is net.get(0)
    assert clone.get(1) is not net.get(1)
    assert clone.get(1).weight is net.get(1).weight
    assert clone.get(2) is not net.get(2)
    assert clone.get(2).get(0) is net.get(2).get(0)
    lstm = LSTM(4, 6)
    assert lstm.step_clone() is lstm
    sequencer = Sequencer(lstm)
    assert sequencer.step_clone().get() is not lstm


def test_share_uses_the_parameters_of_another():
    net, other = with_gradients(perceptron()), with_gradients(perceptron())
    bias = net.get(0).bias
    assert net.share(other, "weight") is net
    assert net.get(0).weight is other.get(0).weight
    assert net.get(2).weight.grad is other.get(2).weight.grad
    assert net.get(0).bias is bias
    net.share(other)
    assert all(mine is its for mine, its in zip(net.parameters(), other.parameters(), strict=True))

    whole, step = SeqLSTM(4, 6), SeqLSTM(4, 6)
    whole.share(step, "weight", "bias")
    assert whole.weight is step.weight
    norm, like = Sequential(BatchNormalization(4)), Sequential(BatchNormalization(4))
    norm.share(like, "running_mean")
    assert norm.get(0).running_mean is like.get(0).running_mean
    assert norm.get(0).running_var is not like.get(0).running_var


def test_what_is_shared_survives_copies_and_files():
    pair = nn.ModuleList([perceptron(), perceptron()])
    pair[0].share(pair[1])
    for twin in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        assert twin[0].get(0).weight is twin[1].get(0).weight


def test_nothing_is_shared_where_something_does_not_fit():
    net, other = perceptron(), Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))
    own = list(net.parameters())
    with pytest.raises(ValueError, match=r"'2\.weight' of shape \(3, 6\).*that one is \(5, 6\)\. Nothing was shared"):
        net.share(other)
    assert all(mine is its for mine, its in zip(own, net.parameters(), strict=True))


# ---------------------------------------------------------------------- errors

ERRORS = [
    (lambda: grad_param_clip(perceptron(), None), TypeError, "grad_param_clip: cutoff must be a number; got None"),
    (lambda: weight_decay(perceptron(), "a"), TypeError, "weight_decay: factor must be a number; got 'a'"),
    (lambda: update_grad_parameters(perceptron(), None), TypeError, "momentum must be a number"),
    (lambda: update_grad_parameters(perceptron(), 0.9, "a"), TypeError, "damping must be a number"),
    (lambda: max_param_norm(perceptron(), "a"), TypeError, "max_param_norm: max_out must be a number"),
    (lambda: max_param_norm(perceptron(), 1, True), TypeError, "max_in must be a number; got True"),
    (lambda: perceptron().share(nn.Linear(4, 6)), ValueError, r"'0\.weight' .*there is none"),
    (lambda: perceptron().share(perceptron(), "wait"), ValueError, r"is called \['wait'\]"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
