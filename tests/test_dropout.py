"""Dropout: its masks, when they are drawn, and when they are kept."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from torchrnn.layers import Dropout, Sequential, TotalDropout


@given(st.floats(0, 0.9), st.booleans(), st.booleans(), st.booleans())
def test_a_mask_holds_zeros_and_one_scale_and_keeps_the_mean(p, v1, lazy, mono):
    layer = Dropout(p, v1=v1, lazy=lazy, mono=mono)
    x = torch.ones(50, 80)
    y = layer(x)
    scale = 1.0 if v1 else 1 / (1 - p)
    assert torch.all((y == 0) | torch.isclose(y, torch.tensor(scale)))
    drawn = y[0] if mono else y
    assert (drawn == 0).float().mean().item() == pytest.approx(p, abs=6 * (0.25 / drawn.numel()) ** 0.5)
    if mono:
        assert torch.equal(y, y[:1].expand_as(y))
    assert torch.allclose(layer.eval()(x), x * (1 - p) if v1 else x)


def test_the_gradient_goes_through_the_mask_of_its_own_call():
    layer = Dropout(0.5)
    xs = [torch.ones(4, 6) for _ in range(3)]
    ys = [layer.update_output(x) for x in xs]
    assert not torch.equal(ys[0], ys[1])
    for x, y in zip(reversed(xs), reversed(ys), strict=True):
        assert torch.equal(layer.backward(x, torch.ones_like(x)), y)


@pytest.mark.parametrize("mono", [False, True])
def test_lazy_keeps_one_mask_until_a_gradient_has_come_back_in_the_explicit_world(mono):
    layer = Dropout(0.5, lazy=True, mono=mono)
    x = torch.ones(4, 40)
    first, second = layer.update_output(x), layer.update_output(x)
    assert torch.equal(first, second)
    for _ in range(2):
        assert torch.equal(layer.backward(x, x), first)
    third, fourth = layer.update_output(x), layer.update_output(x)
    assert not torch.equal(first, third)
    assert torch.equal(third, fourth)


def test_lazy_keeps_one_mask_until_a_gradient_has_come_back_in_the_world_of_autograd():
    layer, linear = Dropout(0.5, lazy=True), nn.Linear(40, 1)
    x = torch.ones(4, 40)  # data, for which nobody wants a gradient
    first = layer(x)
    linear(layer(x) + first).sum().backward()
    second = layer(x)
    assert not torch.equal(first, second)
    assert torch.equal(second, layer(x))
    with torch.no_grad():
        assert torch.equal(second, layer(x))
        assert not layer(x).requires_grad


def test_a_gradient_of_an_older_mask_leaves_the_new_one_alone():
    layer = Dropout(0.5, lazy=True)
    x = torch.ones(4, 40)
    old = layer(x)
    layer.forget()
    new = layer(x)
    old.sum().backward()
    assert torch.equal(layer(x), new)


def test_lazy_draws_anew_when_told_to_forget_on_a_switch_of_mode_and_for_another_size():
    layer = Dropout(0.5, lazy=True)
    net = Sequential(layer)
    x = torch.ones(4, 40)
    first = net(x)
    net.forget()
    second = net(x)
    net.eval().train()
    third = net(x)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert net(torch.ones(2, 40)).shape == (2, 40)
    assert net(x.double()).dtype == torch.float64


def test_a_lazy_mono_mask_serves_batches_of_any_size():
    layer = Dropout(0.5, lazy=True, mono=True)
    assert torch.equal(layer(torch.ones(4, 40))[0], layer(torch.ones(2, 40))[0])
    one = layer(torch.ones(40))
    assert 0 < (one == 0).sum() < 40


def test_noise_may_be_replaced():
    class EveryOther(Dropout):
        def noise(self, input):
            return torch.arange(input.shape[-1]).to(input) % 2

    assert EveryOther(0.5)(torch.full((1, 4), 3.0)).tolist() == [[0, 3, 0, 3]]


def test_a_layer_with_a_mask_can_be_copied():
    layer = Dropout(0.5, lazy=True)
    y = layer(torch.ones(4, 40))
    assert torch.equal(copy.deepcopy(layer)(torch.ones(4, 40)), y)


def test_total_dropout_keeps_or_drops_the_whole_input():
    layer = TotalDropout(0.5)
    x = torch.randn(3, 4)
    kept = [torch.equal(layer(x), x) for _ in range(200)]
    assert 60 < sum(kept) < 140
    y = layer.update_output(x)
    assert torch.equal(layer.backward(x, torch.ones_like(x)), torch.ones_like(x) * (y != 0).any())
    assert torch.equal(layer.eval()(x), x)
    assert not TotalDropout(1.0)(x).any()


ERRORS = [
    (lambda: Dropout(1.0), ValueError, "p must be a probability of at least 0 and less than 1; got 1.0"),
    (lambda: Dropout(-0.1), ValueError, "got -0.1"),
    (lambda: Dropout(float("nan")), ValueError, "got nan"),
    (lambda: Dropout()([torch.ones(1)]), TypeError, "input must be a tensor"),
    (lambda: TotalDropout(2), ValueError, "p must be a probability, 0 to 1; got 2"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
