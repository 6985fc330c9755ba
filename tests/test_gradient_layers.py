"""Layers whose gradient is not that of what they compute."""

from __future__ import annotations

import pytest
import torch

from torchrnn.layers import CategoricalEntropy, Clip, CopyGrad, Sequential, ZeroGrad, attach_loss


def test_zero_grad_is_the_identity_with_zero_gradients_for_nested_tables():
    x = [torch.randn(2), (torch.randn(3),)]
    layer = ZeroGrad()
    y = layer.update_output(x)
    assert torch.equal(y[1][0], x[1][0])
    grad = layer.backward(x, [torch.ones(2), (torch.ones(3),)])
    assert torch.equal(grad[0], torch.zeros(2))
    assert torch.equal(grad[1][0], torch.zeros(3))


def test_copy_grad_guards_the_gradient_of_others():
    x = torch.ones(2, requires_grad=True)
    y = CopyGrad()(x)
    x.register_hook(lambda grad: grad.mul_(5))
    grad = torch.ones(2)
    y.backward(grad)
    assert torch.equal(x.grad, torch.full((2,), 5.0))
    assert torch.equal(grad, torch.ones(2))


def test_clip_holds_values_exactly_and_passes_the_gradient():
    x = torch.tensor([-3.0, 0.1, 1e8], requires_grad=True)
    y = Clip(-0.3, 0.3)(x)
    assert torch.equal(y, torch.tensor([-0.3, 0.1, 0.3]))
    y.backward(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(x.grad, torch.tensor([1.0, 2.0, 3.0]))


def test_attach_loss_adds_the_gradient_of_the_loss_in_both_worlds():
    class Penalty(Sequential):
        def forward(self, input):
            return attach_loss(input, (input**3).sum())

    x = torch.randn(3, dtype=torch.float64)
    expected = 2 + 3 * x**2
    layer = Penalty()
    assert torch.equal(layer.update_output(x), x)
    assert torch.allclose(layer.backward(x, torch.full_like(x, 2)), expected)
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad((2 * layer(leaf)).sum(), leaf, create_graph=True)
    assert torch.allclose(grad, expected)
    (second,) = torch.autograd.grad(grad.sum(), leaf)
    assert torch.allclose(second, 6 * x)


def test_categorical_entropy_raises_the_entropy_of_the_batch():
    logits = torch.tensor([[3.0, 0.0], [1.0, 0.0]], requires_grad=True)
    layer = CategoricalEntropy()
    entropies = []
    for _ in range(20):
        p = layer(logits.softmax(1))
        assert torch.equal(p, logits.softmax(1))
        entropies.append(layer.entropy.item())
        (grad,) = torch.autograd.grad(p.sum(), logits)
        logits = (logits - grad).detach().requires_grad_()
    assert entropies == sorted(entropies)
    assert entropies[-1] > entropies[0] + 0.01


def test_categorical_entropy_has_the_gradient_of_its_definition():
    x = torch.rand(3, 4, dtype=torch.float64) + 0.1
    divisor = x.sum()
    leaf = x.clone().requires_grad_()
    q = leaf.sum(0) / divisor
    (0.5 / 3 * (q * (q + 1e-6).log()).sum()).backward()
    for minimum, added in ((None, leaf.grad), (9.0, leaf.grad), (0.01, torch.zeros_like(x))):
        layer = CategoricalEntropy(0.5, minimum)
        layer.update_output(x)
        assert torch.allclose(layer.backward(x, torch.ones_like(x)), 1 + added)
    layer.clear_state()
    assert layer.entropy is None


ERRORS = [
    (lambda: Clip(1, -1), ValueError, "minimum must not be greater than maximum; got 1 and -1"),
    (lambda: Clip("a", 1), TypeError, "minimum must be a number"),
    (lambda: Clip(0, 1)([torch.ones(1)]), TypeError, "input must be a tensor"),
    (lambda: CopyGrad()([torch.ones(1)]), TypeError, "input must be a tensor"),
    (lambda: CategoricalEntropy()(torch.ones(3)), ValueError, r"must be a batch \(N, K\); got \(3,\)"),
    (lambda: CategoricalEntropy("a"), TypeError, "scale must be a number"),
    (lambda: attach_loss(torch.ones(2), torch.ones(2)), ValueError, "loss must be a 0-dim tensor"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
