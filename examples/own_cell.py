"""A cell of one's own: two methods, and it steps, runs over sequences, remembers and learns like any other.

    python examples/own_cell.py [--quick]

The cell is JANET, an LSTM of which only the forget gate is left (van der Westhuizen and Lasenby, "The unreasonable
effectiveness of the forget gate", 2018). It learns Hochreiter's adding problem: two numbers of a sequence are marked,
their sum is wanted at the end. A simple recurrent network, trained in the same way, forgets them.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import torchrnn as tr


class Janet(tr.AbstractRecurrent):
    """``f, g`` = the halves of ``W [x, h] + b``, ``h' = sigmoid(f) h + (1 - sigmoid(f - 1)) tanh(g)``."""

    def __init__(self, input_size: int, hidden_size: int, longest: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.linear = nn.Linear(input_size + hidden_size, 2 * hidden_size)
        with torch.no_grad():  # each unit begins with a memory of its own length, up to the longest
            self.linear.bias[:hidden_size] = torch.empty(hidden_size).uniform_(1, longest - 1).log()
            self.linear.bias[hidden_size:] = 0

    def initial_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(*x.shape[:-1], self.hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        f, g = self.linear(torch.cat([x, h], -1)).chunk(2, -1)
        h = torch.sigmoid(f) * h + (1 - torch.sigmoid(f - 1)) * torch.tanh(g)
        return h, h


def adding_problem(n_rows: int, n_steps: int) -> tuple[Tensor, Tensor]:
    """Sequences (T, N, 2) of numbers and marks, and the sums (N, 1) of the two numbers that are marked."""
    numbers, marks = torch.rand(n_steps, n_rows), torch.zeros(n_steps, n_rows)
    rows = torch.arange(n_rows)
    marks[torch.randint(n_steps // 2, (n_rows,)), rows] = 1
    marks[torch.randint(n_steps // 2, n_steps, (n_rows,)), rows] = 1
    return torch.stack([numbers, marks], -1), (numbers * marks).sum(0).unsqueeze(1)


def train(cell: tr.AbstractRecurrent, hidden_size: int, n_steps: int, updates: int) -> float:
    """Train a network around the cell; returns its mean squared error on sequences that it has not seen."""
    net = tr.Sequential(tr.Sequencer(cell), tr.Select(0, -1), nn.Linear(hidden_size, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(updates):
        x, y = adding_problem(64, n_steps)
        loss = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        x, y = adding_problem(1000, n_steps)
        return nn.functional.mse_loss(net(x), y).item()


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="shorter sequences and fewer of them")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    hidden_size, n_steps, updates = (16, 8, 150) if options.quick else (32, 50, 800)

    cell = Janet(2, hidden_size, n_steps)
    x, _ = adding_problem(3, n_steps)
    by_step = torch.stack([cell(step) for step in x])
    layer = tr.Sequencer(cell).remember()
    whole, pieces = layer.forget()(x), torch.cat([layer.forget()(x[:3]), layer(x[3:])])
    print(f"steps = sequence: {torch.allclose(by_step, whole, atol=1e-6)}, ", end="")
    print(f"pieces = sequence: {torch.allclose(pieces, whole, atol=1e-6)}")

    guess = adding_problem(1000, n_steps)[1].var().item()
    own = train(Janet(2, hidden_size, n_steps), hidden_size, n_steps, updates)
    simple = train(tr.LinearRNN(2, hidden_size, nn.Tanh()), hidden_size, n_steps, updates)
    print(
        f"mean squared error after {n_steps} steps: always the mean {guess:.4f}, simple recurrent network {simple:.4f}"
    )
    print(f"own cell: {own:.4f}")
    return own, guess


if __name__ == "__main__":
    main()
