"""Forecast of a multi-variate time series: Lorenz's weather, of which one of the three variables is never seen.

    python examples/time_series.py [--quick] [--figure FILE]

What is seen at one moment does not tell the next, so the network has to keep in its state what it has seen before. It
is trained to say the next step. Then it goes on by itself: it reads the beginning of a series that it has not seen,
and after that its own forecasts, with the state remembered from call to call.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import torchrnn as tr


def lorenz(n_rows: int, n_steps: int) -> Tensor:
    """Series (T, N, 2) of two variables of Lorenz's system, normalised, from anywhere on its attractor."""

    def slope(state: Tensor) -> Tensor:
        x, y, z = state.unbind(-1)
        return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], -1)

    state, series, dt = torch.randn(n_rows, 3) + torch.tensor([0.0, 0.0, 25.0]), [], 0.02
    for _ in range(2 * (n_steps + 100)):  # Runge and Kutta's method; every second step is seen
        k1 = slope(state)
        k2 = slope(state + dt / 2 * k1)
        k3 = slope(state + dt / 2 * k2)
        k4 = slope(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        series.append(state[:, [0, 2]])
    return (torch.stack(series[200::2]) - torch.tensor([0.0, 23.5])) / torch.tensor([7.9, 8.6])


def train(net: tr.Sequencer, series: Tensor, n_steps: int, updates: int) -> None:
    """Learn the change from each step to the next, on pieces of the series."""
    criterion = tr.SequencerCriterion(tr.MSECriterion(), size_average=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in range(1, updates + 1):
        begin = int(torch.randint(len(series) - n_steps, ()))
        piece = series[begin : begin + n_steps + 1]
        loss = criterion(net(piece[:-1]), piece.diff(dim=0))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if update % (updates // 5) == 0:
            print(f"update {update:4}: mean squared error {loss.item():.6f}")


@torch.no_grad()
def go_on(net: tr.Sequencer, seen: Tensor, n_steps: int) -> Tensor:
    """Read a series (T, N, 2), then go on from it, step by step."""
    net.evaluate().remember("eval").forget()
    steps = [seen[-1:] + net(seen)[-1:]]
    while len(steps) < n_steps:
        steps.append(steps[-1] + net(steps[-1]))
    return torch.cat(steps)


def save_figure(series: Tensor, forecast: Tensor, path: Path) -> None:
    """Both variables of some series, and how the network went on with them."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no figure: matplotlib is not installed")
        return
    figure = Figure(figsize=(12, 4), layout="constrained")
    begin = len(series) - len(forecast)
    for axes, (variable, row) in zip(
        figure.subplots(2, 3, sharex=True).flat, [(v, n) for v in (0, 1) for n in (0, 1, 2)], strict=True
    ):
        axes.plot(series[:, row, variable].numpy(), color="0.7", linewidth=3, label="what came")
        axes.plot(range(begin, len(series)), forecast[:, row, variable].numpy(), color="tab:red", label="forecast")
        axes.axvline(begin - 1, color="0.5", linestyle=":")
        axes.set_ylabel("xz"[variable])
    figure.axes[2].legend(loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"figure: {path}")


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small network, short pieces and few updates")
    parser.add_argument("--figure", type=Path, default=Path("runs/time_series.png"), metavar="FILE")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    size, n_steps, updates = (16, 10, 100) if options.quick else (48, 30, 1000)

    net = tr.Sequencer(tr.Sequential(tr.GRU(2, size), nn.Linear(size, 2)))
    train(net, lorenz(32, 500), n_steps, updates)

    unseen = lorenz(100, 90)
    net.evaluate()
    with torch.no_grad():
        change = net(unseen[:-1])
    wanted = unseen.diff(dim=0)
    straight = (wanted[9:-1] - wanted[10:]).square().mean().item()
    error = (change[10:] - wanted[10:]).square().mean().item()
    forecast = go_on(net, unseen[:40], 50)
    distance = (forecast - unseen[40:]).square().sum(-1).sqrt()
    steps = (distance < 0.5).long().cumprod(0).sum(0).float().mean().item()
    save_figure(unseen[:, :3], forecast[:, :3], options.figure)
    print(f"by itself, it stays within half a standard deviation for {steps:.0f} of 50 steps")
    print(f"mean squared error of one step: straight on {straight:.1e}, network {error:.1e}")
    return error / straight


if __name__ == "__main__":
    main()
