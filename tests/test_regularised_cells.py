"""Zoneout, dropped weights, learned starts and layer normalisation: what is drawn when, and what it does."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from cell_table import D, FixedZoneout, H, MinimalGatedUnit
from torch import Tensor, nn

import torchrnn
from torchrnn import LearnedStart, Sequencer, WeightDropout, Zoneout

T, N = 5, 3


def x(steps: int = T) -> Tensor:
    return torch.randn(steps, N, D)


# ------------------------------------------------------------------ zoneout


def test_zoneout_keeps_old_values_at_random_and_mixes_in_evaluation() -> None:
    lstm = torchrnn.LSTM(D, H)
    cell = Zoneout(lstm, 0.2, 0.7)
    old = torchrnn.LSTMState(torch.randn(400, H), torch.randn(400, H))
    step = torch.randn(400, D)
    output, new = cell.step(step, old)
    expected = lstm.step(step, old)[1]
    for part, p in (("h", 0.2), ("c", 0.7)):
        before, after, got = getattr(old, part), getattr(expected, part), getattr(new, part)
        kept = got == before
        assert torch.equal(torch.where(kept, before, after), got)
        assert kept.float().mean().item() == pytest.approx(p, abs=0.05)
    assert output is new.h
    output, new = cell.eval().step(step, old)
    torch.testing.assert_close(new.h, 0.2 * old.h + 0.8 * expected.h)
    torch.testing.assert_close(new.c, 0.7 * old.c + 0.3 * expected.c)
    assert output is new.h


def test_zoneout_without_p_cell_treats_all_parts_alike() -> None:
    old = torchrnn.LSTMState(torch.ones(N, H), torch.ones(N, H))
    _, new = Zoneout(torchrnn.LSTM(D, H), 1.0).step(torch.randn(N, D), old)
    assert torch.equal(new.h, old.h)
    assert torch.equal(new.c, old.c)


def test_zoneout_of_nothing_is_the_cell() -> None:
    cell, sequence = torchrnn.GRU(D, H), x()
    assert torch.equal(Zoneout(cell, 0.0).sequence(sequence)[0], cell.sequence(sequence)[0])


def test_zoneout_draws_anew_at_every_step() -> None:
    cell = Zoneout(torchrnn.GRU(D, 50), 0.5)
    state = torch.full((1, 50), 9.0)
    step = torch.randn(1, D)
    assert not torch.equal(cell.step(step, state)[0], cell.step(step, state)[0])


def test_an_output_that_is_no_state_is_left_alone() -> None:
    class Doubled(MinimalGatedUnit):
        def step(self, input: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            output, h = super().step(input, h)
            return 2 * output, h

    cell, step, old = Doubled(D, H), torch.randn(N, D), torch.ones(N, H)
    assert torch.equal(FixedZoneout(cell, 1.0).step(step, old)[0], cell.step(step, old)[0])


# ------------------------------------------------------------------ dropped weights


def dropped(p: float = 0.5) -> WeightDropout:
    """A cell that shows its weights: the output is ``W h + 1``, from a state of ones."""
    return WeightDropout(torchrnn.FastLSTM(D, 30), ["o2g.weight"], p)


def test_one_mask_for_all_steps_and_another_for_the_next_sequence() -> None:
    seen: list[Tensor] = []
    cell = dropped()
    step = type(cell.cell).step

    class Spy(type(cell.cell)):  # type: ignore[misc]
        def step(self, *arguments: object) -> object:
            seen.append(self.o2g.weight)
            return step(self, *arguments)

    cell.cell.__class__ = Spy
    net = Sequencer(cell)
    with torchrnn.scan.use("reference"):  # which calls each step
        for _ in range(2):
            net(x())
    assert all(weight is seen[0] for weight in seen[:T])  # masked once
    weight = cell.cell.o2g.weight
    assert isinstance(weight, nn.Parameter)
    drawn = [w != 0 for w in (seen[0], seen[T])]
    assert 0.4 < drawn[0].float().mean() < 0.6
    assert not torch.equal(*drawn)
    torch.testing.assert_close(seen[0], torch.where(drawn[0], 2 * weight, 0.0))
    with torchrnn.scan.use("reference"):
        net.eval()(x())
    assert seen[-1] is weight


def test_steps_share_a_mask_until_forget_or_until_a_gradient_comes_back() -> None:
    cell, step, state = dropped(), torch.randn(N, D), torchrnn.LSTMState(torch.ones(N, 30), torch.ones(N, 30))

    def take() -> Tensor:
        output, _ = cell.step(step, state)
        return output

    first, second = take(), take()
    assert torch.equal(first, second)
    (first + second).sum().backward()
    third = take()
    assert not torch.equal(first, third)
    cell.forget()
    assert not torch.equal(third, take())
    cell.forget()
    explicit = [cell.update_output(step) for _ in range(3)]
    cell.zero_grad_parameters()
    for output in explicit[::-1]:
        cell.backward(step, torch.ones_like(output))
    assert (cell.cell.o2g.weight.grad == 0).any()


def test_only_dropped_weights_get_no_gradient() -> None:
    for cell, name, rows in (
        (torchrnn.RecLSTM(D, H), "weight", D),
        (torchrnn.RecVanilla(D, H), "weight", D),
        (torchrnn.RecLSTM(D, H, 2), "weight_o", 0),
        (torchrnn.GRU(D, H), "o2c.weight", 0),
    ):
        net = Sequencer(WeightDropout(cell, name, 0.5))
        net(x()).square().sum().backward()
        grad = cell.get_parameter(name).grad
        assert (grad[:rows] != 0).all()
        assert 0.2 < (grad[rows:] == 0).float().mean() < 0.8
        assert all((p.grad != 0).any() for other, p in cell.named_parameters() if other != name)


def test_weights_are_put_back_after_an_error() -> None:
    cell = dropped()
    before = dict(cell.named_parameters())
    with pytest.raises(RuntimeError):
        cell.sequence(torch.randn(T, N, D + 1))
    after = dict(cell.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert cell.sequence(x())[0].shape == (T, N, 30)


def test_a_sequence_of_no_steps_in_training() -> None:
    net = Sequencer(dropped())
    assert net(torch.randn(0, N, D)).shape == (0, N, 30)
    assert net(torch.randn(0, N, D), [0] * N).shape == (0, N, 30)
    assert isinstance(net.cell.cell.o2g.weight, nn.Parameter)


def test_a_drawn_mask_is_copied_along() -> None:
    cell, step = dropped(), torch.randn(N, D)
    state = torchrnn.LSTMState(torch.ones(N, 30), torch.ones(N, 30))
    output, _ = cell.step(step, state)
    assert torch.equal(copy.deepcopy(cell).step(step, state)[0], output)


# ------------------------------------------------------------------ learned starts


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("by_steps", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_a_start_is_learned_in_both_worlds(explicit: bool, by_steps: bool, inside: bool) -> None:
    cell = LearnedStart(torchrnn.LSTM(D, H)).double()
    net = torchrnn.Sequential(nn.Identity(), cell) if inside else cell
    net = net if by_steps else Sequencer(net)
    sequence = x().double()
    inputs = list(sequence) if by_steps else [sequence]
    net.zero_grad_parameters()
    if explicit:
        outputs = [net.update_output(i) for i in inputs]
        for i, y in zip(inputs[::-1], outputs[::-1], strict=True):
            net.backward(i, y)
    else:
        sum(0.5 * net(i).square().sum() for i in inputs).backward()
    h, c = (start.detach().clone().requires_grad_() for start in cell.start)
    state = torchrnn.LSTMState(h.expand(N, H), c.expand(N, H))
    (0.5 * cell.cell.sequence(sequence, state)[0].square().sum()).backward()
    for start, expected in zip(cell.start, (h, c), strict=True):
        assert expected.grad.abs().min() > 0
        torch.testing.assert_close(start.grad, expected.grad)


def test_a_remembered_state_goes_before_the_learned_one() -> None:
    net = Sequencer(LearnedStart(torchrnn.GRU(D, H))).remember()
    net(x())
    net.zero_grad_parameters()
    net(x()).sum().backward()
    assert not net.cell.start[0].grad.any()
    net.forget(rows=torch.tensor([True, False, False]))
    net(x()).sum().backward()
    assert net.cell.start[0].grad.all()


def test_a_state_that_was_set_goes_before_the_learned_one() -> None:
    net = Sequencer(LearnedStart(torchrnn.GRU(D, H)))
    net.set_start_state(torch.ones(N, H))
    sequence = x()
    torch.testing.assert_close(net(sequence), net.cell.cell.sequence(sequence, torch.ones(N, H))[0])
    net.update_output(sequence)
    net.zero_grad_parameters()
    net.backward(sequence, torch.ones(T, N, H))
    assert not net.cell.start[0].grad.any()
    net.set_start_state(None)
    assert not torch.allclose(net(sequence)[0], net.cell.cell.sequence(sequence, torch.ones(N, H))[0][0])


def test_starts_begin_as_the_cell_does() -> None:
    assert [start.tolist() for start in LearnedStart(torchrnn.RecLSTM(D, 3, 2)).start] == [[0.0] * 2, [0.0] * 3]
    table = torchrnn.Sequential(torchrnn.JoinTable(0, 1), nn.Linear(D + H, H))
    assert LearnedStart(torchrnn.Recurrence(table, H, 1), torch.zeros(D)).start[0].shape == (H,)


# ------------------------------------------------------------------ layer normalisation


def test_gates_and_cells_are_normalised() -> None:
    """Whatever the scale of input and state, the gates see the same."""
    for cell, big in (
        (torchrnn.LayerNormLSTM(D, H), lambda h: torchrnn.LSTMState(1e3 * h, torch.zeros_like(h))),
        (torchrnn.LayerNormGRU(D, H), None),
    ):
        step, h = 10 * torch.randn(N, D), 10 * torch.randn(N, H)
        if big is None:
            torch.testing.assert_close(cell.step(1e3 * step, h)[0], cell.step(step, h)[0], rtol=1e-4, atol=1e-4)
        else:
            small = torchrnn.LSTMState(h, torch.zeros_like(h))
            torch.testing.assert_close(cell.step(1e3 * step, big(h)), cell.step(step, small), rtol=1e-4, atol=1e-4)


def test_layer_normalisation_by_the_equations_of_the_paper() -> None:
    def norm(a: Tensor, layer: nn.LayerNorm) -> Tensor:
        scaled = (a - a.mean(-1, keepdim=True)) / (a.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return layer.weight * scaled + (0 if layer.bias is None else layer.bias)

    lstm, gru = torchrnn.LayerNormLSTM(D, H), torchrnn.LayerNormGRU(D, H)
    for parameter in (*lstm.parameters(), *gru.parameters()):
        nn.init.normal_(parameter)
    step, h, c = torch.randn(N, D), torch.randn(N, H), torch.randn(N, H)
    gates = norm(step @ lstm.i2g.weight.T, lstm.input_norm) + norm(h @ lstm.o2g.weight.T, lstm.output_norm)
    i, g, f, o = gates.split(H, -1)
    c_new = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h_new = o.sigmoid() * norm(c_new, lstm.cell_norm).tanh()
    torch.testing.assert_close(lstm.step(step, torchrnn.LSTMState(h, c))[1], torchrnn.LSTMState(h_new, c_new))
    gates = norm(step @ gru.i2g.weight.T, gru.input_norm) + norm(h @ gru.o2g.weight.T, gru.output_norm)
    r, z = gates.sigmoid().split(H, -1)
    candidate = norm(step @ gru.i2c.weight.T, gru.input_candidate_norm)
    candidate = (candidate + r * norm(h @ gru.o2c.weight.T, gru.output_candidate_norm)).tanh()
    torch.testing.assert_close(gru.step(step, h)[0], (1 - z) * candidate + z * h)


# ------------------------------------------------------------------ errors

ERRORS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a layer over time is no cell": (
        lambda: Zoneout(Sequencer(torchrnn.GRU(D, H))),
        TypeError,
        "cell must be a recurrent module of one step, .* got Sequencer",
    ),
    "a class": (lambda: WeightDropout(torchrnn.GRU, "a"), TypeError, "got the class GRU; make an instance"),
    "no such weight": (
        lambda: WeightDropout(torchrnn.RecGRU(D, H), ["weights"]),
        ValueError,
        r"must be parameters of the cell, weight, bias; got \['weights'\]",
    ),
    "no weight": (lambda: WeightDropout(torchrnn.GRU(D, H), []), ValueError, "must be parameters of the cell"),
    "all dropped": (lambda: WeightDropout(torchrnn.GRU(D, H), "o2g.weight", 1.0), ValueError, "less than 1; got 1.0"),
    "no chance": (lambda: Zoneout(torchrnn.GRU(D, H), 1.5), ValueError, "p_hidden must be a probability, 0 to 1"),
    "p_cell without a cell": (
        lambda: Zoneout(torchrnn.GRU(D, H), 0.1, 0.1)(torch.ones(2, D)),
        ValueError,
        "p_cell is for cells with an LSTMState",
    ),
    "a state that begins inside": (
        lambda: Zoneout(torchrnn.Recursor(torchrnn.GRU(D, H)))(torch.ones(2, D)),
        ValueError,
        "Put Zoneout around each of the cells inside",
    ),
    "nothing to learn": (
        lambda: LearnedStart(torchrnn.Recursor(torchrnn.GRU(D, H)), torch.ones(D)),
        ValueError,
        "Put LearnedStart around each of the cells inside",
    ),
    "no size": (lambda: LearnedStart(MinimalGatedUnit(D, H)), ValueError, "has no input_size, so input must be given"),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_say_what_to_do(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
