"""Stochastic units and their rewards, glimpses, and attention that decides where to look next."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import torchrnn as tr


class Unit(NamedTuple):
    """A unit, its input, and what follows for it from the textbook."""

    make: Callable[..., tr.Reinforce]
    input: Any
    scores: Callable[..., list[Tensor]]
    """``d log p(y) / d input``, from y and the input."""
    mean: Callable[..., Tensor]


def double(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


MU, SIGMA, P = double([0.3, -1.0], [2.0, 0.1]), double([0.5, 2.0], [1.0, 0.3]), double([0.2, 0.7], [0.5, 0.9])
CLASSES, SHAPE, SCALE = double([0.2, 0.5, 0.3], [0.6, 0.3, 0.1]), double([0.7, 3.0], [1.0, 5.0]), SIGMA + 0.2
VECTOR = double(0.5, 2.0)
UNITS = {
    "normal": Unit(lambda **o: tr.ReinforceNormal(0.5, **o), MU, lambda y, mu: [(y - mu) / 0.5**2], lambda mu: mu),
    "normal, stdev a vector": Unit(
        lambda **o: tr.ReinforceNormal(VECTOR, **o), MU, lambda y, mu: [(y - mu) / VECTOR**2], lambda mu: mu
    ),
    "normal, stdev an input": Unit(
        tr.ReinforceNormal,
        [MU, SIGMA],
        lambda y, mu, sigma: [(y - mu) / sigma**2, ((y - mu) ** 2 - sigma**2) / (sigma**3 + 1e-8)],
        lambda mu, sigma: mu,
    ),
    "bernoulli": Unit(tr.ReinforceBernoulli, P, lambda y, p: [(y - p) / (p * (1 - p))], lambda p: p),
    "categorical": Unit(tr.ReinforceCategorical, CLASSES, lambda y, p: [y / (p + 1e-8)], lambda p: p),
    "gamma": Unit(
        lambda **o: tr.ReinforceGamma(0.4, **o),
        SHAPE,
        lambda y, k: [(y / 0.4).log() - k.digamma()],
        lambda k: 0.4 * k,
    ),
    "gamma, scale an input": Unit(
        tr.ReinforceGamma,
        [SHAPE, SCALE],
        lambda y, k, scale: [(y / scale).log() - k.digamma(), (y / scale - k) / scale],
        lambda k, scale: k * scale,
    ),
}
every_unit = pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
both_worlds = pytest.mark.parametrize("world", "AB")


def leaves_of(input: Any) -> Any:
    return tree_map(lambda x: x.detach().clone().requires_grad_(), input)


def same(got: Any, expected: Any) -> bool:
    pairs = zip(tree_leaves(got), tree_leaves(expected), strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in pairs)


def rewarded(net: tr.Module, input: Any, reward: Any, world: str) -> tuple[Tensor, list[Tensor]]:
    """The output, and the gradients of the input, with a gradient of the output that is to be ignored."""
    if world == "B":
        output = net.update_output(input)
        net.reinforce(reward)
        return output, tree_leaves(net.backward(input, torch.randn_like(output)))
    leaves = leaves_of(input)
    output = net(leaves)
    net.reinforce(reward)
    output.backward(torch.randn_like(output))
    return output.detach(), [leaf.grad for leaf in tree_leaves(leaves)]


# ---------------------------------------------------------------------- the gradient


@every_unit
@both_worlds
def test_the_gradient_is_the_reward_times_the_score(unit: Unit, world: str) -> None:
    reward = double(0.5, -2.0)
    y, grads = rewarded(unit.make(), unit.input, reward, world)
    expected = [-reward[:, None] * score for score in unit.scores(y, *tree_leaves(unit.input))]
    assert same(grads, expected)


@every_unit
def test_the_gradient_can_be_differentiated_again(unit: Unit) -> None:
    x, layer = leaves_of(unit.input), unit.make()
    y = layer(x)
    layer.reinforce(1.0)
    grads = torch.autograd.grad(y.sum(), tree_leaves(x), create_graph=True)
    expected = [-score for score in unit.scores(y.detach(), *tree_leaves(x))]
    # The second derivative of the original's 1e-8 is not part of the score.
    for grad, score in zip(grads, expected, strict=True):
        ours, theirs = (torch.autograd.grad(g.sum(), tree_leaves(x), retain_graph=True)[0] for g in (grad, score))
        assert torch.allclose(ours, theirs, rtol=1e-5)


class Estimate(NamedTuple):
    """A reward, and its expectation as a differentiable function of the parameters of the distribution."""

    unit: Callable[[], tr.Reinforce]
    parameters: Any
    reward: Callable[[Tensor], Tensor]
    expected: Callable[..., Tensor]


PAYOFF = double(1.0, -0.5, 2.0)
ESTIMATES = {
    "normal": Estimate(lambda: tr.ReinforceNormal(0.5), double(0.3), lambda y: y**2, lambda mu: mu**2 + 0.25),
    "normal, stdev an input": Estimate(
        tr.ReinforceNormal, [double(0.3), double(0.8)], lambda y: y**2, lambda mu, sigma: mu**2 + sigma**2
    ),
    "bernoulli": Estimate(tr.ReinforceBernoulli, double(0.3), lambda y: 2 * y - 1, lambda p: 2 * p - 1),
    "categorical": Estimate(
        lambda: tr.Sequential(nn.Softmax(-1), tr.ReinforceCategorical()),
        double(0.1, 0.5, -1.0),
        lambda y: y @ PAYOFF[:, None],
        lambda logits: logits.softmax(-1) @ PAYOFF,
    ),
    "gamma": Estimate(lambda: tr.ReinforceGamma(0.5), double(2.0), lambda y: y, lambda k: 0.5 * k),
    "gamma, scale an input": Estimate(
        tr.ReinforceGamma, [double(2.0), double(0.5)], lambda y: y, lambda k, scale: k * scale
    ),
}


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES.keys())
def test_the_gradient_is_an_unbiased_estimate(estimate: Estimate) -> None:
    n = 40_000
    net = estimate.unit()
    x = tree_map(lambda value: value.expand(n, -1).clone().requires_grad_(), estimate.parameters)
    y = net(x)
    reward = estimate.reward(y.detach()).squeeze(1)
    net.reinforce(reward)
    y.sum().backward()
    parameters = leaves_of(estimate.parameters)
    estimate.expected(*tree_leaves(parameters)).sum().backward()
    for rows, parameter in zip(tree_leaves(x), tree_leaves(parameters), strict=True):
        error = (-rows.grad.mean(0) - parameter.grad).abs()
        assert (error < 5 * rows.grad.std(0) / n**0.5).all()
        assert (error < 0.1).all()


# ---------------------------------------------------------------------- samples


@every_unit
def test_evaluation_gives_the_mean_and_passes_gradients(unit: Unit) -> None:
    layer = unit.make().eval()
    x, again = leaves_of(unit.input), leaves_of(unit.input)
    y, mean = layer(x), unit.mean(*tree_leaves(again))
    assert same(y, mean)
    weight = torch.randn_like(mean)
    ours, theirs = (
        torch.autograd.grad(v, tree_leaves(w), weight, allow_unused=True) for v, w in ((y, x), (mean, again))
    )
    assert same([g for g in ours if g is not None], [g for g in theirs if g is not None])
    layer.reinforce(torch.ones(7))  # nothing was drawn, so there is nothing to reward


@every_unit
def test_stochastic_draws_in_evaluation_too(unit: Unit) -> None:
    layer = unit.make(stochastic=True).eval()
    assert any(not torch.equal(layer(unit.input), layer(unit.input)) for _ in range(20))
    y, grads = rewarded(layer, unit.input, double(1.0, 1.0), "A")
    assert same(grads, [-score for score in unit.scores(y, *tree_leaves(unit.input))])


@every_unit
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [(3, 2, 4), (0, 4), (4,)])
def test_sizes_and_dtypes_of_samples(unit: Unit, dtype: torch.dtype, size: tuple[int, ...]) -> None:
    if "vector" in next(name for name, other in UNITS.items() if other is unit):
        size = (*size[:-1], 2)
    values = torch.rand(size).add(0.1).softmax(-1).to(dtype)
    x = leaves_of([values, values] if isinstance(unit.input, list) else values)
    layer = unit.make()
    y = layer(x)
    assert (y.shape, y.dtype) == (size, dtype)
    layer.reinforce(torch.randn(size[0]) if len(size) > 1 else 0.5)
    y.sum().backward()
    assert all(leaf.grad.isfinite().all() and leaf.grad.dtype == dtype for leaf in tree_leaves(x))


def test_moments_of_the_samples() -> None:
    n = 40_000
    for layer, input, mean, variance in [
        (tr.ReinforceNormal(0.5), double(0.3), 0.3, 0.25),
        (tr.ReinforceBernoulli(), double(0.3), 0.3, 0.21),
        (tr.ReinforceCategorical(), double(0.3, 0.7), double(0.3, 0.7), 0.21),
        (tr.ReinforceGamma(0.5), double(2.0), 1.0, 0.5),
    ]:
        y = layer(input.expand(n, -1))
        assert torch.all((y.mean(0) - mean).abs() < 5 * (variance / n) ** 0.5)
        assert torch.allclose(y.var(0), torch.as_tensor(variance).double(), rtol=0.1)


def test_certain_bernoullis_have_a_gradient_of_zero() -> None:
    y, (grad,) = rewarded(tr.ReinforceBernoulli(), double([0.0, 1.0]), 1.0, "A")
    assert torch.equal(y, double([0.0, 1.0]))
    assert torch.equal(grad, torch.zeros_like(grad))


def test_several_choices_a_row() -> None:
    p = torch.rand(3, 2, 5, dtype=torch.float64).softmax(-1)
    reward = double(1.0, -1.0, 3.0)
    y, (grad,) = rewarded(tr.ReinforceCategorical(), p, reward, "B")
    assert torch.equal(y.sum(-1), torch.ones(3, 2, dtype=torch.float64))
    assert same(grad, -reward[:, None, None] * y / (p + 1e-8))


# ---------------------------------------------------------------------- rewards of steps


def stepped(rewards: Any, world: str, through_time: bool = False) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Three steps of a unit that sees its own last sample; inputs, samples, and the gradients of the inputs."""
    torch.manual_seed(5)
    net = tr.Recursor(tr.ReinforceNormal(0.5)) if through_time else tr.ReinforceNormal(0.5)
    xs = [torch.randn(2, 3, dtype=torch.float64) for _ in range(3)]
    if world == "A":
        leaves = leaves_of(xs)
        ys = [net(x) for x in leaves]
        net.reinforce(rewards)
        torch.cat(ys).sum().backward()
        return xs, ys, [x.grad for x in leaves]
    ys = [net.update_output(x) for x in xs]
    net.reinforce(rewards)
    grads = [net.backward(x, torch.ones_like(x)) for x in reversed(xs)]
    return xs, ys, grads[::-1]


@both_worlds
@pytest.mark.parametrize(
    ("rewards", "each"),
    [
        (2.0, [[2.0, 2.0]] * 3),
        (torch.tensor(2.0), [[2.0, 2.0]] * 3),
        (double(1.0, -1.0), [[1.0, -1.0]] * 3),
        ([double(1.0, 2.0), double(3.0, 4.0), double(5.0, 6.0)], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        ((double(1.0, 2.0), torch.tensor(3), double(5.0, 6.0)), [[1.0, 2.0], [3.0, 3.0], [5.0, 6.0]]),
        (double([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    ],
)
def test_one_reward_for_all_steps_or_one_for_each(rewards: Any, each: list[list[float]], world: str) -> None:
    xs, ys, grads = stepped(rewards, world)
    expected = [-double(*r)[:, None] * (y - x) / 0.25 for x, y, r in zip(xs, ys, each, strict=True)]
    assert same(grads, expected)


def test_a_list_is_for_the_last_steps() -> None:
    layer = tr.ReinforceNormal(0.5)
    xs = [torch.randn(2, 3) for _ in range(3)]
    for x in xs:
        layer.update_output(x)
    layer.reinforce([torch.zeros(2), torch.ones(2)])
    last, before = (layer.backward(x, x) for x in reversed(xs[1:]))
    assert last.any()
    assert not before.any()
    with pytest.raises(ValueError, match="a sample that has no reward"):
        layer.backward(xs[0], xs[0])


def test_a_sequence_is_rewarded_step_by_step_in_both_worlds() -> None:
    net = tr.Sequencer(tr.Sequential(tr.LSTM(3, 4), nn.Linear(4, 2), tr.ReinforceNormal(0.3))).double()
    twin = copy.deepcopy(net)
    x, rewards = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    torch.manual_seed(1)
    y = net.update_output(x)
    net.reinforce(rewards)
    grad = net.backward(x, torch.zeros_like(y))
    leaf = x.clone().requires_grad_()
    torch.manual_seed(1)
    means = torch.stack(tr.Sequencer(tr.Sequential(*list(twin.get())[:2]))(leaf.unbind(0)))
    (rewards[..., None] * (y - means) ** 2 / (2 * 0.3**2)).sum().backward()
    assert same([grad, *(p.grad for p in net.parameters())], [leaf.grad, *(p.grad for p in twin.parameters())])


def test_a_list_follows_the_order_in_which_steps_were_taken() -> None:
    unit = tr.ReinforceNormal(0.5)
    backwards = tr.ReverseUnreverse(tr.Sequencer(unit))
    x = torch.randn(3, 2, 1)
    backwards.update_output(x)
    backwards.reinforce([torch.ones(2), torch.zeros(2), torch.zeros(2)])
    grad = backwards.backward(x, torch.zeros_like(x))
    assert grad[-1].all()
    assert not grad[:-1].any()


def test_the_first_backward_needs_a_reward_even_where_the_others_are_deferred() -> None:
    net, x = tr.Sequential(tr.GRU(3, 4), tr.ReinforceNormal(0.3)), torch.randn(2, 3)
    y = net.update_output(x)
    with pytest.raises(ValueError, match="a sample that has no reward"):
        net.backward(x, y)


def test_rewards_reach_back_through_time_where_backward_is_deferred() -> None:
    grads = []
    for deferred in (True, False):
        torch.manual_seed(3)
        net = tr.Sequential(tr.GRU(3, 4), nn.Linear(4, 2), tr.ReinforceNormal(0.3)).double()
        xs = torch.randn(4, 2, 3, dtype=torch.float64).unbind(0)
        net.zero_grad_parameters()
        zero = torch.zeros(2, 2, dtype=torch.float64)
        for x in xs:
            net.update_output(x)
            if deferred:
                net.reinforce(0.0)  # not known yet, but the first backward could be all there is
                net.backward(x, zero)
        net.reinforce(double(1.0, -2.0))
        if deferred:
            net.backward_through_time()
        else:
            for x in reversed(xs):
                net.backward(x, zero)
        grads.append([p.grad for p in net.parameters()])
    assert same(*grads)
    assert all(grad.any() for grad in grads[0])


# ---------------------------------------------------------------------- memory


def test_what_was_drawn_lives_as_long_as_its_graph() -> None:
    layer = tr.ReinforceNormal(0.5)
    x = torch.ones(2, 3, requires_grad=True)
    held = layer(x)
    for _ in range(50):
        y = layer(x)
        layer.reinforce(1.0)
        y.sum().backward()
        with torch.no_grad():
            layer(x)
    node = weakref.ref(y.grad_fn)
    del y
    gc.collect()
    assert node() is None
    with pytest.raises(ValueError, match="rewards for 2 steps, but ReinforceNormal drew only 1 samples"):
        layer.reinforce([torch.ones(2), torch.ones(2)])
    held.sum().backward()
    del held
    layer(x)
    assert len(layer._draws) == 1


def test_copies_do_not_share_what_was_drawn() -> None:
    layer = tr.ReinforceNormal(0.5)
    x = torch.ones(2, 3, requires_grad=True)
    y = layer(x)
    layer.reinforce(1.0)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin.reinforce(5.0)
    y.sum().backward()
    assert torch.allclose(x.grad, -(y - 1).detach() / 0.25)


def test_graphs_of_other_batches_do_not_matter() -> None:
    layer = tr.ReinforceNormal(0.5)
    x = torch.ones(5, 3, requires_grad=True)
    old, new = layer(x), layer(x[:2])
    layer.reinforce(torch.ones(2))
    new.sum().backward()
    with pytest.raises(ValueError, match="no reward"):
        old.sum().backward()


# ---------------------------------------------------------------------- rewards for right classes


class Rewarded(tr.Module):
    """Keeps the reward."""

    def reinforce(self, reward: Tensor) -> None:
        self.reward = reward


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_reward_of_right_classes(shape: tuple[int, ...]) -> None:
    module = Rewarded()
    criterion = tr.VRClassReward(module)
    scores, target = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1])
    baseline = torch.full(shape, 0.3)
    assert criterion.update_output([scores, baseline], target) == -0.5
    assert torch.allclose(module.reward, torch.tensor([0.35, -0.15]))
    assert torch.equal(criterion.reward, torch.tensor([1.0, 0.0]))
    grad_scores, grad_baseline = criterion.backward([scores, baseline], target)
    assert torch.equal(grad_scores, torch.zeros(2, 2))
    assert torch.allclose(grad_baseline, torch.tensor([-0.7, 0.3]).view(shape))


def test_scale_average_criterion_and_weight() -> None:
    module = Rewarded()
    scores, target = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0])
    baseline = torch.full((2, 1), 0.5, requires_grad=True)
    criterion = tr.VRClassReward(module, 3.0, nn.L1Loss(reduction="sum"), size_average=False)
    loss = tr.ParallelCriterion(tr.MSECriterion()).add(criterion, 0.5)([scores, [scores, baseline]], [scores, target])
    assert loss == -3.0
    assert torch.equal(module.reward, torch.tensor([2.5, 2.5]))
    loss.backward()
    assert torch.equal(baseline.grad, torch.full((2, 1), -0.5))
    assert not list(criterion.parameters())
    assert "Rewarded" not in repr(criterion)


def test_infinite_scores_do_no_harm() -> None:
    scores = torch.tensor([[0.0, float("-inf")]], requires_grad=True)
    loss = tr.VRClassReward(Rewarded())([scores, torch.zeros(1, 1)], torch.tensor([0]))
    loss.backward()
    assert loss == -1
    assert torch.equal(scores.grad, torch.zeros(1, 2))


def test_reward_of_probabilities() -> None:
    module = Rewarded()
    criterion = tr.BinaryClassReward(module, 2.0)
    p, baseline = torch.tensor([0.9, 0.2, 0.5]), torch.zeros(3, 1)
    for target in (torch.tensor([1, 1, 0]), torch.tensor([1.0, 1.0, 0.0]), torch.tensor([True, True, False])):
        assert criterion([p, baseline], target) == pytest.approx(-4 / 3)
        assert torch.allclose(module.reward, torch.tensor([2 / 3, 0, 2 / 3]))


@both_worlds
def test_a_policy_learns_the_right_choice(world: str) -> None:
    policy = tr.Sequential(nn.Linear(3, 3), nn.Softmax(-1), tr.ReinforceCategorical())
    baseline = tr.Sequential(tr.Constant([1.0], 1), tr.Add(1))
    net = tr.ConcatTable(policy, baseline)
    criterion = tr.VRClassReward(net)
    x, target = torch.eye(3).repeat(10, 1), torch.tensor([2, 0, 1]).repeat(10)
    for _ in range(300):
        net.zero_grad_parameters()
        if world == "A":
            criterion(net(x), target).backward()
        else:
            y = net.update_output(x)
            net.backward(x, criterion.backward(y, target))
        net.update_parameters(0.4)
    net.eval()
    assert net(x)[0].gather(1, target[:, None]).min() > 0.8
    assert net(x)[1].mean().item() == pytest.approx(1, abs=0.2)


# ---------------------------------------------------------------------- glimpses


def naive_glimpse(image: Tensor, location: Tensor, size: tuple[int, int], depth: int, scale: int) -> Tensor:
    """Pixel by pixel, for one image (C, H, W)."""
    patches = []
    for d in range(depth):
        wide = [n * scale**d for n in size]
        first = []
        for n, length, place in zip(wide, image.shape[1:], location.tolist(), strict=True):
            margin = (n - 1) // 2
            free = length + 2 * margin - n
            first.append(int(min(max((place + 1) / 2 * free, 0), free)) - margin)
        patch = torch.zeros(len(image), *size, dtype=image.dtype)
        for y in range(wide[0]):
            for x in range(wide[1]):
                row, column = first[0] + y, first[1] + x
                if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                    patch[:, y // scale**d, x // scale**d] += image[:, row, column] / scale ** (2 * d)
        patches.append(patch)
    return torch.cat(patches)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3),
    st.integers(1, 3),
    st.tuples(st.integers(2, 7), st.integers(2, 7)),
    st.lists(st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)), min_size=1, max_size=3),
)
@example((2, 2), 2, 2, (7, 6), [(-1.5, -1.2), (1.2, 1.5)])
def test_a_glimpse_is_what_it_says(size, depth, scale, image_size, places):
    image = torch.randn(len(places), 2, *image_size, dtype=torch.float64)
    location = double(*places)
    expected = [naive_glimpse(i, place, size, depth, scale) for i, place in zip(image, location, strict=True)]
    layer = tr.SpatialGlimpse(size, depth, scale)
    assert torch.allclose(layer([image, location]), torch.stack(expected))
    assert torch.allclose(layer([image[0], location[0]]), expected[0])


def test_the_gradients_of_a_glimpse() -> None:
    image, location = torch.randn(2, 1, 5, 4, dtype=torch.float64, requires_grad=True), double([0.2, -1.0], [0.9, 0.3])
    layer = tr.SpatialGlimpse((2, 3), 2)
    assert torch.autograd.gradcheck(lambda x: layer([x, location]), image)
    y = layer.update_output([image, location])
    grad_image, grad_location = layer.backward([image, location], torch.randn_like(y))
    assert grad_image.any()
    assert torch.equal(grad_location, torch.zeros_like(location))


def test_a_scale_that_is_no_integer() -> None:
    image = torch.arange(36.0).view(1, 6, 6)
    y = tr.SpatialGlimpse(2, 2, 1.5)([image, torch.zeros(2)])
    assert torch.allclose(y[0], torch.tensor([[14.0, 15.0], [20.0, 21.0]]))
    # 3 x 3 pixels pooled to 2 x 2: each of these is the mean of four that overlap.
    assert torch.allclose(y[1], torch.tensor([[10.5, 11.5], [16.5, 17.5]]))


# ---------------------------------------------------------------------- attention


def attention_parts(H: int = 4) -> tuple[tr.Sequential, tr.Sequential]:
    sensor = tr.Sequential(tr.SpatialGlimpse(2, 2), nn.Flatten(), nn.Linear(8, H), nn.Tanh())
    rnn = tr.Sequential(sensor, tr.LSTM(H, H)).double()
    action = tr.Sequential(nn.Linear(H, 2), tr.ReinforceNormal(0.2), nn.Hardtanh()).double()
    return rnn, action


def test_attention_is_a_loop() -> None:
    rnn, action = attention_parts()
    attention = tr.RecurrentAttention(rnn, action, 3, 4)
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    torch.manual_seed(2)
    outputs = attention(x)
    torch.manual_seed(2)
    rnn.forget()
    h, expected, actions = torch.zeros(5, 4, dtype=torch.float64), [], []
    for _ in range(3):
        actions.append(action(h))
        h = rnn([x, actions[-1]])
        expected.append(h)
    assert same(outputs, expected)
    assert same(attention.actions[-1], action(expected[1]).detach()) is False  # drawn anew
    torch.manual_seed(2)
    pairs = tr.RecurrentAttention(rnn, action, 3, 4, forward_actions=True)(x)
    assert same(pairs, [list(pair) for pair in zip(expected, actions, strict=True)])


def test_attention_is_rewarded_in_both_worlds() -> None:
    rnn, action = attention_parts()
    explicit = tr.RecurrentAttention(rnn, action, 3, 4)
    differentiated = copy.deepcopy(explicit)
    x, reward = torch.randn(5, 1, 6, 6, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    torch.manual_seed(2)
    explicit.zero_grad_parameters()
    y = explicit.update_output(x)
    explicit.reinforce(reward)
    grad = explicit.backward(x, [torch.cos(h) for h in y])
    torch.manual_seed(2)
    leaf = x.clone().requires_grad_()
    outputs = differentiated(leaf)
    differentiated.reinforce(reward)
    torch.autograd.backward(outputs, [torch.cos(h.detach()) for h in outputs])
    assert same(
        [grad, *(p.grad for p in explicit.parameters())], [leaf.grad, *(p.grad for p in differentiated.parameters())]
    )
    assert explicit.cell.action[0].weight.grad.any()


def test_no_gradient_goes_into_the_actions_but_that_of_the_reward() -> None:
    rnn, action = attention_parts()
    attention = tr.RecurrentAttention(rnn, action, 2, 4)
    for reward, learns in ((torch.zeros(5), False), (torch.ones(5), True)):
        attention.zero_grad()
        outputs = attention(torch.randn(5, 1, 6, 6, dtype=torch.float64))
        attention.reinforce(reward)
        outputs[-1].sum().backward()
        assert bool(action[0].bias.grad.any()) == learns
    attention.eval()
    attention.zero_grad()
    attention(torch.randn(5, 1, 6, 6, dtype=torch.float64))[-1].sum().backward()
    assert not action[0].bias.grad.any()


def test_attention_forgets_or_remembers() -> None:
    rnn, action = attention_parts()
    attention = tr.RecurrentAttention(rnn, action, 2, 4).eval()
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    first = attention(x)
    assert same(attention(x), first)
    attention.remember()
    attention.forget()
    long = tr.RecurrentAttention(rnn, action, 4, 4).eval()(x)
    attention.forget()
    assert same(attention(x) + attention(x), long)
    attention.forget()
    assert same(attention(x[:2]), [h[:2] for h in first])


def test_recurrent_actions_and_hidden_sizes_of_more_dimensions() -> None:
    action = tr.Sequential(nn.Flatten(), tr.GRU(6, 2), nn.Tanh())
    rnn = tr.Sequential(tr.JoinTable(0, 1), nn.Linear(5, 6), tr.View(2, 3, n_input_dims=1))
    attention = tr.RecurrentAttention(rnn, action, 3, (2, 3)).eval()
    x = torch.randn(4, 3)
    outputs = attention(x)
    action.forget()
    h = torch.zeros(4, 2, 3)
    for output in outputs:
        h = rnn([x, action(h)])
        assert torch.allclose(output, h)
    assert not torch.equal(attention.actions[0], attention.actions[1])
    sum(h.sum() for h in outputs).backward()
    assert rnn[1].weight.grad.any()
    assert not any(parameter.grad.any() for parameter in action.parameters())


# ---------------------------------------------------------------------- what is wrong is said

X = torch.full((2, 3), 0.5, requires_grad=True)


def drawn(reward: Any, unit: tr.Reinforce | None = None, x: Tensor = X) -> None:
    layer = unit or tr.ReinforceNormal(0.5)
    y = layer(x)
    layer.reinforce(reward)
    y.sum().backward()


def glimpse(image: Tensor, location: Tensor) -> Tensor:
    return tr.SpatialGlimpse(2)([image, location])


def reward(scores: Any, baseline: Any, target: Any, kind: Any = tr.VRClassReward) -> Tensor:
    return kind(Rewarded())([torch.as_tensor(scores), torch.as_tensor(baseline)], torch.as_tensor(target))


ERRORS = [
    (lambda: tr.ReinforceNormal(0.0), ValueError, "stdev must be positive; got 0.0"),
    (lambda: tr.ReinforceNormal(torch.tensor([1.0, -1.0])), ValueError, "stdev must be positive"),
    (lambda: tr.ReinforceNormal("a"), TypeError, "stdev must be a number; got 'a'"),
    (lambda: tr.ReinforceNormal()(X), TypeError, r"input must be a table .*got a tensor of shape \(2, 3\)"),
    (lambda: tr.ReinforceNormal()([X]), ValueError, "input must have 2 elements; got 1"),
    (lambda: tr.ReinforceNormal()([X, -X]), ValueError, "Expected parameter scale"),
    (
        lambda: tr.ReinforceNormal()([X[0], X]),
        ValueError,
        r"stdev must have the shape of the mean .*\(3,\); got \(2, 3\)",
    ),
    (lambda: tr.ReinforceNormal(torch.ones(2))(X), ValueError, r"broadcast to it, \(2, 3\); got \(2,\)"),
    (lambda: tr.ReinforceNormal(1.0)(torch.ones(2).long()), TypeError, r"got torch.int64. Convert it with .float\(\)"),
    (lambda: tr.ReinforceBernoulli()(X + 1), ValueError, "Expected parameter probs"),
    (lambda: tr.ReinforceBernoulli()([X]), TypeError, "input must be a tensor"),
    (lambda: tr.ReinforceCategorical()(-X), ValueError, r"must hold probabilities.* Apply torch.nn.Softmax\(-1\)"),
    (lambda: tr.ReinforceCategorical()(0 * X), ValueError, "not all zero"),
    (lambda: tr.ReinforceCategorical()(X / 0), ValueError, "finite"),
    (lambda: tr.ReinforceCategorical()(X[0, 0]), ValueError, r"must be \(N, K\), K at least 1; got \(\)"),
    (lambda: tr.ReinforceGamma(-1.0), ValueError, "scale must be positive; got -1.0"),
    (lambda: tr.ReinforceGamma(1.0)(-X), ValueError, "Expected parameter concentration"),
    (lambda: tr.ReinforceGamma()([X, X[0]]), ValueError, "must have one shape"),
    (lambda: tr.Reinforce()(X), NotImplementedError, "Reinforce must write distribution"),
    (lambda: drawn(torch.ones(3)), ValueError, r"a reward must be \(N,\), .* N = 2 rows .*; got shape \(3,\)"),
    (lambda: drawn([torch.ones(2), torch.ones(2)]), ValueError, "rewards for 2 steps, but ReinforceNormal drew only 1"),
    (lambda: drawn([1.0, 2.0]), TypeError, "reward must be a tensor .*, or one for each step"),
    (lambda: drawn("good"), TypeError, "reward must be a tensor .*; got str"),
    (lambda: drawn([]), ValueError, "the list of rewards is empty"),
    (
        lambda: drawn(torch.ones(3), tr.ReinforceCategorical(), X[0]),
        ValueError,
        "of a single sample must be one number",
    ),
    (lambda: tr.ReinforceNormal(1.0)(X).sum().backward(), ValueError, r"Call reinforce\(reward\) on the network"),
    (lambda: tr.VRClassReward(nn.Linear(2, 3)), TypeError, "Put modules of torch.nn into a torchrnn.Sequential"),
    (lambda: tr.VRClassReward(Rewarded(), "a"), TypeError, "scale must be a number"),
    (lambda: tr.VRClassReward(Rewarded())(X, X), TypeError, "input must be a table"),
    (
        lambda: reward([0.0], [0.0], [0]),
        ValueError,
        r"expected scores \(N, C\) and target \(N,\); got \(1,\) and \(1,\)",
    ),
    (lambda: reward([[0.0]], [0.0], [0.0]), TypeError, "target must hold integer class ids; got torch.float32"),
    (lambda: reward([[0.0]], [0.0], [1]), ValueError, "targets must be 0 to 0; got 1 to 1. Ids are 0-based"),
    (lambda: reward([[0.0]], [0.0, 1.0], [0]), ValueError, r"one number for each row, \(1, 1\) or \(1,\); got \(2,\)"),
    (lambda: reward([0.0], [0.0], [2], tr.BinaryClassReward), ValueError, "targets must be 0 or 1"),
    (lambda: reward([[0.0]], [0.0], [1], tr.BinaryClassReward), ValueError, r"expected probabilities \(N,\)"),
    (lambda: tr.SpatialGlimpse(0), ValueError, "size must be at least 1; got 0"),
    (lambda: tr.SpatialGlimpse((1, 2, 3)), ValueError, r"size must be one number or \(height, width\)"),
    (lambda: tr.SpatialGlimpse(2, 0), ValueError, "depth must be at least 1"),
    (lambda: tr.SpatialGlimpse(2, scale=0.5), ValueError, "scale must be at least 1; got 0.5"),
    (lambda: glimpse(torch.ones(2, 1, 4, 4), torch.ones(2)), ValueError, r"or \(C, H, W\) with \(2,\); got"),
    (lambda: glimpse(torch.ones(1, 4, 4), torch.tensor([0.0, torch.nan])), ValueError, "location must be finite"),
    (
        lambda: glimpse(torch.ones(1, 1, 4), torch.ones(2)),
        ValueError,
        r"at least 2 rows and 2 columns; got \(1, 1, 1, 4\)",
    ),
    (lambda: glimpse(torch.ones(1, 4, 4).long(), torch.ones(2)), TypeError, "must be a floating-point tensor"),
    (lambda: tr.RecurrentAttention(tr.LSTM, nn.Identity(), 2, 3), TypeError, "rnn must be a torch.nn.Module"),
    (lambda: tr.RecurrentAttention(nn.Identity(), None, 2, 3), TypeError, "action must be a torch.nn.Module"),
    (lambda: tr.RecurrentAttention(nn.Identity(), nn.Identity(), 0, 3), ValueError, "n_steps must be at least 1"),
    (lambda: tr.RecurrentAttention(nn.Identity(), nn.Identity(), 2, -3), ValueError, "size must be at least 1; got -3"),
    (
        lambda: tr.RecurrentAttention(nn.Identity(), nn.Identity(), 2, 3)(torch.ones(3)),
        ValueError,
        r"the input must be a batch \(N, ...\); got shape \(3,\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
