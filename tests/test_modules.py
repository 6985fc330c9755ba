"""What must hold for every public module, whatever it does."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from module_table import ABSTRACT, CRITERIONS, MODULES, SEQUENCES, Entry
from public_names import PUBLIC
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

import torchrnn


def modules_for(test: str) -> pytest.MarkDecorator:
    """All modules but those that say why ``test`` is not for them."""
    cases = {name: entry for name, entry in MODULES.items() if test not in entry.gaps}
    return pytest.mark.parametrize("entry", cases.values(), ids=cases.keys())


every_module = pytest.mark.parametrize("entry", MODULES.values(), ids=MODULES.keys())


def made(entry: Entry) -> nn.Module:
    torch.manual_seed(1)
    return entry.make().double()


def given(entry: Entry, N: int = 2) -> tuple[Any, ...]:
    torch.manual_seed(2)
    return entry.inputs(N)


def run(module: nn.Module, inputs: tuple[Any, ...], seed: int = 3) -> Any:
    """The output of a fresh call; what is drawn is always the same."""
    if isinstance(module, torchrnn.Module):
        module.forget()
    torch.manual_seed(seed)
    return module(*inputs)


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def map_real(function: Any, tree: Any) -> Any:
    """``tree`` with ``function`` applied to its floating-point tensors."""
    return tree_map(lambda x: function(x) if isinstance(x, Tensor) and x.is_floating_point() else x, tree)


def assert_same(got: Any, expected: Any, tolerance: float = 1e-11) -> None:
    assert len(tensors(got)) == len(tensors(expected))
    for a, b in zip(tensors(got), tensors(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def real_leaves(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tensors(tree) if leaf.is_floating_point()]


def test_no_public_module_is_missing() -> None:
    public = {name for name, thing in PUBLIC.items() if isinstance(thing, type) and issubclass(thing, nn.Module)}
    assert public == MODULES.keys() | ABSTRACT.keys()
    assert not MODULES.keys() & ABSTRACT.keys()
    for name, entry in MODULES.items():
        assert type(entry.make()) is PUBLIC[name]


def test_gaps_are_gaps_of_tests_that_exist() -> None:
    known = {"gradcheck", "contiguity", "empty batch", "dtypes", "draws", "evaluation"}
    for entry in MODULES.values():
        assert entry.gaps.keys() <= known
        assert all(entry.gaps.values())


@modules_for("gradcheck")
def test_gradcheck(entry: Entry) -> None:
    module = made(entry)
    flat, structure = tree_flatten(given(entry))
    # Targets get no gradient.
    first = len(tree_leaves(given(entry)[0])) if entry in CRITERIONS.values() else len(flat)
    places = [place for place, x in enumerate(flat[:first]) if isinstance(x, Tensor) and x.is_floating_point()]
    names = [name for name, _ in module.named_parameters()]

    def outputs(*values: Tensor) -> tuple[Tensor, ...]:
        leaves = list(flat)
        for place, value in zip(places, values, strict=False):
            leaves[place] = value
        parameters = dict(zip(names, values[len(places) :], strict=True))
        if isinstance(module, torchrnn.Module):
            module.forget()
        torch.manual_seed(3)
        output = torch.func.functional_call(module, parameters, tuple(tree_unflatten(leaves, structure)))
        return tuple(real_leaves(output))

    wanted = [flat[place] for place in places] + list(module.parameters())
    assert torch.autograd.gradcheck(outputs, [x.detach().requires_grad_() for x in wanted], fast_mode=True)


@modules_for("contiguity")
def test_input_that_is_not_contiguous(entry: Entry) -> None:
    module, inputs = made(entry), given(entry)
    strided = map_real(lambda x: torch.stack([x, x], dim=-1)[..., 0], inputs)
    assert not all(x.is_contiguous() for x in tensors(strided))
    assert_same(run(module, strided), run(module, inputs))


@modules_for("empty batch")
def test_an_empty_batch(entry: Entry) -> None:
    module, inputs = made(entry), given(entry, 0)
    output, usual = run(module, inputs), run(module, given(entry))
    for got, expected in zip(tensors(output), tensors(usual), strict=True):
        # The batch, of 2 rows elsewhere, is the only dimension that has become 0.
        assert [n for n in got.shape if n] == [n for n, now in zip(expected.shape, got.shape, strict=True) if now]
        assert all(n == 2 for n, now in zip(expected.shape, got.shape, strict=True) if not now)
        assert got.numel() == 0 or got.isfinite().all()
    leaves = real_leaves(output)
    if any(y.requires_grad for y in leaves):
        grads = torch.autograd.grad(
            [y.sum() for y in leaves if y.requires_grad], list(module.parameters()), allow_unused=True
        )
        assert not any(grad.any() for grad in grads if grad is not None)


@every_module
def test_copies_and_files(entry: Entry) -> None:
    module, inputs = made(entry), given(entry)
    expected = run(module, inputs)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert_same(run(twin, inputs), expected, 0)
        assert repr(twin) == repr(module)
    other = entry.make().double()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    assert_same(run(other, inputs), expected, 0)


@modules_for("dtypes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(entry: Entry, dtype: torch.dtype) -> None:
    module, inputs = made(entry).eval(), given(entry)
    expected = run(module, inputs)
    output = run(module.to(dtype), map_real(lambda x: x.to(dtype), inputs))
    assert {y.dtype for y in real_leaves(output)} <= {dtype}
    assert_same(map_real(Tensor.double, output), expected, 1e-5 if dtype == torch.float32 else 0.1)


@every_module
def test_modes(entry: Entry) -> None:
    module, inputs = made(entry), given(entry)
    trained = run(module, inputs)
    assert module.training
    assert not module.eval().training
    evaluated = run(module, inputs)
    if "draws" not in entry.gaps:
        assert_same(run(module, inputs, seed=4), evaluated)
    if "evaluation" not in entry.gaps:
        assert_same(evaluated, trained)
    assert_same(run(module.train(), inputs), trained)


@every_module
def test_both_worlds_agree(entry: Entry) -> None:
    module, inputs = made(entry), given(entry)
    if isinstance(module, torchrnn.Reinforce):
        module.eval()  # training needs a reward
    leaves = map_real(lambda x: x.detach().clone().requires_grad_(), inputs)
    output = run(module, leaves)
    grads = tree_map(lambda y: torch.cos(y.detach()) if y.is_floating_point() else y, output)
    pairs = [(y, g) for y, g in zip(tensors(output), tensors(grads), strict=True) if y.requires_grad]
    wanted = [*real_leaves(leaves[0]), *module.parameters()]
    expected = [torch.zeros_like(x) for x in wanted]
    if pairs and wanted:
        outputs, weights = zip(*pairs, strict=True)
        expected = torch.autograd.grad(outputs, wanted, weights, allow_unused=True, materialize_grads=True)
    if isinstance(module, torchrnn.Criterion):
        torch.manual_seed(3)
        loss = module.update_output(*inputs)
        got = map_real(lambda g: g * torch.cos(loss), module.backward(*inputs))
        assert_same(loss, output.detach())
        assert_same(real_leaves(got), list(expected[: len(real_leaves(got))]))
        return
    module.forget()
    torch.manual_seed(3)
    assert_same(module.update_output(inputs[0]), tree_map(Tensor.detach, output))
    module.zero_grad_parameters()
    got = module.backward(inputs[0], grads)
    assert_same([*real_leaves(got), *(p.grad for p in module.parameters())], list(expected))


def test_sequence_modules_say_so() -> None:
    plain = {"RecurrentAttention", "Repeater", "ReverseSequence", "SeqReverseSequence", "LanguageModel"}
    for name, entry in SEQUENCES.items():
        assert name in plain or entry.make().takes_sequences
