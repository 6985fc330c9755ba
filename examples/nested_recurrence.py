"""A recurrence within a recurrence: a module that gets its own last output back, with an LSTM inside it.

    python examples/nested_recurrence.py [--quick]

`Recurrence` makes any module that maps [x, h] to the next h recurrent. Here that module holds an LSTM, which has a
state of its own: two loops, one in the other, and both are remembered, trained and looked at as one. The task is to
count round a dial of ten digits in equal strides. How long they are differs from row to row, so that two digits tell
all that follows, but one alone nothing. After Element-Research/rnn's example of a nested recurrence.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import torchrnn as tr

DIGITS = 10


def make_network(size: int) -> tr.Sequencer:
    inner = tr.Sequential(
        tr.ParallelTable(tr.LookupTable(DIGITS, size), nn.Linear(size, size)),  # the digit, and the last output
        tr.CAddTable(),
        tr.FastLSTM(size),
        nn.Linear(size, size),
        nn.Tanh(),
    )
    return tr.Sequencer(tr.Sequential(tr.Recurrence(inner, size, 0), nn.Linear(size, DIGITS), nn.LogSoftmax(-1)))


def strides(n_rows: int, n_steps: int) -> Tensor:
    """Digits (T + 1, N): each row begins anywhere and goes on in strides of its own length."""
    begin, stride = torch.randint(DIGITS, (n_rows,)), torch.randint(1, DIGITS, (n_rows,))
    return (begin + stride * torch.arange(n_steps + 1).unsqueeze(1)) % DIGITS


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="short sequences and few updates")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    size, n_steps, updates = (24, 6, 250) if options.quick else (32, 10, 500)

    net = make_network(size)
    criterion = tr.SequencerCriterion(tr.ClassNLLCriterion(), size_average=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for update in range(1, updates + 1):
        digits = strides(32, n_steps)
        output = net.update_output(digits[:-1])
        loss = criterion.forward(output, digits[1:])
        net.zero_grad_parameters()
        net.backward(digits[:-1], criterion.backward(output, digits[1:]))
        optimizer.step()  # both worlds share the gradients
        if update % (updates // 5) == 0:
            print(f"update {update:3}: loss {loss.item():.3f}")

    digits = strides(200, 3 * n_steps)
    (state,) = net.get_hidden_state()
    print(f"the outer state: h {tuple(state.h.shape)}; the inner one: c {tuple(state.inner[0].c.shape)}")
    net.evaluate()
    with torch.no_grad():
        said = net(digits[:-1]).argmax(-1)
    for row in range(3):
        print(f"  comes {digits[1:, row].tolist()}\n  said  {said[:, row].tolist()}")
    accuracy = (said[1:] == digits[2:]).float().mean().item()
    print(f"right from the third digit on, in sequences three times as long as in training: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
