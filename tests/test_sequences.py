"""Sequence modules: what they remember, how they are called, both directions, states from outside."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import torchrnn

D, H, P, T, N = 4, 6, 3, 5, 2
SEQUENCES: dict[str, Callable[[], torchrnn.Module]] = {
    "Sequencer": lambda: torchrnn.Sequencer(torchrnn.LSTM(D, H)),
    "Sequencer of a container": lambda: torchrnn.Sequencer(
        torchrnn.Sequential(torchrnn.GRU(D, H), nn.Linear(H, H), torchrnn.FastLSTM(H, H))
    ),
    "SeqLSTM": lambda: torchrnn.SeqLSTM(D, H),
    "SeqLSTMP": lambda: torchrnn.SeqLSTMP(D, H, P),
    "SeqGRU": lambda: torchrnn.SeqGRU(D, H),
    "VanillaRNN": lambda: torchrnn.VanillaRNN(D, H, batch_first=False),
    "a stack": lambda: torchrnn.Sequential(torchrnn.SeqLSTM(D, H), torchrnn.Sequencer(torchrnn.GRU(H, H))),
}
every_sequence = pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES.keys())
Make = Callable[[], torchrnn.Module]


def x(steps: int = T, rows: int = N) -> Tensor:
    return torch.randn(steps, rows, D)


@every_sequence
@pytest.mark.parametrize("mode", ["neither", "train", "eval", "both"])
def test_modes_of_remembering(make: Make, mode: str) -> None:
    net, sequence = make(), x(6)
    assert net.remember(mode) is net
    for training in (True, False):
        net.train(training)
        whole = copy.deepcopy(net).remember("neither")(sequence)
        parts = torch.cat([net(sequence[:4]), net(sequence[4:])])
        carried = mode == "both" or mode == ("train" if training else "eval")
        torch.testing.assert_close(parts[:4], whole[:4])
        assert torch.allclose(parts, whole, atol=1e-6) == carried


@every_sequence
def test_remembering_ends_with_forget_and_with_a_switch(make: Make) -> None:
    net, sequence = make().remember(), x()
    first = net(sequence)
    assert not torch.allclose(net(sequence), first)
    net.forget()
    torch.testing.assert_close(net(sequence), first)
    net.train()  # no switch
    assert not torch.allclose(net(sequence), first)
    net.eval()
    torch.testing.assert_close(net(sequence), first)


@every_sequence
def test_a_remembered_state_is_detached(make: Make) -> None:
    net = make().remember()
    early = x().requires_grad_()
    net(early)
    net(x()).sum().backward()
    assert early.grad is None


@every_sequence
def test_lengths_and_batch_sizes_may_change(make: Make) -> None:
    net = make()
    for steps, rows in ((3, 2), (7, 1), (1, 5)):
        assert net(x(steps, rows)).shape[:2] == (steps, rows)
    net.remember().forget()
    net(x(3, 2))
    assert net(x(7, 2)).shape[:2] == (7, 2)
    with pytest.raises(ValueError, match="batch size must stay the same"):
        net(x(3, 4))
    net.forget()
    assert net(x(3, 4)).shape[:2] == (3, 4)


@pytest.mark.parametrize("batch_first", [False, True])
def test_call_forms_and_their_gradients(batch_first: bool) -> None:
    net = torchrnn.SeqLSTM(D, H, P, batch_first=batch_first)
    sequence = x().transpose(0, 1) if batch_first else x()
    h0, c0 = torch.randn(N, P), torch.randn(N, H)
    zeros = torch.zeros(N, P), torch.zeros(N, H)
    torch.testing.assert_close(net(sequence), net((zeros[1], zeros[0], sequence)))
    torch.testing.assert_close(net([h0, sequence]), net([zeros[1], h0, sequence]))
    for form in ((h0, sequence), (c0, h0, sequence)):
        output = net.update_output(form)
        grads = net.backward(form, torch.ones_like(output))
        leaves = [tensor.clone().requires_grad_() for tensor in form]
        net(tuple(leaves)).sum().backward()
        for grad, leaf in zip(grads, leaves, strict=True):
            torch.testing.assert_close(grad, leaf.grad)


@pytest.mark.parametrize("make", [torchrnn.SeqGRU, torchrnn.VanillaRNN])
def test_an_initial_state_beside_the_input(make: Callable[..., torchrnn.Module]) -> None:
    net = make(D, H, batch_first=False)
    sequence, h0 = x(), torch.randn(N, H)
    torch.testing.assert_close(net((h0, sequence))[0], net.cell.step(sequence[0], h0)[0])
    assert not torch.allclose(net((h0, sequence)), net(sequence))


def test_a_given_state_goes_before_a_remembered_one() -> None:
    net = torchrnn.SeqLSTM(D, H).remember()
    sequence, h0 = x(), torch.randn(N, H)
    net(sequence)
    c = net.get_hidden_state().c
    torch.testing.assert_close(net((h0, sequence)), copy.deepcopy(net)((c, h0, sequence)))


def test_the_names_of_torch_rnn() -> None:
    net = torchrnn.VanillaRNN(D, H)
    assert not net.remember_states
    net.remember_states = True
    sequence = x().transpose(0, 1)
    first = net(sequence)
    assert net.remember_states
    assert not torch.allclose(net(sequence), first)
    net.reset_states()
    torch.testing.assert_close(net(sequence), first)
    net.remember_states = False
    torch.testing.assert_close(net(sequence), first)
    assert net.weight.shape == (D + H, H)
    assert net.bias.shape == (H,)


def test_batch_first_is_a_transposition() -> None:
    for make in (torchrnn.SeqLSTM, torchrnn.SeqGRU, torchrnn.VanillaRNN):
        first, last = make(D, H, batch_first=True), make(D, H, batch_first=False)
        last.load_state_dict(first.state_dict())
        sequence = x()
        torch.testing.assert_close(first(sequence.transpose(0, 1)).transpose(0, 1), last(sequence))


def test_steps_can_be_looked_at_after_a_sequence() -> None:
    net = torchrnn.Sequencer(torchrnn.Sequential(torchrnn.LSTM(D, H), nn.Linear(H, P), torchrnn.GRU(P, P)))
    sequence = x()
    outputs = net.update_output(sequence)
    lstm, gru = net.get().get(0), net.get().get(2)
    torch.testing.assert_close(torch.stack(lstm.inputs), sequence)
    torch.testing.assert_close(torch.stack(gru.outputs), outputs)
    assert len(lstm.cells) == len(net.outputs) == T
    assert lstm.cells[0].shape == (N, H)
    assert net.get_hidden_state()[0].c is lstm.cells[-1]
    grad = net.backward(sequence, torch.ones_like(outputs))
    torch.testing.assert_close(torch.stack(lstm.grad_inputs), grad)
    assert [g.shape for g in gru.grad_inputs] == [(N, P)] * T
    with torchrnn.scan.use("reference"):
        net(x(2))
    assert len(lstm.outputs) == 2


def test_an_lstm_of_torch_is_the_same_with_other_names() -> None:
    """An oracle from outside: torch.nn.LSTM has the gates i, f, g, o and two biases."""
    ours, theirs = torchrnn.SeqLSTM(D, H), nn.LSTM(D, H)
    w_x, w_h = ours.weight.detach().tensor_split([D])
    order = torch.cat([torch.arange(H) + gate * H for gate in (0, 1, 3, 2)])
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(w_x.t()[order])
        theirs.weight_hh_l0.copy_(w_h.t()[order])
        theirs.bias_ih_l0.copy_(ours.bias[order])
        theirs.bias_hh_l0.zero_()
    sequence = x()
    torch.testing.assert_close(ours(sequence), theirs(sequence)[0])
    fast = torchrnn.Sequencer(ours.to_fast_lstm())
    torch.testing.assert_close(fast(sequence), ours(sequence))
    gru = torchrnn.SeqGRU(D, H)
    torch.testing.assert_close(torchrnn.Sequencer(gru.to_gru())(sequence), gru(sequence))


# ------------------------------------------------------------------ states from outside


def test_encoder_and_decoder_by_autograd_and_by_hand() -> None:
    """The decoder begins from the encoder's final state, and hands its gradient back."""
    torch.manual_seed(0)
    encoder, decoder = torchrnn.SeqLSTM(D, H), torchrnn.Sequencer(torchrnn.LSTM(D, H))
    source, target = x(), x(3)
    encoder(source)
    decoder.set_hidden_state(0, encoder.get_hidden_state())
    decoder(target).sum().backward()
    expected = [p.grad.clone() for p in (*encoder.parameters(), *decoder.parameters())]

    encoder.zero_grad_parameters()
    decoder.zero_grad_parameters()
    final = encoder.update_output(source)
    decoder.set_hidden_state(0, encoder.get_hidden_state())
    decoder.backward(target, torch.ones_like(decoder.update_output(target)))
    encoder.set_grad_hidden_state(None, decoder.get_grad_hidden_state(0))
    encoder.backward(source, torch.zeros_like(final))
    for p, grad in zip((*encoder.parameters(), *decoder.parameters()), expected, strict=True):
        torch.testing.assert_close(p.grad, grad)


@every_sequence
def test_start_states_stay_until_they_are_taken_back(make: Make) -> None:
    net, sequence = make(), x()
    fresh = net(sequence)
    state = net.get_hidden_state()
    net.set_hidden_state(0, torch.utils._pytree.tree_map(torch.ones_like, state))
    for _ in range(2):
        started = net(sequence)
        assert not torch.allclose(started, fresh)
        net.forget()
        torch.testing.assert_close(net(sequence), started)
        net.eval()
        torch.testing.assert_close(net(sequence), started)
        net.train()
    net.set_hidden_state(0, None)
    torch.testing.assert_close(net(sequence), fresh)
    net.set_hidden_state(0, state)
    net.clear_state()
    torch.testing.assert_close(net(sequence), fresh)


@every_sequence
def test_the_start_state_may_be_of_another_batch_size_than_the_last_sequence(make: Make) -> None:
    net, sequence = make(), x(rows=5)
    net(sequence)
    state = net.get_hidden_state()
    net(x(rows=2))
    net.set_start_state(state)
    assert net(sequence).shape[1] == 5


def test_modules_may_change_between_sequences() -> None:
    """They are looked for once a sequence, and a sequence that fails leaves nothing of that behind."""
    net = torchrnn.Sequencer(torchrnn.Recursor(torchrnn.Sequential(torchrnn.GRU(D, D), nn.Linear(D, H))))
    sequence = x()
    net(sequence)
    with pytest.raises(RuntimeError):
        net(x()[..., :2])
    for changed in (net, copy.deepcopy(net)):
        gru, linear = changed.get().module
        changed.get().module.insert(1, lstm := torchrnn.LSTM(D, D))
        hidden, _ = lstm.sequence(gru.sequence(sequence)[0])
        torch.testing.assert_close(changed(sequence), linear(hidden))
        assert len(changed.get_hidden_state()) == 2


def test_a_copy_made_during_a_sequence_may_be_changed() -> None:
    copies = []
    inside = torchrnn.Sequential(torchrnn.GRU(D, H))
    inside.register_forward_hook(lambda *_: copies.append(copy.deepcopy(net)) if not copies else None)
    net = torchrnn.Sequencer(inside)
    net(x())
    copies[0].get().add(torchrnn.GRU(H, H))
    copies[0](x())
    assert len(copies[0].get_hidden_state()) == 2


# ------------------------------------------------------------------ activation checkpointing

either_checkpoint = pytest.mark.parametrize("reentrant", [False, True])


@pytest.mark.parametrize("kind", ["a sequence that is not remembered", "a free step", "a free sequence"])
def test_what_is_free_of_memory_can_be_computed_again(kind: str) -> None:
    net = torchrnn.Sequencer(torchrnn.Sequential(nn.Linear(D, D), torchrnn.LSTM(D, H)))
    gradients, sequence = [], x()
    for saving in (False, True):

        def run(function: Callable[..., Any], *args: Any, saving: bool = saving) -> Any:
            return checkpoint(function, *args, use_reentrant=False) if saving else function(*args)

        leaf = sequence.clone().requires_grad_()
        net.zero_grad()
        if kind == "a sequence that is not remembered":
            output = run(net, leaf)
        elif kind == "a free sequence":
            first, state = run(net.cell.sequence, leaf[:2])
            output = torch.cat([first, run(net.cell.sequence, leaf[2:], state)[0]])
        else:
            state = net.cell.initial_state(leaf[0])
            for step in leaf:
                output, state = run(net.cell.step, step, state)
        output.sum().backward()
        gradients.append([leaf.grad, *(p.grad for p in net.parameters())])
    torch.testing.assert_close(*gradients)


@either_checkpoint
@pytest.mark.parametrize(
    "make",
    [
        lambda: torchrnn.Sequencer(torchrnn.LSTM(D, H)).remember(),
        lambda: torchrnn.Sequencer(torchrnn.Sequential(nn.Linear(D, D), torchrnn.LSTM(D, H))).remember(),
        lambda: torchrnn.BiSequencer(torchrnn.GRU(D, H)).remember(),
        lambda: torchrnn.SeqLSTM(D, H).remember(),
        lambda: torchrnn.Sequential(torchrnn.Select(0, 0), torchrnn.GRU(D, H)),
    ],
    ids=["a cell", "a container", "both directions", "SeqLSTM", "a step"],
)
def test_a_state_that_has_moved_on_is_noticed(make: Make, reentrant: bool) -> None:
    net = make()
    net(x())
    output = checkpoint(net, x().requires_grad_(), use_reentrant=reentrant)
    with pytest.raises(ValueError, match=r"in the middle of a backward.*Checkpoint step"):
        output.sum().backward()


@either_checkpoint
def test_a_c_that_has_moved_on_is_noticed(reentrant: bool) -> None:
    net, h0 = torchrnn.SeqLSTM(D, H).remember(), torch.randn(N, H)
    output = checkpoint(lambda x: net((h0, x)), x().requires_grad_(), use_reentrant=reentrant)
    with pytest.raises(ValueError, match="in the middle of a backward"):
        output.sum().backward()


def test_states_that_a_backward_remembers_are_its_own() -> None:
    """A network that is stepped by hooks only goes on from backward to backward."""
    net, seen = torchrnn.GRU(D, H), []
    leaf = torch.randn(N, D, requires_grad=True)
    leaf.register_hook(lambda grad: seen.append(net(grad.detach())))
    for _ in range(2):
        leaf.sum().backward()
    torch.testing.assert_close(seen[1], net.sequence(torch.ones(2, N, D))[0][1])


# ------------------------------------------------------------------ both directions


@pytest.mark.parametrize("merge", [None, 1, torchrnn.CAddTable(), torchrnn.JoinTable(0, 1)])
def test_both_directions(merge: nn.Module | int | None) -> None:
    forward, backward = torchrnn.LSTM(D, H), torchrnn.LSTM(D, H)
    net = torchrnn.BiSequencer(forward, backward, merge)
    sequence = x()
    ahead, _ = forward.sequence(sequence)
    back, _ = backward.sequence(sequence.flip(0))
    expected = ahead + back.flip(0) if isinstance(merge, torchrnn.CAddTable) else torch.cat([ahead, back.flip(0)], -1)
    torch.testing.assert_close(net(sequence), expected)
    outputs = net(list(sequence))
    assert isinstance(outputs, list)
    torch.testing.assert_close(torch.stack(outputs), expected)


def test_the_other_direction_has_parameters_of_its_own() -> None:
    net = torchrnn.BiSequencer(torchrnn.RecLSTM(D, H))
    first, second = net.fwd.cell.weight, net.bwd.sequencer.cell.weight
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_only_the_forward_direction_remembers() -> None:
    net = torchrnn.BiSequencer(torchrnn.GRU(D, H), torchrnn.GRU(D, H)).remember()
    sequence = x()
    first, second = net(sequence), net(sequence)
    assert not torch.allclose(second[..., :H], first[..., :H])
    torch.testing.assert_close(second[..., H:], first[..., H:])


def test_a_bidirectional_language_model_does_not_see_the_step_itself() -> None:
    net = torchrnn.BiSequencerLM(torchrnn.GRU(D, H), torchrnn.GRU(D, H))
    sequence = x()
    expected = net(sequence)
    assert not expected[0, :, :H].any()
    assert not expected[-1, :, H:].any()
    for t in range(T):
        other = sequence.clone()
        other[t] = 9.0
        torch.testing.assert_close(net(other)[t], expected[t])
        assert (net(other) != expected).any(-1).all(-1).sum() == T - 1
    torch.testing.assert_close(torch.stack(net(list(sequence))), expected)


def test_a_nested_sequence_is_a_sequence_of_sequences() -> None:
    """Inner sequences begin anew within the outer one, unless they remember."""
    words = torchrnn.Sequential(torchrnn.SeqGRU(D, H), torchrnn.Select(0, -1))
    net = torchrnn.Sequencer(torchrnn.Sequential(words, torchrnn.GRU(H, H)))
    sentences = [x(steps) for steps in (3, 1, 4)]
    outputs = net.update_output(sentences)
    assert [y.shape for y in outputs] == [(N, H)] * 3
    grads = net.backward(sentences, outputs)
    leaves = [s.clone().requires_grad_() for s in sentences]
    sum((y * g).sum() for y, g in zip(net(leaves), outputs, strict=True)).backward()
    for grad, leaf in zip(grads, leaves, strict=True):
        torch.testing.assert_close(grad, leaf.grad)


ERRORS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no module": (lambda: torchrnn.Sequencer(torchrnn.LSTM), TypeError, "module must be a torch.nn.Module"),
    "no sequence": (lambda: torchrnn.Sequencer(nn.Identity())(torch.tensor(1.0)), TypeError, "list of T steps"),
    "text": (lambda: torchrnn.Sequencer(nn.Identity())("abc"), TypeError, "list of T steps; got str"),
    "only one module": (lambda: torchrnn.Sequencer(nn.Identity()).get(1), IndexError, "one module"),
    "x of two dimensions": (lambda: torchrnn.SeqLSTM(D, H)(torch.ones(3, D)), ValueError, r"\(T, N, D\) with D = 4"),
    "x of another size": (lambda: torchrnn.VanillaRNN(D, H)(torch.ones(2, 3, 5)), ValueError, r"\(N, T, D\)"),
    "no x": (lambda: torchrnn.SeqGRU(D, H)(()), ValueError, "x must be a tensor"),
    "too many states": (lambda: torchrnn.SeqGRU(D, H)([x(), x(), x()]), ValueError, r"x or \(h0, x\); got 3"),
    "h0 of another size": (lambda: torchrnn.SeqLSTM(D, H)((torch.ones(N, 1), x())), ValueError, "must have the shapes"),
    "sizes": (lambda: torchrnn.SeqLSTM(0, H), ValueError, "input_size must be at least 1; got 0"),
    "a size that is no int": (lambda: torchrnn.LSTM(4.0, H), TypeError, "input_size must be an integer; got 4.0"),
    "rho": (lambda: torchrnn.GRU(D, H, rho=0), ValueError, "rho must be at least 1"),
    "steps of a Repeater": (lambda: torchrnn.Repeater(nn.Identity(), 0), ValueError, "n_steps must be at least 1"),
    "operations": (lambda: torchrnn.MuFuRu(D, H, ops=["swap"]), ValueError, "ops must be names out of keep, replace"),
    "no operations": (lambda: torchrnn.MuFuRu(D, H, ops=[]), ValueError, "ops must be names"),
    "start": (lambda: torchrnn.Recurrent("6", nn.Identity(), nn.Identity()), TypeError, "start must be a torch.nn"),
    "feedback": (lambda: torchrnn.Recurrent(6, nn.Identity(), None), TypeError, "feedback must be a torch.nn.Module"),
    "size of an output": (lambda: torchrnn.Recurrence(nn.Identity(), 0, 1), ValueError, "output_size must be"),
    "dimensions of an input": (lambda: torchrnn.Recurrence(nn.Identity(), 6, -1), ValueError, "n_input_dims must be"),
    "an input of other dimensions": (
        lambda: torchrnn.Recurrence(nn.Identity(), 6, 1)(torch.ones(2, 2, 2)),
        ValueError,
        "n_input_dims = 1 dimensions, or one more",
    ),
    "merge": (lambda: torchrnn.BiSequencer(nn.Identity(), merge="sum"), TypeError, "merge must be a torch.nn.Module"),
    "one step between the directions": (
        lambda: torchrnn.BiSequencerLM(torchrnn.GRU(D, H))(x(1)),
        ValueError,
        "at least 2 steps; got 1",
    ),
    "batch norm and dropout": (
        lambda: torchrnn.FastLSTM(D, H, batch_norm=True, dropout=0.5),
        ValueError,
        "cannot be had together",
    ),
    "a dimension to reverse": (
        lambda: torchrnn.SeqReverseSequence(3)(x()),
        ValueError,
        "dim=3 is not a dimension",
    ),
    "a projection in a FastLSTM": (lambda: torchrnn.SeqLSTMP(D, H, P).to_fast_lstm(), ValueError, "no projection"),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_say_what_to_do(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
