"""Noise-contrastive estimation: the sampler, the layer, the loss, and what they come to together."""

from __future__ import annotations

import copy
import math
import pickle
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import torchrnn
from torchrnn import AliasMultinomial, NCECriterion, NCEModule
from torchrnn.nce.alias import CERTAIN

pytestmark = pytest.mark.slow

SIGMAS = 6


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64)


# ---------------------------------------------------------------------- the sampler


def implied_by(sampler):
    """The distribution that the tables of a sampler amount to."""
    thresholds = sampler.thresholds.double() / CERTAIN
    gifts = torch.zeros_like(thresholds).index_add_(0, sampler.aliases, 1 - thresholds)
    return (thresholds + gifts) / len(thresholds)


weights = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=60).filter(any)


@given(weights)
def test_the_tables_amount_to_the_given_distribution(given_weights):
    sampler = AliasMultinomial(given_weights)
    expected = torch.tensor(given_weights, dtype=torch.float64)
    implied = implied_by(sampler)
    torch.testing.assert_close(implied, expected / expected.sum(), rtol=0, atol=1e-12)
    assert not implied[expected == 0].any()
    assert ((sampler.thresholds >= 0) & (sampler.thresholds <= CERTAIN)).all()


def zipf(n):
    return 1 / torch.arange(1, n + 1, dtype=torch.float64)


@pytest.mark.parametrize(
    "given_weights",
    [zipf(200), torch.ones(64), torch.tensor([0.0, 1.0, 0.0, 3.0]), torch.tensor([5]), zipf(50).flip(0) ** 2],
    ids=["Zipf", "uniform", "zeros", "one", "steep"],
)
def test_draws_follow_the_distribution_by_chi_square(given_weights):
    n_draws = 200_000
    sampler = AliasMultinomial(given_weights)
    counts = torch.bincount(sampler.draw(n_draws // 100, 100).flatten(), minlength=len(given_weights)).double()
    expected = n_draws * given_weights.double() / given_weights.sum()
    assert not counts[expected == 0].any()
    possible = expected > 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum().item()
    freedom = int(possible.sum()) - 1
    assert abs(chi_square - freedom) <= SIGMAS * math.sqrt(2 * freedom)


def test_successive_draws_are_independent():
    pairs = AliasMultinomial([1.0, 2.0, 3.0, 4.0]).draw(100_000, 2)
    counts = torch.bincount(4 * pairs[:, 0] + pairs[:, 1], minlength=16).double()
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    expected = 100_000 * torch.outer(shares, shares).flatten()
    assert ((counts - expected) ** 2 / expected).sum() < 15 + SIGMAS * math.sqrt(30)


def test_a_million_outcomes():
    sampler = AliasMultinomial(zipf(1_000_000))
    torch.testing.assert_close(implied_by(sampler), sampler.probabilities, rtol=1e-6, atol=1e-14)


def test_given_weights_stay_and_may_be_counts():
    counts = torch.tensor([3, 0, 1])
    sampler = AliasMultinomial(counts)
    assert counts.tolist() == [3, 0, 1]
    assert sampler.probabilities.tolist() == [0.75, 0, 0.25]
    assert sampler.draw().shape == ()
    assert sampler.draw(0, 4).shape == (0, 4)


def test_precision_does_not_touch_the_tables():
    sampler = AliasMultinomial(zipf(1000))
    before = implied_by(sampler)
    assert torch.equal(implied_by(sampler.to(torch.bfloat16)), before)


# ---------------------------------------------------------------------- the layer


def with_noise(layer, noise):
    layer.noise = lambda target: noise if layer.batch_noise else noise[: len(target)]
    return layer


def layer_of(V, D, k, batch_noise=True, Z=1.0, N=3, **options):
    layer = NCEModule(D, V, k, torch.rand(V, dtype=torch.float64) + 0.1, Z, batch_noise, **options).double()
    return with_noise(layer, torch.randint(V, (1 if batch_noise else N, k)))


def by_hand(layer, h, target, noise):
    """What the layer computes, from all V scores."""
    scores = (h @ layer.weight.T + layer.bias).exp() / layer.Z
    noise = noise.expand(len(h), -1)
    return [
        scores.gather(1, target[:, None])[:, 0],
        scores.gather(1, noise),
        layer.unigrams[target],
        layer.unigrams[noise],
    ]


def loss_by_hand(outputs):
    p_target, p_noise, q_target, q_noise = outputs
    k = p_noise.shape[1]
    from_model = p_target / (p_target + k * q_target)
    from_noise = k * q_noise / (p_noise + k * q_noise)
    return -(from_model.log().sum() + from_noise.log().sum()) / len(p_target)


SIZES = [(3, 4, 7, 4), (1, 1, 1, 1), (5, 3, 11, 20), (2, 6, 3, 1)]
each_size = pytest.mark.parametrize(("N", "D", "V", "k"), SIZES)
each_noise = pytest.mark.parametrize("batch_noise", [True, False])


@each_size
@each_noise
def test_both_worlds_agree_with_all_scores_by_hand(N, D, V, k, batch_noise):
    layer, criterion = layer_of(V, D, k, batch_noise, Z=2.5, N=N), NCECriterion()
    h, target = draw(N, D), torch.randint(V, (N,))
    leaf = h.clone().requires_grad_()
    expected = by_hand(layer, leaf, target, layer.noise(target))
    loss = loss_by_hand(expected)
    grads = torch.autograd.grad(loss, [leaf, layer.weight, layer.bias])

    output = layer.update_output([h, target])
    for ours, theirs in zip(output, expected, strict=True):
        torch.testing.assert_close(ours, theirs.detach())
    torch.testing.assert_close(criterion.update_output(output, None), loss.detach(), rtol=1e-5, atol=1e-6)
    layer.zero_grad_parameters()
    grad_output = criterion.backward(output, target)
    assert not grad_output[2].any()
    assert not grad_output[3].any()
    grad_h, grad_target = layer.backward([h, target], grad_output)
    assert torch.equal(grad_target, torch.zeros_like(target))
    close = {"rtol": 1e-4, "atol": 1e-5}  # the loss by hand has no 1e-7 in it
    torch.testing.assert_close([grad_h, layer.weight.grad, layer.bias.grad], list(grads), **close)

    explicit = [grad_h, layer.weight.grad.clone(), layer.bias.grad.clone()]
    layer.zero_grad()
    criterion(layer([leaf, target])).backward()
    torch.testing.assert_close([leaf.grad, layer.weight.grad, layer.bias.grad], explicit)


@each_noise
def test_gradcheck(batch_noise):
    layer, criterion, target = layer_of(7, 4, 5, batch_noise), NCECriterion(), torch.tensor([3, 0, 6])

    def loss(h, weight, bias):
        parameters = {"weight": weight, "bias": bias}
        return criterion(torch.func.functional_call(layer, parameters, ([h, target],)))

    inputs = [draw(3, 4).requires_grad_(), layer.weight, layer.bias]
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs, atol=1e-4)


@each_noise
def test_it_works_by_the_step_and_in_both_orders_of_calls(batch_noise):
    layer = NCEModule(4, 7, 3, torch.ones(7), 1.0, batch_noise)
    net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.ParallelTable(torchrnn.LSTM(5, 4), nn.Identity()), layer))
    criterion = torchrnn.SequencerCriterion(NCECriterion())
    x = [[torch.randn(2, 5), torch.randint(7, (2,))] for _ in range(6)]
    net.zero_grad_parameters()
    output = net.update_output(x)
    grad_input = net.backward(x, criterion.backward(output, output))
    assert [part.shape for part in grad_input[0]] == [(2, 5), (2,)]
    assert layer.weight.grad.any()

    calls = [layer.update_output(step) for step in [[torch.randn(2, 4), s[1]] for s in x]]
    assert len({tuple(call[1].flatten().tolist()) for call in calls}) == 6


def test_noise_is_drawn_from_the_unigrams_for_the_batch_or_for_each_row():
    target = torch.zeros(5000, dtype=torch.long)
    for batch_noise, rows in (True, 1), (False, 5000):
        layer = NCEModule(2, 3, 4, [0.0, 3.0, 1.0], batch_noise=batch_noise)
        assert layer.noise(target).shape == (rows, 4)
    counts = torch.bincount(layer.noise(target).flatten(), minlength=3)
    assert counts[0] == 0
    assert abs(counts[1].item() - 15000) < SIGMAS * math.sqrt(20000 * 0.75 * 0.25)


def test_the_softmax_over_all_classes_in_evaluation():
    layer = layer_of(7, 4, 3)
    h, target = draw(3, 4), torch.tensor([0, 1, 2])
    scores = F.linear(h, layer.weight, layer.bias)
    layer.normalized = True
    assert len(layer([h, target])) == 4
    layer.eval()
    torch.testing.assert_close(layer([h, target]), scores.softmax(-1))
    layer.log_softmax = True
    torch.testing.assert_close(layer.update_output([h, target]), scores.log_softmax(-1).detach())
    assert torch.equal(layer.backward([h, target], torch.ones(3, 7).double())[1], torch.zeros(3, dtype=torch.long))
    layer.normalized = False
    assert len(layer([h, target])) == 4


# ---------------------------------------------------------------------- the constant Z


@each_noise
def test_the_first_batch_sets_z_and_later_ones_leave_it(batch_noise):
    layer = layer_of(7, 4, 5, batch_noise, Z=-1.0)
    h, target = draw(3, 4), torch.tensor([3, 0, 6])
    assert layer.update_output([h[:0], target[:0]])[0].shape == (0,)
    assert layer.Z == -1
    scores = F.linear(h, layer.weight, layer.bias).exp()
    noise = layer.noise(target).expand(3, -1)
    mean = scores.gather(1, noise if batch_noise else torch.cat([target[:, None], noise], 1)).mean()
    p_target = layer([h, target])[0]
    torch.testing.assert_close(layer.Z, 7 * mean.detach())
    torch.testing.assert_close(p_target, scores.gather(1, target[:, None])[:, 0] / layer.Z)
    settled = layer.Z.item()
    layer([10 * h, target])
    assert layer.Z.item() == settled


def test_z_may_be_settled_amid_a_sequence_that_is_gone_back_through():
    layer = layer_of(7, 4, 5, Z=-1.0)
    losses = [NCECriterion()(layer([draw(3, 4), torch.tensor([3, 0, 6])])) for _ in range(3)]
    sum(losses).backward()
    assert layer.weight.grad.isfinite().all()


# ---------------------------------------------------------------------- the loss


def test_a_probability_of_zero_has_a_finite_gradient():
    zero = torch.zeros(1)
    criterion = NCECriterion()
    input = [zero, zero[None], zero + 0.1, zero[None] + 0.1]
    assert criterion.update_output(input, None) == math.inf
    assert all(grad.isfinite().all() for grad in criterion.backward(input, None))


def test_size_average_divides_by_the_rows():
    output = layer_of(7, 4, 5)([draw(3, 4), torch.tensor([3, 0, 6])])
    torch.testing.assert_close(NCECriterion(size_average=False)(output), 3 * NCECriterion()(output))
    empty = [part[:0] for part in output]
    assert NCECriterion()(empty) == 0


def all_noise(layer, m):
    """Noise in which every class occurs exactly as often as the unigrams say, 100 m in all."""
    return torch.repeat_interleave(torch.arange(len(layer.unigrams)), (100 * m * layer.unigrams).round().long())[None]


def gradients_of(layer, h, target, noise):
    layer.zero_grad()
    leaf = h.clone().requires_grad_()
    layer.k = noise.shape[1]
    NCECriterion()(with_noise(layer, noise)([leaf, target])).backward()
    return torch.cat([leaf.grad.flatten(), layer.weight.grad.flatten(), layer.bias.grad])


def test_the_expected_gradient_tends_to_that_of_the_full_softmax():
    h, target = draw(1, 4), torch.tensor([3])
    layer = NCEModule(4, 5, 1, torch.tensor([10.0, 40.0, 20.0, 5.0, 25.0]).double()).double()
    leaf = h.clone().requires_grad_()
    scores = F.linear(leaf, layer.weight, layer.bias)
    F.cross_entropy(scores, target).backward()
    expected = torch.cat([leaf.grad.flatten(), layer.weight.grad.flatten(), layer.bias.grad])
    layer.Z.fill_(scores.exp().sum().item())
    errors = [(gradients_of(layer, h, target, all_noise(layer, m)) - expected).norm().item() for m in (1, 10, 100)]
    assert errors[2] < 1e-3 * expected.norm()
    for error, smaller in pairwise(errors):
        assert 8 < error / smaller < 12  # falls as 1 / k


@each_noise
def test_the_mean_gradient_of_many_draws_is_the_expected_one(batch_noise):
    n_draws, k = 500, 5
    h, target = draw(1, 4), torch.tensor([3])
    layer = NCEModule(4, 5, k, torch.tensor([10.0, 40.0, 20.0, 5.0, 25.0]).double(), 1.0, batch_noise).double()
    noises = [layer.sampler.draw(1, k) for _ in range(n_draws)]
    drawn = torch.stack([gradients_of(layer, h, target, noise) for noise in noises])
    one_class = torch.stack([gradients_of(layer, h, target, torch.full((1, k), w)) for w in range(5)])
    expected = layer.unigrams @ one_class  # linear in the noise: the mean over classes, k times each
    deviation = drawn.std(0) / math.sqrt(n_draws)
    assert ((drawn.mean(0) - expected).abs() <= SIGMAS * deviation + 1e-12).all()


@each_noise
@pytest.mark.parametrize("Z", [1.0, -1.0])
def test_it_learns_a_conditional_distribution(batch_noise, Z):
    V, n_contexts = 6, 4
    truth = torch.rand(n_contexts, V).pow(2).add(0.02)
    truth = truth / truth.sum(1, keepdim=True)
    layer = NCEModule(n_contexts, V, 10, truth.mean(0), Z, batch_noise)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
        context = torch.randint(n_contexts, (256,))
        target = torch.multinomial(truth[context], 1)[:, 0]
        optimizer.zero_grad()
        NCECriterion()(layer([F.one_hot(context, n_contexts).float(), target])).backward()
        optimizer.step()
    layer.eval().normalized = True
    learned = layer([torch.eye(n_contexts), torch.zeros(n_contexts, dtype=torch.long)])
    divergence = (truth * (truth / learned).log()).sum(1)
    assert divergence.max() < 0.02


# ---------------------------------------------------------------------- sparse gradients, copies, precision


@each_noise
def test_sparse_gradients_are_those_of_the_classes_met(batch_noise):
    dense, x = layer_of(50, 4, 5, batch_noise), [draw(3, 4), torch.tensor([3, 0, 6])]
    sparse = copy.deepcopy(dense)
    sparse.sparse = True
    for layer in (dense, sparse):
        NCECriterion()(layer(x)).backward()
    assert sparse.weight.grad.is_sparse
    assert len(sparse.weight.grad.coalesce().values()) <= 3 + dense.noise(x[1]).numel()
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)
    for layer in (dense, sparse):
        torch.optim.SGD(layer.parameters(), 0.1).step()
    torch.testing.assert_close(sparse.weight, dense.weight)

    for layer in (dense, sparse):
        grad_output = NCECriterion().backward(layer.update_output(x), None)
        layer.backward_update(x, grad_output, 0.1)
    torch.testing.assert_close(sparse.weight, dense.weight)


def test_copies_files_and_states_hold_everything():
    layer = NCEModule(4, 7, 3, zipf(7))
    x = [torch.randn(2, 4), torch.tensor([1, 6])]
    layer(x)
    other = NCEModule(4, 7, 3, torch.ones(7))
    other.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        torch.manual_seed(3)
        theirs = twin(x)
        torch.manual_seed(3)
        for ours, copied in zip(layer(x), theirs, strict=True):
            torch.testing.assert_close(copied, ours)
        assert twin.Z == layer.Z
    assert "k=3" in repr(layer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_outputs_have_the_precision_of_the_input(dtype):
    layer = NCEModule(4, 7, 3, zipf(7)).to(dtype)
    output = layer([torch.randn(2, 4, dtype=dtype), torch.tensor([1, 6], dtype=torch.int32)])
    assert {part.dtype for part in output} == {dtype}
    NCECriterion()(output).backward()
    assert layer.weight.grad.dtype == dtype


def test_double_unigrams_suit_a_single_precision_layer():
    output = NCEModule(4, 7, 3, zipf(7))([torch.randn(2, 4), torch.tensor([1, 6])])
    assert {part.dtype for part in output} == {torch.float32}


def test_non_contiguous_input():
    layer, target = layer_of(7, 4, 5), torch.tensor([0, 3, 5, 1, 2, 6])[::2]
    h = draw(4, 3).T
    torch.testing.assert_close(layer([h, target])[0], layer([h.contiguous(), target.contiguous()])[0])


# ---------------------------------------------------------------------- errors

IDS = torch.tensor([0, 1, 2])


def call(h=None, target=IDS, **options):
    return lambda: NCEModule(4, 7, 3, torch.ones(7), **options)([torch.randn(3, 4) if h is None else h, target])


ERRORS = [
    (lambda: AliasMultinomial([]), ValueError, r"one weight for each outcome, \(n,\); got \(0,\)"),
    (lambda: AliasMultinomial(torch.ones(2, 2)), ValueError, r"got \(2, 2\)"),
    (lambda: AliasMultinomial([1.0, -1.0]), ValueError, "not negative, and not all 0; got -1 to 1"),
    (lambda: AliasMultinomial([0.0, 0.0]), ValueError, "not all 0; got 0 to 0"),
    (lambda: AliasMultinomial([1.0, float("nan")]), ValueError, "must be finite"),
    (lambda: AliasMultinomial([1.0, float("inf")]), ValueError, "must be finite"),
    (lambda: NCEModule(0, 7, 3, torch.ones(7)), ValueError, "input_size must be at least 1; got 0"),
    (lambda: NCEModule(4, 7, 0, torch.ones(7)), ValueError, "k must be at least 1; got 0"),
    (lambda: NCEModule(4, 7, 2.5, torch.ones(7)), TypeError, "k must be an integer; got 2.5"),
    (lambda: NCEModule(4, 7, 3, torch.ones(6)), ValueError, "each of the 7 classes; got 6"),
    (lambda: NCEModule(4, 7, 3, torch.ones(7), Z="a"), TypeError, "Z must be a number; got 'a'"),
    (lambda: NCEModule(4, 7, 3, torch.ones(7), Z=float("nan")), ValueError, "Z must be finite; got nan"),
    (lambda: NCEModule(4, 7, 3, torch.ones(7))(torch.randn(3, 4)), TypeError, "input must be a table"),
    (lambda: NCEModule(4, 7, 3, torch.ones(7))([torch.randn(3, 4)]), ValueError, "must have 2 elements; got 1"),
    (call(target=[0, 1, 2]), TypeError, "must be a table of tensors, h and target"),
    (call(target=torch.rand(3)), TypeError, "target must hold integer ids; got torch.float32"),
    (call(target=IDS[:2]), ValueError, r"expected h \(N, 4\) and target \(N,\); got \[\(3, 4\), \(2,\)\]"),
    (call(h=torch.randn(3, 5)), ValueError, r"expected h \(N, 4\)"),
    (call(h=torch.randn(2, 3, 4)), ValueError, "Flatten sequences, or use Sequencer"),
    (call(target=IDS + 5), ValueError, "targets must be 0 to 6; got 5 to 7. Ids are 0-based"),
    (call(target=IDS - 1), ValueError, "targets must be 0 to 6; got -1 to 1"),
    (lambda: NCECriterion()(torch.rand(3, 7)), TypeError, "the table of four that NCEModule gives"),
    (lambda: NCECriterion()([torch.rand(3)] * 3), ValueError, "must have 4 elements; got 3"),
    (lambda: NCECriterion()([torch.rand(3)] * 4), ValueError, r"expected shapes \(N,\), \(N, k\), \(N,\), \(N, k\)"),
    (
        lambda: NCECriterion()([torch.rand(3), torch.rand(2, 5), torch.rand(3), torch.rand(2, 5)]),
        ValueError,
        "expected shapes",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
